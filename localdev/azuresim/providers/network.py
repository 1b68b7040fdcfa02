"""Microsoft.Network: what a virtual machine needs of it.

Paths, statuses and members: virtualNetwork.json, networkInterface.json, publicIpAddress.json, networkSecurityGroup.json,
natGateway.json 2024-03-01. Refusals: public error logs.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim import catalog, paging, preconditions
from localdev.azuresim.compute import parts
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import not_found
from localdev.azuresim.network import subnets
from localdev.azuresim.network.common import DELETE_S, PAGE, VERSIONS, WRITE_S, begin, check_members
from localdev.azuresim.network.kinds import KINDS, NETWORKS, Kind
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World


def routes(world: World) -> list[Route]:
    kinds = [route for kind in KINDS for route in Networking(world, kind).routes()]
    return [*kinds, *subnets.Subnets(world).routes()]


class Networking:
    """Reads and writes one kind. Writes are long operations of a moment, as there."""

    def __init__(self, world: World, kind: Kind) -> None:
        self._world, self._kind = world, kind
        world.scheduler.register(f"{kind.type}.written", self._written)
        world.scheduler.register(f"{kind.type}.deleted", self._deleted)

    def routes(self) -> list[Route]:
        base = f"providers/Microsoft.Network/{self._kind.plural}"
        collection = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{base}"
        one, type_ = f"{collection}/{{name}}", self._kind.type
        return [
            Route("GET", f"/subscriptions/{{subscription}}/{base}", f"{type_}/read", self.list, VERSIONS),
            Route("GET", collection, f"{type_}/read", self.list, VERSIONS),
            Route("GET", one, f"{type_}/read", self.get, VERSIONS),
            Route("PUT", one, f"{type_}/write", self.put, VERSIONS),
            Route("PATCH", one, f"{type_}/write", self.patch, VERSIONS),
            Route("DELETE", one, f"{type_}/delete", self.delete, VERSIONS),
        ]

    def get(self, call: Call) -> Reply:
        found = self._existing(call)
        return Reply(200, view(self._world, found), {"ETag": found.etag})

    def list(self, call: Call) -> Reply:
        found = self._world.store.of_type(self._kind.type, call.path.partition("/providers/")[0])
        return Reply(200, paging.page(call, [view(self._world, each) for each in found], PAGE))

    def put(self, call: Call) -> Reply:
        body = call.document()
        check_members(body, {**self._kind.top, "properties": self._kind.properties}, self._kind.type)
        found = self._world.store.get(call.resource_id)
        preconditions.check(call, found)
        location = required_location(body, self._kind.type)
        check_tags(body.get("tags"))
        resource = found or Resource(call.resource_id, self._kind.type, location, call.at, call.at)
        made = self._kind.make(self._world, resource, dict(body.get("properties") or {}))
        resource.tags = dict(body.get("tags") or {})
        resource.extra |= {name: body[name] for name in ("sku", "zones") if body.get(name)}
        resource.properties = {**resource.properties, **made, "provisioningState": "Updating"}
        self._world.store.put(resource)
        if found:
            self._world.store.touch(resource, call.at)
            self._world.meter.retag(resource.id, resource.tags)
        elif resource.type == parts.ADDRESSES:
            price = catalog.PUBLIC_IP_USD_PER_HOUR
            self._world.meter.start(resource.id, "Public IP", price, call.at, resource.tags)
        operation = self._begin(call, resource, "written", WRITE_S)
        return Reply(200 if found else 201, view(self._world, resource), {"ETag": resource.etag}, operation)

    def patch(self, call: Call) -> Reply:
        """Tags only, and at once: `UpdateTags` of the Swagger."""
        found = self._existing(call)
        body = call.document()
        check_members(body, members("tags"), "TagsObject")
        check_tags(body.get("tags"))
        found.tags = dict(body.get("tags") or {})
        self._world.store.touch(found, call.at)
        self._world.meter.retag(found.id, found.tags)
        return Reply(200, view(self._world, found), {"ETag": found.etag})

    def delete(self, call: Call) -> Reply:
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        preconditions.check(call, found)
        self._kind.refuse_delete(self._world, found)
        found.properties["provisioningState"] = "Deleting"
        return Reply(202, operation=self._begin(call, found, "deleted", DELETE_S))

    def _begin(self, call: Call, resource: Resource, step: str, after_s: float) -> Operation:
        return begin(self._world, call, resource, f"{self._kind.type}.{step}", after_s)

    def _written(self, at: float, resource: str, operation: str) -> None:
        found = self._world.store.get(resource)
        if found and self._world.operations.is_running(operation):
            found.properties["provisioningState"] = "Succeeded"
            self._world.operations.succeed(operation, at)

    def _deleted(self, at: float, resource: str, operation: str) -> None:
        if not self._world.operations.is_running(operation):
            return
        for child in self._world.store.of_type(parts.SUBNETS, resource):
            parts.remove(self._world, child.id, at)
        parts.remove(self._world, resource, at)
        self._world.operations.succeed(operation, at)

    def _existing(self, call: Call) -> Resource:
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return found


def view(world: World, resource: Resource) -> dict[str, Any]:
    body = {**resource.envelope(), "etag": f"W/{resource.etag}"}
    if resource.type == NETWORKS:
        found = world.store.of_type(parts.SUBNETS, resource.id)
        body["properties"]["subnets"] = [subnets.view(each) for each in found]
    return body
