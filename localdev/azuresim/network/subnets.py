"""Subnets: by themselves, and inside the body of their network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localdev.azuresim import paging, preconditions
from localdev.azuresim.compute import parts
from localdev.azuresim.errors import ArmError, parent_not_found
from localdev.azuresim.network.common import DELETE_S, PAGE, VERSIONS, WRITE_S, begin, check_members
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import NOT_SIMULATED, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_SUBNET_PROPERTIES = {
    **members(
        "addressPrefix", "addressPrefixes", "natGateway", "networkSecurityGroup", "defaultOutboundAccess"
    ),
    **members("privateEndpointNetworkPolicies", "privateLinkServiceNetworkPolicies", "provisioningState"),
    **members("serviceEndpoints", "delegations", "ipConfigurations"),
    **dict.fromkeys(("routeTable", "serviceEndpointPolicies", "ipAllocations"), NOT_SIMULATED),
}
SUBNET = {**members("id", "name", "etag", "type"), "properties": _SUBNET_PROPERTIES}


class Subnets:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("subnet.written", self._written)
        world.scheduler.register("subnet.deleted", self._deleted)

    def routes(self) -> list[Route]:
        group = "/subscriptions/{subscription}/resourceGroups/{group}"
        collection = f"{group}/providers/Microsoft.Network/virtualNetworks/{{network}}/subnets"
        one, type_ = f"{collection}/{{subnet}}", parts.SUBNETS
        return [
            Route("GET", collection, f"{type_}/read", self.list, VERSIONS),
            Route("GET", one, f"{type_}/read", self.get, VERSIONS),
            Route("PUT", one, f"{type_}/write", self.put, VERSIONS),
            Route("DELETE", one, f"{type_}/delete", self.delete, VERSIONS),
        ]

    def list(self, call: Call) -> Reply:
        network = self._network(call)
        found = self._world.store.of_type(parts.SUBNETS, network.id)
        return Reply(200, paging.page(call, [view(each) for each in found], PAGE))

    def get(self, call: Call) -> Reply:
        self._network(call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise ArmError(404, "NotFound", f"Resource {call.resource_id} not found.")
        return Reply(200, view(found), {"ETag": found.etag})

    def put(self, call: Call) -> Reply:
        network = self._network(call)
        body = call.document()
        check_members(body, SUBNET, "Subnet")
        found = self._world.store.get(call.resource_id)
        preconditions.check(call, found)
        subnet = put_subnet(
            self._world, network, call.params["subnet"], body.get("properties") or {}, call.at
        )
        subnet.properties["provisioningState"] = "Updating"
        operation = begin(self._world, call, subnet, "subnet.written", WRITE_S)
        return Reply(200 if found else 201, view(subnet), {"ETag": subnet.etag}, operation)

    def delete(self, call: Call) -> Reply:
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        refuse_in_use(self._world, found)
        return Reply(202, operation=begin(self._world, call, found, "subnet.deleted", DELETE_S))

    def _network(self, call: Call) -> Resource:
        id_ = call.resource_id.partition("/subnets")[0]
        found = self._world.store.get(id_)
        if found is None:
            raise parent_not_found(id_, parts.SUBNETS, "read" if call.method == "GET" else "write")
        return found

    def _written(self, at: float, resource: str, operation: str) -> None:
        found = self._world.store.get(resource)
        if found and self._world.operations.is_running(operation):
            found.properties["provisioningState"] = "Succeeded"
            self._world.operations.succeed(operation, at)

    def _deleted(self, at: float, resource: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            parts.remove(self._world, resource, at)
            self._world.operations.succeed(operation, at)


def view(subnet: Resource) -> dict[str, Any]:
    return {
        "id": subnet.id,
        "name": subnet.name,
        "type": subnet.type,
        "etag": f"W/{subnet.etag}",
        "properties": dict(subnet.properties),
    }


def put_subnet(world: World, network: Resource, name: str, asked: Mapping[str, Any], at: float) -> Resource:
    id_ = f"{network.id}/subnets/{name}"
    subnet = world.store.get(id_) or Resource(id_, parts.SUBNETS, network.location, at, at)
    subnet.properties = {
        "privateEndpointNetworkPolicies": "Disabled",
        "privateLinkServiceNetworkPolicies": "Enabled",
        **asked,
        "provisioningState": "Succeeded",
    }
    world.store.touch(subnet, at)
    return world.store.put(subnet)


def refuse_in_use(world: World, subnet: Resource) -> None:
    for nic in world.store.of_type(parts.NICS):
        for configuration in nic.properties["ipConfigurations"]:
            if str(configuration["properties"]["subnet"]["id"]).casefold() == subnet.id.casefold():
                raise ArmError(
                    400,
                    "InUseSubnetCannotBeDeleted",
                    f"Subnet {subnet.name} is in use by {configuration['id']} and cannot be deleted. In order to "
                    "delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.",
                )
