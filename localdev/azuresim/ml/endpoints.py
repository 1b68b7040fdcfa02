"""Online endpoints: made, given traffic and keys, deleted. What they stand for is served by localdev.azuresim.serving.

Paths, statuses and bodies: mfe.json 2022-02-01-preview. One write at a time; what is read lags what was written for
some seconds after the write is over, and until then the next one is refused.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.compute.spec import check_tags
from localdev.azuresim.errors import bad_member, error_object
from localdev.azuresim.ml import endpoint_spec, kubernetes, writes
from localdev.azuresim.ml.common import WORKSPACE, page, system_data, user_error, workspace_of
from localdev.azuresim.ml.deployments import Deployments
from localdev.azuresim.ml.endpoint_keys import Keys, new_keys
from localdev.azuresim.ml.endpoint_spec import ENDPOINTS, K8S, MANAGED, VERSIONS, endpoint_of, kind_of
from localdev.azuresim.ml.traffic import Traffic
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

ENDPOINT_CREATED_S, K8S_ENDPOINT_CREATED_S, ENDPOINT_DELETED_S = 90.0, 20.0, 30.0
TRAFFIC_S, SETTLED_S = 10.0, 5.0
_KINDS = {MANAGED: "Managed", K8S: "K8S"}


def routes(world: World) -> list[Route]:
    endpoints, keys, deployments = Endpoints(world), Keys(world), Deployments(world)
    all_, one = f"{WORKSPACE}/onlineEndpoints", f"{WORKSPACE}/onlineEndpoints/{{endpoint}}"
    return [
        Route("GET", all_, f"{ENDPOINTS}/read", endpoints.list, VERSIONS),
        Route("GET", one, f"{ENDPOINTS}/read", endpoints.get, VERSIONS),
        Route("PUT", one, f"{ENDPOINTS}/write", endpoints.put, VERSIONS),
        Route("PATCH", one, f"{ENDPOINTS}/write", endpoints.patch, VERSIONS),
        Route("DELETE", one, f"{ENDPOINTS}/delete", endpoints.delete, VERSIONS),
        *(
            Route("POST", f"{one}/{verb}", f"{ENDPOINTS}/{verb}/action", handler, VERSIONS, is_action=True)
            for verb, handler in (
                ("listKeys", keys.list),
                ("regenerateKeys", keys.regenerate),
                ("token", keys.token),
            )
        ),
        *deployments.routes(one),
    ]


class Endpoints:
    """`state` of an endpoint: author, keys, applied (the map in force), unsettled (what is still read of it), fault."""

    def __init__(self, world: World) -> None:
        self._world, self._traffic = world, Traffic(world)
        world.scheduler.register("endpoint.written", self._written)
        world.scheduler.register("endpoint.settled", self._settled)
        world.scheduler.register("endpoint.deleted", self._deleted)
        world.scheduler.register("endpoint.vanish", self._vanish)

    def get(self, call: Call) -> Reply:
        return Reply(200, _view(endpoint_of(self._world, call)))

    def list(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        found = self._world.store.of_type(ENDPOINTS, workspace.id)
        if name := call.query.get("name"):
            found = [each for each in found if each.name == name]
        if kind := call.query.get("computetype"):
            found = [each for each in found if kind_of(each) == kind]
        for term in filter(None, call.query.get("tags", "").split(",")):
            key, equals, value = term.partition("=")
            found = [each for each in found if key in each.tags and (not equals or each.tags[key] == value)]
        return Reply(200, page(call, [_view(each) for each in found], limit="count"))

    def put(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        asked = endpoint_spec.read(call, workspace)
        found = self._world.store.get(call.resource_id)
        if found is None:
            return self._create(call, workspace, asked)
        if operation := writes.repeated(self._world, call, found):
            return Reply(200, _view(found), operation=operation)
        if writes.is_busy(found):
            raise writes.conflict(found)
        if str(asked.get("compute", "")).casefold() != str(found.properties.get("compute", "")).casefold():
            raise user_error(400, f"The compute of the endpoint '{found.name}' cannot be changed.")
        wanted = self._traffic.read(found, call.document()["properties"].get("traffic"))
        return self._update(call, found, asked, dict(call.document().get("tags") or {}), wanted)

    def patch(self, call: Call) -> Reply:
        """Tags and traffic; what is not named stays."""
        found, body = endpoint_of(self._world, call), call.document()
        if writes.is_busy(found):
            raise writes.conflict(found)
        asked = {name: value for name, value in (body.get("properties") or {}).items() if value is not None}
        for name in asked:
            if name not in ("traffic", "publicNetworkAccess"):
                raise bad_member(name, "PartialOnlineEndpoint", f"properties.{name}")
        check_tags(body.get("tags"))
        wanted = self._traffic.read(found, asked.get("traffic", found.state["applied"]))
        kept = {
            name: value
            for name, value in found.properties.items()
            if name not in ("traffic", "provisioningState")
        }
        kept |= {name: value for name, value in asked.items() if name != "traffic"}
        reply = self._update(call, found, kept, {**found.tags, **(body.get("tags") or {})}, wanted)
        return Reply(202, operation=reply.operation)

    def delete(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        under_way = self._world.operations.running(found.id)
        if found.provisioning_state == "Deleting" and under_way:
            return Reply(202, operation=under_way[0])
        self._world.operations.preempt(found.id, call.at)
        for deployment in self._traffic.deployments(found).values():
            self._world.operations.preempt(deployment.id, call.at)
            deployment.properties["provisioningState"] = "Deleting"
        self._move(found, "Deleting", call.at)
        if self._world.serving:
            self._world.serving.forget(found.name)
        operation = writes.begin(self._world, call, found)
        self._world.operations.then(
            operation, call.fault, ENDPOINT_DELETED_S, "endpoint.deleted", endpoint=found.id
        )
        return Reply(202, operation=operation)

    def _create(self, call: Call, workspace: Resource, asked: dict[str, Any]) -> Reply:
        if asked.get("compute"):
            compute = kubernetes.compute_of(self._world, workspace, asked["compute"])
            asked["compute"] = compute.id
        endpoint_spec.traffic(call.document()["properties"].get("traffic"), {})
        who = endpoint_spec.identity_of(self._world, call.resource_id, call.document().get("identity"))
        keys = call.document()["properties"].get("keys") or {}
        name, region = call.params["endpoint"], workspace.location
        endpoint = Resource(call.resource_id, ENDPOINTS, region, call.at, call.at)
        # A cluster's own ingress is not simulated: its endpoints are at the hosts of managed ones.
        host = f"https://{name.casefold()}.{region}.inference.ml.azure.com"
        asked["properties"]["azureml.onlineendpointid"] = call.resource_id.casefold()
        endpoint.properties = {
            **asked, "traffic": {}, "provisioningState": "Creating",
            "scoringUri": f"{host}/score", "swaggerUri": f"{host}/swagger.json",
        }  # fmt: skip
        endpoint.tags = dict(call.document().get("tags") or {})
        endpoint.extra = {"identity": who, "kind": _KINDS[kind_of(endpoint)]}
        endpoint.state = {
            "author": call.principal.identity.name,
            "applied": {},
            "keys": {**new_keys(), **keys},
        }
        self._world.store.put(endpoint)
        self._move(endpoint, "Creating", call.at)
        after_s = K8S_ENDPOINT_CREATED_S if asked.get("compute") else ENDPOINT_CREATED_S
        return Reply(201, _view(endpoint), operation=self._later(call, endpoint, after_s))

    def _update(
        self,
        call: Call,
        endpoint: Resource,
        asked: dict[str, Any],
        tags: dict[str, str],
        wanted: dict[str, int],
    ) -> Reply:
        changes_traffic = wanted != endpoint.state["applied"]
        if changes_traffic:
            self._traffic.strike(call, endpoint)
        endpoint.state["unsettled"] = {
            "traffic": dict(endpoint.state["applied"]), "tags": dict(endpoint.tags), "state": endpoint.provisioning_state,
        }  # fmt: skip
        fixed = {name: endpoint.properties[name] for name in ("scoringUri", "swaggerUri")}
        inner = {**endpoint.properties["properties"], **asked["properties"]}
        endpoint.properties = {**asked, **fixed, "properties": inner, "traffic": wanted}
        endpoint.tags = tags
        self._world.store.touch(endpoint, call.at)
        self._move(endpoint, "Updating", call.at)
        operation = self._later(call, endpoint, TRAFFIC_S)
        if changes_traffic:
            self._traffic.accepted(endpoint, wanted, call, operation)
        body = {**_view(endpoint)}
        body["properties"]["traffic"], body["tags"] = dict(wanted), dict(tags)
        return Reply(200, body, operation=operation)

    def _later(self, call: Call, endpoint: Resource, after_s: float) -> Operation:
        writes.note(call, endpoint)
        operation = writes.begin(self._world, call, endpoint)
        fault = endpoint.state["fault"] = writes.saved(call.fault)
        if fault.get("kind") != "stuck":
            moment = call.at + after_s + fault.get("late_s", 0.0)
            self._world.scheduler.at(moment, "endpoint.written", endpoint=endpoint.id, operation=operation.id)
        return operation

    def _written(self, at: float, endpoint: str, operation: str) -> None:
        found = self._world.store.get(endpoint)
        if found is None or not self._world.operations.is_running(operation):
            return
        before = found.state.get("unsettled")
        error, status = self._trouble(found)
        if error and before:
            found.properties["traffic"], found.tags = before["traffic"], before["tags"]
        if error:
            kept = before["state"] if before and status == "Canceled" else status
            self._move(found, kept, at, code=error["code"])
            self._world.operations.fail(operation, at, error, status)
        else:
            found.state["applied"] = dict(found.properties["traffic"])
            self._traffic.route(found, at)
            self._move(found, "Succeeded", at)
            self._world.operations.succeed(operation, at, _view(found))
        fault = found.state["fault"]
        if fault.get("kind") == "vanish":
            self._world.scheduler.at(at + fault["after_s"], "endpoint.vanish", endpoint=endpoint)
        if before:
            self._world.scheduler.at(at + SETTLED_S, "endpoint.settled", endpoint=endpoint)

    def _trouble(self, endpoint: Resource) -> tuple[dict[str, Any] | None, str]:
        """Why the write under way comes to nothing, and how it then ends."""
        fault = endpoint.state["fault"]
        if fault.get("kind") == "async_failure":
            return fault["error"], fault["status"]
        compute = self._world.store.get(str(endpoint.properties.get("compute")))
        if endpoint.properties.get("compute") and compute is None:
            return error_object("ComputeNotFound", "Cannot find Kubernetes compute."), "Failed"
        return (kubernetes.trouble(self._world, compute) if compute else None), "Failed"

    def _settled(self, at: float, endpoint: str) -> None:
        if found := self._world.store.get(endpoint):
            found.state.pop("unsettled", None)

    def _deleted(self, at: float, endpoint: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            self._remove(endpoint, at)
            self._world.operations.succeed(operation, at)

    def _vanish(self, at: float, endpoint: str) -> None:
        """Somebody else deleted it, all at once."""
        if found := self._world.store.get(endpoint):
            self._world.operations.preempt(found.id, at)
            self._remove(endpoint, at)

    def _remove(self, endpoint: str, at: float) -> None:
        found = self._world.store.get(endpoint)
        if found is None:
            return
        if self._world.serving:
            self._world.serving.forget(found.name)
        for deployment in self._traffic.deployments(found).values():
            self._world.operations.preempt(deployment.id, at)
            self._world.meter.stop(deployment.id, at)
            self._world.store.remove(deployment.id)
            self._world.events.add("removed", at, resource_id=deployment.id)
        self._world.store.remove(endpoint)
        self._world.events.add("removed", at, resource_id=endpoint)

    def _move(self, endpoint: Resource, state: str, at: float, code: str = "") -> None:
        endpoint.properties["provisioningState"] = state
        self._world.events.add("endpoint", at, resource_id=endpoint.id, status=state, code=code)


def _view(endpoint: Resource) -> dict[str, Any]:
    body = {**endpoint.envelope(), "systemData": system_data(endpoint)}
    body["tags"] = dict(endpoint.tags)
    if before := endpoint.state.get("unsettled"):
        body["tags"] = dict(before["tags"])
        body["properties"]["traffic"] = dict(before["traffic"])
    return body
