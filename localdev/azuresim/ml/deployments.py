"""Deployments of online endpoints: made, changed, their logs read, deleted. What follows is in deployment_life.py.

Paths, statuses and bodies: mfe.json 2023-04-01-preview.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.compute.spec import check_tags
from localdev.azuresim.errors import not_simulated
from localdev.azuresim.ml import deployment_spec, kubernetes, managed_quota, writes
from localdev.azuresim.ml.cluster import size_of
from localdev.azuresim.ml.common import missing, page, system_data, user_error, workspace_of
from localdev.azuresim.ml.deployment_life import DeploymentLife
from localdev.azuresim.ml.endpoint_spec import DEPLOYMENTS, K8S, VERSIONS, endpoint_of, kind_of
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_LOGS = ("InferenceServer", "StorageInitializer", "ModelDataCollector")
_MOST_LINES = 5000
_NEEDS = "containerResourceRequirements"
# What a change of makes new servers necessary.
_SERVED = (
    "codeConfiguration",
    "model",
    "environmentId",
    "environmentVariables",
    "requestSettings",
    "instanceType",
)


class Deployments:
    def __init__(self, world: World) -> None:
        self._world, self._life = world, DeploymentLife(world)

    def routes(self, endpoint: str) -> list[Route]:
        all_, one = f"{endpoint}/deployments", f"{endpoint}/deployments/{{deployment}}"
        return [
            Route("GET", all_, f"{DEPLOYMENTS}/read", self.list, VERSIONS),
            Route("GET", one, f"{DEPLOYMENTS}/read", self.get, VERSIONS),
            Route("PUT", one, f"{DEPLOYMENTS}/write", self.put, VERSIONS),
            Route("PATCH", one, f"{DEPLOYMENTS}/write", self.patch, VERSIONS),
            Route("DELETE", one, f"{DEPLOYMENTS}/delete", self.delete, VERSIONS),
            Route(
                "POST", f"{one}/getLogs", f"{DEPLOYMENTS}/getLogs/action", self.logs, VERSIONS, is_action=True
            ),
        ]

    def get(self, call: Call) -> Reply:
        return Reply(200, _view(self._existing(call)))

    def list(self, call: Call) -> Reply:
        endpoint = endpoint_of(self._world, call)
        found = self._world.store.of_type(DEPLOYMENTS, endpoint.id)
        return Reply(200, page(call, [_view(each) for each in found], limit="$top"))

    def put(self, call: Call) -> Reply:
        endpoint, workspace = endpoint_of(self._world, call), workspace_of(self._world, call)
        asked = deployment_spec.read(self._world, call, workspace, endpoint)
        found = self._world.store.get(call.resource_id)
        if found and (operation := writes.repeated(self._world, call, found)):
            return Reply(200, _view(found), operation=operation)
        self._check_free(endpoint, found, call.params["deployment"])
        state = self._state(endpoint, workspace, asked, call.document(), found)
        tags = dict(call.document().get("tags") or {})
        if found and found.provisioning_state == "Succeeded":
            again = any(asked.get(name) != found.properties.get(name) for name in _SERVED)
            return self._update(call, found, asked, tags, state, again=again)
        if found:
            self._life.clear(found, call.at)
        deployment = found or Resource(call.resource_id, DEPLOYMENTS, endpoint.location, call.at, call.at)
        deployment.properties, deployment.tags = {**asked, "provisioningState": "Creating"}, tags
        deployment.extra = {
            "kind": endpoint.extra["kind"],
            "sku": {"name": "Default", "tier": "Standard", "capacity": state["instances"]},
        }
        deployment.state = {"author": call.principal.identity.name, **state}
        self._world.store.put(deployment)
        writes.note(call, deployment)
        operation = writes.begin(self._world, call, deployment)
        self._life.begin(deployment, operation, call.fault)
        return Reply(201, _view(deployment), operation=operation)

    def patch(self, call: Call) -> Reply:
        """Tags and the number of instances; what is not named stays."""
        found, body = self._existing(call), call.document()
        endpoint = endpoint_of(self._world, call)
        self._check_free(endpoint, found, found.name)
        if unknown := set(body) - {"tags", "sku"}:
            raise not_simulated(f"A PATCH of {', '.join(sorted(unknown))}", sorted(unknown)[0])
        check_tags(body.get("tags"))
        asked = {name: value for name, value in found.properties.items() if name != "provisioningState"}
        capacity = {"sku": {"capacity": (body.get("sku") or {}).get("capacity") or found.state["instances"]}}
        state = self._state(endpoint, workspace_of(self._world, call), asked, capacity, found)
        tags = {**found.tags, **(body.get("tags") or {})}
        return Reply(202, operation=self._update(call, found, asked, tags, state, again=False).operation)

    def delete(self, call: Call) -> Reply:
        endpoint = endpoint_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        under_way = self._world.operations.running(found.id)
        if found.provisioning_state == "Deleting" and under_way:
            return Reply(202, operation=under_way[0])
        if endpoint.state["applied"].get(found.name) or endpoint.properties["traffic"].get(found.name):
            raise user_error(
                400,
                f"Deployment {found.name} cannot be deleted because it has traffic. Set its traffic to 0 first.",
                (
                    "BadArgument",
                    f"The endpoint {endpoint.name} sends traffic to the deployment {found.name}.",
                ),
            )
        if writes.is_busy(endpoint):
            raise writes.conflict(endpoint)
        self._world.operations.preempt(found.id, call.at)
        operation = writes.begin(self._world, call, found)
        self._life.begin_delete(found, operation, call.fault)
        return Reply(202, operation=operation)

    def logs(self, call: Call) -> Reply:
        found, body = self._existing(call), call.document()
        kind = str(body.get("containerType") or _LOGS[0])
        if kind not in _LOGS:
            raise user_error(400, f"The containerType '{kind}' is not one of {', '.join(_LOGS)}.")
        tail = min(int(body.get("tail") or _MOST_LINES), _MOST_LINES)
        return Reply(200, {"content": self._life.log(found, kind, tail)})

    def _update(
        self,
        call: Call,
        deployment: Resource,
        asked: dict[str, Any],
        tags: dict[str, str],
        state: dict[str, Any],
        *,
        again: bool,
    ) -> Reply:
        """`again`: with new servers in the place of the old ones."""
        deployment.properties = {**asked, "provisioningState": "Updating"}
        deployment.tags = tags
        deployment.extra["sku"]["capacity"] = state["instances"]
        scaled = state["instances"] != deployment.state["instances"]
        deployment.state |= state
        self._world.store.touch(deployment, call.at)
        self._world.meter.retag(deployment.id, tags)
        writes.note(call, deployment)
        operation = writes.begin(self._world, call, deployment)
        self._life.begin_update(deployment, operation, call.fault, again=again or scaled)
        return Reply(200, _view(deployment), operation=operation)

    def _check_free(self, endpoint: Resource, found: Resource | None, name: str) -> None:
        if endpoint.provisioning_state != "Succeeded" or writes.is_busy(endpoint):
            state = endpoint.provisioning_state if endpoint.provisioning_state != "Succeeded" else "Updating"
            text = f"Cannot create a deployment in endpoint {endpoint.name} because it is in {state} provisioning state."
            raise user_error(409, text, ("Conflict", text))
        if found and writes.is_busy(found):
            raise writes.conflict(found)

    def _state(
        self,
        endpoint: Resource,
        workspace: Resource,
        asked: dict[str, Any],
        body: dict[str, Any],
        found: Resource | None,
    ) -> dict[str, Any]:
        """What is known of it beyond its properties: instances, and where they are. Raises the refusal of too many.

        What a pod needs is filled into `asked`.
        """
        instances = deployment_spec.instances_of(body)
        if kind_of(endpoint) == K8S:
            compute = kubernetes.compute_of(self._world, workspace, endpoint.properties["compute"])
            # azure-ai-ml reads the requirements of every pod, also of those whose instance type says it all.
            defaults = kubernetes.requirements(compute, asked["instanceType"])
            needs = asked[_NEEDS] = {**defaults, **(asked.get(_NEEDS) or {})}
            pod = kubernetes.pod(compute, asked["instanceType"], needs)
            place = {"compute": compute.id, "pod": [pod.cpu, pod.memory_gib, pod.gpu, pod.limit_gib]}
            return {"instances": instances, "memory_mb": int(pod.limit_gib * 1024), **place}
        size = size_of(deployment_spec.size_name(asked["instanceType"], endpoint.location))
        assert size is not None
        managed_quota.check(self._world, endpoint.location, size.name, instances, found)
        price = instances * catalog.price_usd_per_hour(size.name, endpoint.location)
        return {
            "instances": instances, "memory_mb": int(size.memory_gib * 1024), "size": size.name, "usd_per_hour": price,
        }  # fmt: skip

    def _existing(self, call: Call) -> Resource:
        endpoint = endpoint_of(self._world, call)
        found = self._world.store.get(f"{endpoint.id}/deployments/{call.params['deployment']}")
        if found is None:
            name = call.params["deployment"]
            raise missing(f"Deployment with name: {name} not found in endpoint {endpoint.name}.")
        return found


def _view(deployment: Resource) -> dict[str, Any]:
    return {**deployment.envelope(), "tags": dict(deployment.tags), "systemData": system_data(deployment)}
