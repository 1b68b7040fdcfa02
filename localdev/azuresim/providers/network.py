"""Microsoft.Network: what a virtual machine needs of it.

Paths, statuses and members: virtualNetwork.json, networkInterface.json, publicIpAddress.json, networkSecurityGroup.json,
natGateway.json 2024-03-01. Refusals: public error logs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localdev.azuresim import catalog, paging, preconditions
from localdev.azuresim.compute import parts
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError, not_found, parent_not_found
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import ANY, NOT_SIMULATED, READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = (
    *("2023-11-01", "2024-01-01", "2024-03-01", "2024-05-01", "2024-07-01", "2024-10-01"),
    *("2025-01-01", "2025-03-01", "2025-05-01", "2026-01-01", "2026-03-01"),
)
NETWORKS, GROUPS, GATEWAYS = (
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/natGateways",
)
_WRITE_S, _DELETE_S, _POLL_S = 2.0, 4.0, 2.0
_PAGE = 100
_TOP = members("location", "tags", "sku", "zones", *READ_ONLY)
_SUBNET_PROPERTIES = {
    **members(
        "addressPrefix", "addressPrefixes", "natGateway", "networkSecurityGroup", "defaultOutboundAccess"
    ),
    **members("privateEndpointNetworkPolicies", "privateLinkServiceNetworkPolicies", "provisioningState"),
    **members("serviceEndpoints", "delegations", "ipConfigurations"),
    **dict.fromkeys(("routeTable", "serviceEndpointPolicies", "ipAllocations"), NOT_SIMULATED),
}
_SUBNET = {**members("id", "name", "etag", "type"), "properties": _SUBNET_PROPERTIES}
_IP_CONFIGURATION = {
    **members("id", "name", "etag", "type"),
    "properties": members(
        *("subnet", "primary", "privateIPAddress", "privateIPAllocationMethod", "privateIPAddressVersion"),
        *("publicIPAddress", "provisioningState"),
    ),
}


@dataclass(frozen=True)
class Kind:
    """One type of Microsoft.Network: its members, and how its properties come about."""

    type: str
    properties: Mapping[str, Any]
    make: Callable[[World, Resource, dict[str, Any]], dict[str, Any]]
    refuse_delete: Callable[[World, Resource], None] = lambda world, resource: None
    top: Mapping[str, Any] = field(default_factory=lambda: _TOP)

    @property
    def plural(self) -> str:
        return self.type.partition("/")[2]


def routes(world: World) -> list[Route]:
    return [route for kind in KINDS for route in Networking(world, kind).routes()] + Subnets(world).routes()


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
        return Reply(200, paging.page(call, [view(self._world, each) for each in found], _PAGE))

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
        operation = self._begin(call, resource, "written", _WRITE_S)
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
        return Reply(202, operation=self._begin(call, found, "deleted", _DELETE_S))

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
        for child in self._world.store.of_type(f"{NETWORKS}/subnets", resource):
            parts.remove(self._world, child.id, at)
        parts.remove(self._world, resource, at)
        self._world.operations.succeed(operation, at)

    def _existing(self, call: Call) -> Resource:
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return found


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
        return Reply(200, paging.page(call, [subnet_view(each) for each in found], _PAGE))

    def get(self, call: Call) -> Reply:
        self._network(call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise ArmError(404, "NotFound", f"Resource {call.resource_id} not found.")
        return Reply(200, subnet_view(found), {"ETag": found.etag})

    def put(self, call: Call) -> Reply:
        network = self._network(call)
        body = call.document()
        check_members(body, _SUBNET, "Subnet")
        found = self._world.store.get(call.resource_id)
        preconditions.check(call, found)
        subnet = put_subnet(
            self._world, network, call.params["subnet"], body.get("properties") or {}, call.at
        )
        subnet.properties["provisioningState"] = "Updating"
        operation = begin(self._world, call, subnet, "subnet.written", _WRITE_S)
        return Reply(200 if found else 201, subnet_view(subnet), {"ETag": subnet.etag}, operation)

    def delete(self, call: Call) -> Reply:
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        _refuse_subnet_in_use(self._world, found)
        return Reply(202, operation=begin(self._world, call, found, "subnet.deleted", _DELETE_S))

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


def begin(world: World, call: Call, resource: Resource, step: str, after_s: float) -> Operation:
    operation = world.operations.begin(
        call.action,
        resource.id,
        location=resource.location,
        api_version=call.api_version,
        at=call.at,
        poll_after_s=_POLL_S,
    )
    world.operations.then(operation, call.fault, after_s, step, resource=resource.id)
    return operation


def check_members(body: Mapping[str, Any], shape: Any, owner: str) -> None:
    """As `shapes.check`, in the words of Microsoft.Network."""
    try:
        check(body, shape, owner.rpartition("/")[2])
    except ArmError as error:
        detail = {"code": "InvalidJson", "message": error.message}
        raise ArmError(400, "InvalidRequestFormat", "Cannot parse the request.", details=[detail]) from error


def view(world: World, resource: Resource) -> dict[str, Any]:
    body = {**resource.envelope(), "etag": f"W/{resource.etag}"}
    if resource.type == NETWORKS:
        subnets = world.store.of_type(parts.SUBNETS, resource.id)
        body["properties"]["subnets"] = [subnet_view(each) for each in subnets]
    return body


def subnet_view(subnet: Resource) -> dict[str, Any]:
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


def _make_network(world: World, network: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    for subnet in asked.pop("subnets", None) or ():
        put_subnet(world, network, subnet["name"], subnet.get("properties") or {}, network.created)
    return {"enableDdosProtection": False, "virtualNetworkPeerings": [], **asked}


def _make_interface(world: World, nic: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    shown = []
    for index, configuration in enumerate(asked.get("ipConfigurations") or ()):
        details = dict(configuration.get("properties") or {})
        subnet = (details.get("subnet") or {}).get("id", "")
        address = (details.get("publicIPAddress") or {}).get("id")
        for id_ in filter(None, (subnet, address)):
            if world.store.get(id_) is None:
                raise _missing_reference(id_, nic.id)
        id_ = f"{nic.id}/ipConfigurations/{configuration['name']}"
        if address and (found := world.store.get(address)):
            found.properties["ipConfiguration"] = {"id": id_}
        details.setdefault("privateIPAddress", parts.private_address(world, subnet))
        details.setdefault("privateIPAllocationMethod", "Dynamic")
        details |= {
            "primary": index == 0,
            "privateIPAddressVersion": "IPv4",
            "provisioningState": "Succeeded",
        }
        shown.append({"name": configuration["name"], "id": id_, "properties": details})
    if not shown:
        message = f"Network interface {nic.id} must have one or more IP configurations."
        raise ArmError(400, "NetworkInterfaceMustHaveAtLeastOneIpConfiguration", message)
    return {
        **parts.interface_properties(shown, asked),
        **_kept(nic, "virtualMachine", "resourceGuid", "macAddress"),
    }


def _make_address(world: World, address: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    return {
        **parts.address_properties(world, asked),
        **_kept(address, "ipAddress", "ipConfiguration", "resourceGuid"),
    }


def _make_plain(world: World, resource: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    return {"resourceGuid": resource.properties.get("resourceGuid", str(uuid.uuid4())), **asked}


def _make_group(world: World, group: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    rules = []
    for rule in asked.get("securityRules") or ():
        id_ = f"{group.id}/securityRules/{rule['name']}"
        properties = {**(rule.get("properties") or {}), "provisioningState": "Succeeded"}
        rules.append({"name": rule["name"], "id": id_, "properties": properties})
    return {**_make_plain(world, group, asked), "securityRules": rules, "defaultSecurityRules": []}


def _kept(resource: Resource, *names: str) -> dict[str, Any]:
    return {name: resource.properties[name] for name in names if name in resource.properties}


def _refuse_interface_in_use(world: World, nic: Resource) -> None:
    if owner := (nic.properties.get("virtualMachine") or {}).get("id"):
        raise ArmError(
            400,
            "NicInUse",
            f"Network Interface {nic.id} is used by existing resource {owner}. In order to delete the network "
            "interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
        )


def _refuse_address_in_use(world: World, address: Resource) -> None:
    if owner := (address.properties.get("ipConfiguration") or {}).get("id"):
        raise ArmError(
            400,
            "PublicIPAddressCannotBeDeleted",
            f"Public IP address {address.id} can not be deleted since it is still allocated to resource {owner}. In "
            "order to delete the public IP, disassociate/detach the Public IP address from the resource. To learn "
            "how to do this, see aka.ms/deletepublicip.",
        )


def _refuse_subnet_in_use(world: World, subnet: Resource) -> None:
    for nic in world.store.of_type(parts.NICS):
        for configuration in nic.properties["ipConfigurations"]:
            if str(configuration["properties"]["subnet"]["id"]).casefold() == subnet.id.casefold():
                raise ArmError(
                    400,
                    "InUseSubnetCannotBeDeleted",
                    f"Subnet {subnet.name} is in use by {configuration['id']} and cannot be deleted. In order to "
                    "delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.",
                )


def _refuse_network_in_use(world: World, network: Resource) -> None:
    for subnet in world.store.of_type(parts.SUBNETS, network.id):
        _refuse_subnet_in_use(world, subnet)


def _missing_reference(id_: str, referrer: str) -> ArmError:
    return ArmError(
        400,
        "InvalidResourceReference",
        f"Resource {id_} referenced by resource {referrer} was not found. Please make sure that the referenced "
        "resource exists, and that both resources are in the same region.",
    )


KINDS = (
    Kind(
        NETWORKS,
        {
            **members(
                "addressSpace", "dhcpOptions", "enableDdosProtection", "provisioningState", "resourceGuid"
            ),
            **members("virtualNetworkPeerings", "privateEndpointVNetPolicies"),
            "subnets": [_SUBNET],
        },
        _make_network,
        _refuse_network_in_use,
    ),
    Kind(
        parts.NICS,
        {
            **members(
                "dnsSettings", "enableAcceleratedNetworking", "enableIPForwarding", "networkSecurityGroup"
            ),
            **members(
                "primary", "macAddress", "resourceGuid", "provisioningState", "virtualMachine", "nicType"
            ),
            **members("disableTcpStateTracking", "auxiliaryMode", "auxiliarySku"),
            "ipConfigurations": [_IP_CONFIGURATION],
        },
        _make_interface,
        _refuse_interface_in_use,
    ),
    Kind(
        parts.ADDRESSES,
        {
            **members(
                "publicIPAllocationMethod", "publicIPAddressVersion", "idleTimeoutInMinutes", "dnsSettings"
            ),
            **members("ipAddress", "ipConfiguration", "resourceGuid", "provisioningState", "deleteOption"),
        },
        _make_address,
        _refuse_address_in_use,
    ),
    Kind(
        GROUPS,
        {
            "securityRules": [{**members("id", "name", "etag", "type"), "properties": ANY}],
            **members("flushConnection", "provisioningState", "resourceGuid", "defaultSecurityRules"),
        },
        _make_group,
    ),
    Kind(
        GATEWAYS,
        members(
            "idleTimeoutInMinutes",
            "publicIpAddresses",
            "publicIpPrefixes",
            "provisioningState",
            "resourceGuid",
        ),
        _make_plain,
    ),
)
