"""What becomes of a deployment: its image is built, its instances come, its servers start and answer, or why not.

States: mfe.json, DeploymentProvisioningState. Codes and texts of failures: learn.microsoft.com machine-learning/
how-to-troubleshoot-online-endpoints. A server takes the wall time it takes; a simulator without storage has none, and
its deployments get ready after START_S.
"""

from __future__ import annotations

import time
from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.faults import Fault
from localdev.azuresim.ml import (
    deployment_errors,
    deployment_spec,
    endpoint_keys,
    endpoint_spec,
    images,
    kubernetes,
    signals,
    writes,
)
from localdev.azuresim.ml.cluster import seconds
from localdev.azuresim.operations import Operation
from localdev.azuresim.scheduler import Step
from localdev.azuresim.serving import ServedModel
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

MANAGED_INSTANCE_S, POD_S, START_S = 120.0, 15.0, 20.0
UNSCHEDULABLE_S, RESCHEDULE_S, BACKOFF_S, DEPLOYMENT_DELETED_S, SCALED_S = 300.0, 30.0, 60.0, 20.0, 30.0
FAIR_WALL_S = (
    120.0  # a clock that leaps past the probes' patience leaves a server this much wall time to answer
)
_LOG_LINES = 500


class DeploymentLife:
    """`state` of a deployment: instances, memory_mb, compute and pod or size and usd_per_hour, fault, operation (the
    one under way), placed (has it its instances?), error, log (of one that failed).
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._starting: dict[str, float] = {}  # ids, and when (wall) their servers were launched
        steps: dict[str, Step] = {
            "deployment.image": self._image,
            "deployment.place": self._place,
            "deployment.started": self._started,
            "deployment.fail": self._fail_by_fault,
            "deployment.deleted": self._deleted,
            "deployment.vanish": self._vanish,
            "endpoints.restore": self._restore,
        }
        for name, step in steps.items():
            world.scheduler.register(name, step)
        world.scheduler.watchers.append(self._look)

    def begin(self, deployment: Resource, operation: Operation, fault: Fault | None) -> None:
        at, workspace = operation.started, self._workspace(deployment)
        deployment.state |= {
            "fault": writes.saved(fault),
            "operation": operation.id,
            "placed": False,
            "begun": at,
        }
        self._move(deployment, "Creating", at)
        environment = deployment_spec.environment_of(self._world, workspace, deployment.properties)
        built = images.ready_at(workspace, environment, at)
        struck = deployment.state["fault"]
        if struck.get("kind") == "stuck":
            return
        if struck.get("kind") == "async_failure" and struck["error"]["code"] == "ImageBuildFailure":
            images.failed(workspace, environment)
            self._at(deployment, at + images.IMAGE_BUILT_S, "deployment.fail")
            return
        deployment.state["built_at"] = built
        self._at(deployment, built + struck.get("late_s", 0.0), "deployment.image")

    def begin_update(
        self, deployment: Resource, operation: Operation, fault: Fault | None, *, again: bool
    ) -> None:
        """`again`: with servers anew."""
        deployment.state |= {
            "fault": writes.saved(fault),
            "operation": operation.id,
            "begun": operation.started,
        }
        self._move(deployment, "Updating", operation.started)
        struck = deployment.state["fault"]
        moment = operation.started + struck.get("late_s", 0.0)
        if struck.get("kind") == "stuck":
            return
        if again:
            self._at(deployment, moment, "deployment.image")
        else:
            self._at(deployment, moment + SCALED_S, "deployment.started")

    def begin_delete(self, deployment: Resource, operation: Operation, fault: Fault | None) -> None:
        self._move(deployment, "Deleting", operation.started)
        self._stop(deployment)
        place = {"deployment": deployment.id}
        self._world.operations.then(operation, fault, DEPLOYMENT_DELETED_S, "deployment.deleted", **place)

    def clear(self, deployment: Resource, at: float) -> None:
        """A deployment that failed makes room for another try under its name."""
        self._stop(deployment)
        self._world.meter.stop(deployment.id, at)

    def log(self, deployment: Resource, kind: str, tail: int) -> str:
        if kind != "InferenceServer":
            return deployment_errors.initializer_log(deployment, kind)
        text = str(deployment.state.get("log") or "")
        serving = self._world.serving
        if not text and serving and deployment.state.get("placed"):
            text = serving.logs(_endpoint(deployment), deployment.name, tail)
        if not text:
            return deployment_errors.NO_LOG
        return "\n".join([*deployment_errors.log_head(deployment), *text.splitlines()[-tail:]])

    def _image(self, at: float, deployment: str, operation: str) -> None:
        """The image is there: instances are asked for."""
        if found := self._under_way(deployment, operation):
            self._at(
                found, at + (POD_S if "compute" in found.state else MANAGED_INSTANCE_S), "deployment.place"
            )

    def _place(self, at: float, deployment: str, operation: str) -> None:
        found = self._under_way(deployment, operation)
        if found is None:
            return
        if found.state["fault"].get("kind") == "async_failure":
            self._at(found, at + BACKOFF_S, "deployment.fail")
        if "compute" in found.state:
            if not self._schedule(found, at):
                return
        else:
            self._world.meter.start(
                found.id,
                f"Online endpoint {found.state['size']}",
                found.state["usd_per_hour"],
                at,
                found.tags,
            )
        found.state["placed"] = True
        if found.state["fault"].get("kind") == "async_failure":
            return
        if self._world.serving is None:
            self._at(found, at + START_S, "deployment.started")
            return
        self._launch(found, at)

    def _schedule(self, deployment: Resource, at: float) -> bool:
        """Find nodes for the pods of a deployment; if there are none yet, try again later."""
        compute = self._world.store.get(deployment.state["compute"])
        if compute is None:
            self._fail(deployment, at, deployment_errors.compute_not_found())
            return False
        if error := kubernetes.trouble(self._world, compute):
            self._fail(deployment, at, error)
            return False
        pod = kubernetes.Pod(*deployment.state["pod"])
        reason = kubernetes.unschedulable(
            self._world, compute, deployment, pod, deployment.state["instances"]
        )
        if not reason:
            deployment.state.pop("pending_since", None)
            return True
        if at - deployment.state.setdefault("pending_since", at) >= UNSCHEDULABLE_S:
            self._fail(deployment, at, deployment_errors.unschedulable(reason))
        else:
            self._at(deployment, at + RESCHEDULE_S, "deployment.place")
        return False

    def _launch(self, deployment: Resource, at: float) -> None:
        assert self._world.serving is not None
        try:
            served = self._served(deployment)
        except ArmError as refusal:  # the asset or its datastore is gone meanwhile
            self._fail(deployment, at, deployment_errors.no_model(str(refusal.message)))
            return
        deployment.state |= {"launched": at, "bad_since": None}
        self._world.serving.launch(_endpoint(deployment), deployment.name, served)
        self._starting[deployment.id] = time.monotonic()

    def _served(self, deployment: Resource) -> ServedModel:
        workspace, properties = self._workspace(deployment), deployment.properties
        endpoint = self._world.store.get(deployment.id.rpartition("/deployments/")[0])
        assert endpoint is not None
        code, entry = deployment_spec.code_of(self._world, workspace, properties)
        _, _, model = deployment_spec.model_of(self._world, workspace, properties)
        requests = properties["requestSettings"]
        return ServedModel(
            code=code,
            entry=entry,
            model=model,
            environment=dict(properties["environmentVariables"]),
            memory_mb=deployment.state["memory_mb"],
            instances=deployment.state["instances"],
            max_concurrent=int(requests["maxConcurrentRequestsPerInstance"]),
            timeout_s=seconds(requests["requestTimeout"]),
            queue_wait_s=seconds(requests["maxQueueWait"]),
            client_id=endpoint_spec.client_id(endpoint),
        )

    def _look(self, now: float) -> None:
        """Servers that were launched: do they answer, and if not, how much longer may they take?"""
        serving = self._world.serving
        for id_, launched in list(self._starting.items()):
            found = self._world.store.get(id_)
            if serving is None or found is None or found.provisioning_state not in ("Creating", "Updating"):
                del self._starting[id_]
                continue
            phase = serving.state(_endpoint(found), found.name).phase
            if phase == "running":
                del self._starting[id_]
                self._ready(found, now)
                continue
            bad = phase in ("crash_loop", "out_of_memory")
            found.state["bad_since"] = (found.state.get("bad_since") or now) if bad else None
            error, log = None, ""
            if bad and now - found.state["bad_since"] >= BACKOFF_S:
                log = serving.logs(_endpoint(found), found.name, _LOG_LINES)
                error = deployment_errors.crashed(found, phase, log)
            elif not bad and now >= self._patience(found) and time.monotonic() - launched > FAIR_WALL_S:
                log = serving.logs(_endpoint(found), found.name, _LOG_LINES)
                error = deployment_errors.not_answering(found)
            if error:
                del self._starting[id_]
                self._fail(found, now, error, log)

    def _patience(self, deployment: Resource) -> float:
        """The moment at which its readiness probe gives it up."""
        probe = deployment.properties["readinessProbe"]
        allowed = seconds(probe["initialDelay"]) + int(probe["failureThreshold"]) * seconds(probe["period"])
        return float(deployment.state["launched"] + allowed)

    def _started(self, at: float, deployment: str, operation: str) -> None:
        if found := self._under_way(deployment, operation):
            self._ready(found, at)

    def _ready(self, deployment: Resource, at: float) -> None:
        created = deployment.provisioning_state == "Creating"
        deployment.state.pop("error", None)
        self._move(deployment, "Succeeded", at)
        self._world.operations.succeed(deployment.state["operation"], at, None)
        fault = deployment.state["fault"]
        if fault.get("kind") == "vanish":
            self._world.scheduler.at(at + fault["after_s"], "deployment.vanish", deployment=deployment.id)
        if created:
            self._announce(deployment, at)

    def _announce(self, deployment: Resource, at: float) -> None:
        workspace = self._workspace(deployment)
        name, version, _ = deployment_spec.model_of(self._world, workspace, deployment.properties)
        told = {
            "serviceName": _endpoint(deployment),
            "serviceComputeType": deployment.properties["endpointComputeType"],
            "modelIds": f"{name}:{version}",
            "serviceTags": dict(deployment.tags),
            "serviceProperties": dict(deployment.properties["properties"]),
        }
        subject = f"endpoints/{_endpoint(deployment)}"
        signals.emit(self._world, signals.MODEL_DEPLOYED, subject, told, at, topic=workspace.id)

    def _fail_by_fault(self, at: float, deployment: str, operation: str) -> None:
        if found := self._under_way(deployment, operation):
            fault = found.state["fault"]
            self._fail(found, at, fault["error"], fault["log"], fault["status"])

    def _fail(
        self, deployment: Resource, at: float, error: dict[str, Any], log: str = "", status: str = "Failed"
    ) -> None:
        self._stop(deployment)
        deployment.state |= {"error": error, "log": "\n".join(log.splitlines()[-_LOG_LINES:])}
        self._move(deployment, status, at)
        self._world.operations.fail(deployment.state["operation"], at, error, status)

    def _deleted(self, at: float, deployment: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            self._remove(deployment, at)
            self._world.operations.succeed(operation, at)

    def _vanish(self, at: float, deployment: str) -> None:
        """Somebody else deleted it, traffic or not."""
        if found := self._world.store.get(deployment):
            self._world.operations.preempt(found.id, at)
            self._stop(found)
            self._remove(deployment, at)

    def _remove(self, deployment: str, at: float) -> None:
        self._world.meter.stop(deployment, at)
        if self._world.store.remove(deployment):
            self._world.events.add("removed", at, resource_id=deployment)

    def _restore(self, at: float) -> None:
        """After a restart of the simulator: the servers of a saved world are launched anew, and routed to."""
        if self._world.serving is None:
            return
        for deployment in self._world.store.of_type(endpoint_spec.DEPLOYMENTS):
            if deployment.state.get("placed") and deployment.provisioning_state in (
                "Creating",
                "Updating",
                "Succeeded",
            ):
                self._launch(deployment, at)
        for endpoint in self._world.store.of_type(endpoint_spec.ENDPOINTS):
            endpoint_keys.route(self._world, endpoint)

    def _stop(self, deployment: Resource) -> None:
        self._starting.pop(deployment.id, None)
        if self._world.serving:
            self._world.serving.stop(_endpoint(deployment), deployment.name)

    def _move(self, deployment: Resource, state: str, at: float) -> None:
        deployment.properties["provisioningState"] = state
        deployment.changed = at
        code = str((deployment.state.get("error") or {}).get("code", "")) if state == "Failed" else ""
        self._world.events.add(
            "deployment", at, resource_id=deployment.id, status=state, code=code, tags=dict(deployment.tags)
        )

    def _under_way(self, deployment: str, operation: str) -> Resource | None:
        found = self._world.store.get(deployment)
        return found if found and self._world.operations.is_running(operation) else None

    def _at(self, deployment: Resource, moment: float, step: str) -> None:
        place = {"deployment": deployment.id, "operation": deployment.state["operation"]}
        self._world.scheduler.at(moment, step, **place)

    def _workspace(self, deployment: Resource) -> Resource:
        found = self._world.store.get(deployment.id.partition("/onlineEndpoints/")[0])
        assert found is not None
        return found


def _endpoint(deployment: Resource) -> str:
    return deployment.id.rpartition("/deployments/")[0].rpartition("/")[2]
