"""Computes of a workspace: clusters, instances and attached Kubernetes clusters; what is asked for and what follows.

Paths, statuses and bodies: machineLearningServices.json 2023-08-01-preview and its examples. A creation that fails
later leaves the compute as Failed, with its provisioningErrors.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.compute import identity
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError, conflict, error_object, not_found
from localdev.azuresim.estate import location_name
from localdev.azuresim.events import iso
from localdev.azuresim.ml import cluster_quota, compute_spec, kubernetes
from localdev.azuresim.ml.cluster import AML_COMPUTE, COMPUTES, INSTANCE, KUBERNETES, Cluster
from localdev.azuresim.ml.common import NAMESPACE, VERSIONS, WORKSPACE, page, system_data, workspace_of
from localdev.azuresim.ml.instances import Instances
from localdev.azuresim.ml.nodes import Nodes
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_CREATE_S, _UPDATE_S, _DELETE_S, _POLL_S = 12.0, 5.0, 45.0, 5.0
_BUSY = ("Creating", "Updating", "Deleting")


def routes(world: World) -> list[Route]:
    computes = Computes(world)
    one = f"{WORKSPACE}/computes/{{compute}}"
    place = f"/subscriptions/{{subscription}}/providers/{NAMESPACE}/locations/{{location}}"
    return [
        Route("GET", f"{WORKSPACE}/computes", f"{COMPUTES}/read", computes.list, VERSIONS),
        Route("GET", one, f"{COMPUTES}/read", computes.get, VERSIONS),
        Route("PUT", one, f"{COMPUTES}/write", computes.put, VERSIONS),
        Route("PATCH", one, f"{COMPUTES}/write", computes.patch, VERSIONS),
        Route("DELETE", one, f"{COMPUTES}/delete", computes.delete, VERSIONS),
        Route("POST", f"{one}/listNodes", f"{COMPUTES}/listNodes/action", computes.list_nodes, VERSIONS,
              is_action=True),
        *(
            Route("POST", f"{one}/{verb}", f"{COMPUTES}/{verb}/action", computes.act, VERSIONS, is_action=True)
            for verb in ("start", "stop", "restart")
        ),
        Route("GET", f"{place}/usages", f"{NAMESPACE}/locations/usages/read", computes.usages, VERSIONS),
        Route("GET", f"{place}/vmSizes", f"{NAMESPACE}/locations/vmsizes/read", computes.sizes, VERSIONS),
    ]  # fmt: skip


class Computes:
    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes, self._instances = Nodes(world), Instances(world)
        world.scheduler.register("compute.provisioned", self._provisioned)
        world.scheduler.register("compute.deleted", self._deleted)

    def get(self, call: Call) -> Reply:
        return Reply(200, self._view(self._existing(call)))

    def list(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        found = self._world.store.of_type(COMPUTES, workspace.id)
        return Reply(200, page(call, [self._view(each) for each in found]))

    def put(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        body = call.document()
        location = required_location(body, COMPUTES)
        kind, inner = compute_spec.read(call.params["compute"], body, location)
        found = self._world.store.get(call.resource_id)
        if kind == KUBERNETES:
            kubernetes.check_attach(self._world, body["properties"].get("resourceId"))
            inner = kubernetes.attached(inner)
        if found and found.provisioning_state in _BUSY:
            raise conflict()
        who = identity.profile(self._world, call.resource_id, _spelt(body.get("identity")))
        if found and found.provisioning_state != "Failed":
            return self._update(call, found, body, kind, inner)
        outer = {name: body["properties"].get(name) for name in ("description", "resourceId")}
        if found:
            self._clear(found, call.at)
        compute = found or Resource(call.resource_id, COMPUTES, location, call.at, call.at)
        compute.properties = {
            **{name: value for name, value in outer.items() if value is not None},
            "computeType": kind,
            "computeLocation": location,
            "provisioningState": "Creating",
            "isAttachedCompute": kind == KUBERNETES,
            "disableLocalAuth": bool(body["properties"].get("disableLocalAuth")),
            "properties": inner,
        }
        compute.location, compute.tags = location, dict(body.get("tags") or {})
        compute.extra = {"identity": who} if who else {}
        compute.state = {"author": call.principal.identity.name}
        self._world.store.put(compute)
        if found:
            self._world.store.touch(compute, call.at)
        operation = self._operation(call, compute)
        if kind == INSTANCE:
            self._instances.begin_create(compute, operation, call.fault)
        else:
            self._world.operations.then(
                operation, call.fault, _CREATE_S, "compute.provisioned", compute=compute.id
            )
        return Reply(201, self._view(compute), operation=operation)

    def patch(self, call: Call) -> Reply:
        """New scale settings for a cluster, at once."""
        found = self._existing(call)
        if found.provisioning_state in _BUSY:
            raise conflict()
        asked = (call.document().get("properties") or {}).get("properties") or {}
        if found.properties["computeType"] != AML_COMPUTE:
            raise compute_spec.bad("Only the scale settings of an AmlCompute can be changed.")
        self._rescale(found, compute_spec.scale_settings(asked.get("scaleSettings")), call.at)
        self._world.store.touch(found, call.at)
        return Reply(200, self._view(found))

    def delete(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        action = call.query.get("underlyingresourceaction")
        if action not in ("Delete", "Detach"):
            raise compute_spec.bad("The parameter underlyingResourceAction must be Delete or Detach.")
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        attached = found.properties["computeType"] == KUBERNETES
        if (action == "Detach") is not attached:
            raise compute_spec.bad(
                f"The action {action} is not supported for a compute of type {found.properties['computeType']}."
            )
        if found.provisioning_state == "Deleting":
            under_way = self._world.operations.running(found.id)
            if under_way:
                return Reply(202, operation=under_way[0])
        self._world.operations.preempt(found.id, call.at)
        found.properties["provisioningState"] = "Deleting"
        if found.properties["computeType"] == AML_COMPUTE:
            self._nodes.halt(Cluster(self._world, found), call.at, f"The compute '{found.name}' was deleted.")
        operation = self._operation(call, found)
        self._world.operations.then(operation, call.fault, _DELETE_S, "compute.deleted", compute=found.id)
        return Reply(202, operation=operation)

    def list_nodes(self, call: Call) -> Reply:
        found = self._existing(call)
        if found.properties["computeType"] != AML_COMPUTE:
            raise compute_spec.bad("Only an AmlCompute has nodes to list.")
        nodes = [
            {
                "nodeId": node["id"],
                "privateIpAddress": f"10.0.0.{number + 4}",
                "publicIpAddress": None,
                "port": 50000 + number,
                "nodeState": node["state"],
                "runId": node["run"].rpartition("/")[2] or None,
            }
            for number, node in enumerate(Cluster(self._world, found).nodes)
        ]
        return Reply(200, {"nodes": nodes})

    def act(self, call: Call) -> Reply:
        found = self._existing(call)
        verb = call.path.rpartition("/")[2]
        if found.properties["computeType"] != INSTANCE:
            raise compute_spec.bad(f"The operation {verb} is supported for compute instances only.")
        if found.provisioning_state in _BUSY:
            raise conflict()
        operation = self._operation(call, found)
        self._instances.begin(verb, found, operation, call.fault)
        return Reply(202, operation=operation)

    def usages(self, call: Call) -> Reply:
        location = _region(call)
        found = cluster_quota.usages(self._world, call.params["subscription"], location)
        return Reply(200, {"value": list(found)})

    def sizes(self, call: Call) -> Reply:
        return Reply(200, {"value": list(cluster_quota.sizes(_region(call)))})

    def _update(
        self, call: Call, compute: Resource, body: dict[str, Any], kind: str, inner: dict[str, Any]
    ) -> Reply:
        old = compute.properties["properties"]
        for name in ("vmSize", "vmPriority"):
            if compute.properties["computeType"] != kind or inner.get(name) != old.get(name):
                raise compute_spec.bad(
                    f"Compute '{compute.name}' exists already and its {name} cannot be changed; only its scale "
                    "settings can."
                )
        if kind == KUBERNETES and _attachment(compute, old) != _attachment(body, inner):
            raise compute_spec.bad(
                f"Compute '{compute.name}' is attached already; detach it to attach another cluster or namespace."
            )
        if kind == AML_COMPUTE:
            self._rescale(compute, inner["scaleSettings"], call.at)
        check_tags(body.get("tags"))
        compute.tags = dict(body.get("tags") or {})
        for node in Cluster(self._world, compute).nodes if kind == AML_COMPUTE else ():
            self._world.meter.retag(Cluster(self._world, compute).bill_id(node), compute.tags)
        compute.properties["provisioningState"] = "Updating"
        self._world.store.touch(compute, call.at)
        operation = self._operation(call, compute)
        self._world.operations.then(
            operation, call.fault, _UPDATE_S, "compute.provisioned", compute=compute.id
        )
        return Reply(200, self._view(compute), operation=operation)

    def _rescale(self, compute: Resource, settings: dict[str, Any], at: float) -> None:
        compute.properties["properties"]["scaleSettings"] = settings
        compute.state["stuck"] = False  # a new target is a new resize
        self._nodes.watch_idle(Cluster(self._world, compute), at)
        self._world.scheduler.at(at, "cluster.balance", cluster=compute.id)

    def _provisioned(self, at: float, compute: str, operation: str) -> None:
        found = self._world.store.get(compute)
        if found is None or not self._world.operations.is_running(operation):
            return
        if found.properties["computeType"] == KUBERNETES and (
            error := kubernetes.trouble(self._world, found)
        ):
            found.properties["provisioningState"], found.state["error"] = "Failed", error
            self._world.operations.fail(operation, at, error)
            return
        if refusal := self._refusal(found):
            found.properties["provisioningState"] = "Failed"
            found.state["error"] = error_object("ClusterMinNodesExceedCoreQuota", refusal)
            self._world.operations.fail(operation, at, found.state["error"])
            self._nodes.halt(Cluster(self._world, found), at, refusal)
            return
        found.properties["provisioningState"] = "Succeeded"
        found.state.pop("error", None)
        self._world.operations.succeed(operation, at)
        if found.properties["computeType"] == AML_COMPUTE:
            self._world.scheduler.at(at, "cluster.balance", cluster=compute)

    def _refusal(self, compute: Resource) -> str:
        if compute.properties["computeType"] != AML_COMPUTE:
            return ""
        cluster = Cluster(self._world, compute)
        return cluster_quota.refusal(
            self._world,
            compute.location,
            cluster.size,
            cluster.min_nodes,
            low_priority=cluster.low_priority,
        )

    def _deleted(self, at: float, compute: str, operation: str) -> None:
        found = self._world.store.get(compute)
        if found is None or not self._world.operations.is_running(operation):
            return
        self._clear(found, at)
        self._world.store.remove(compute)
        self._world.events.add("removed", at, resource_id=compute)
        self._world.operations.succeed(operation, at)

    def _clear(self, compute: Resource, at: float) -> None:
        """Nothing of it costs anything any more."""
        if compute.properties["computeType"] == AML_COMPUTE:
            self._nodes.remove_all(Cluster(self._world, compute), at)
        self._world.meter.stop(compute.id, at)

    def _operation(self, call: Call, compute: Resource) -> Operation:
        return self._world.operations.begin_for(call, compute, poll_after_s=_POLL_S)

    def _existing(self, call: Call) -> Resource:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return found

    def _view(self, compute: Resource) -> dict[str, Any]:
        body = compute.envelope()
        error = compute.state.get("error")
        body["properties"] |= {
            "createdOn": iso(compute.created),
            "modifiedOn": iso(compute.changed),
            "provisioningErrors": [{"error": error}] if error else None,
        }
        if compute.properties["computeType"] == AML_COMPUTE:
            body["properties"]["properties"] = Cluster(self._world, compute).view()
        elif compute.properties["computeType"] == INSTANCE:
            body["properties"]["properties"] = self._instances.view(compute)
        return {**body, "systemData": system_data(compute)}


def _attachment(compute: Any, inner: dict[str, Any]) -> tuple[str, str]:
    """Cluster and namespace, of a resource or of a body."""
    outer = compute.properties if isinstance(compute, Resource) else compute["properties"]
    return str(outer.get("resourceId")).casefold(), str(inner.get("namespace"))


def _spelt(asked: dict[str, Any] | None) -> dict[str, Any] | None:
    """azure-ai-ml 1.35.2 writes "Userassigned"."""
    is_user = asked and str(asked.get("type")).casefold() == "userassigned"
    return {**asked, "type": "UserAssigned"} if asked and is_user else asked


def _region(call: Call) -> str:
    name = location_name(call.params["location"])
    if name is None:
        text = f"The location '{call.params['location']}' is not simulated."
        raise ArmError(400, "NoRegisteredProviderFound", text, target="location")
    return name
