"""The types of Microsoft.Network that are simulated: their members, and how their properties come about."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localdev.azuresim.compute import parts
from localdev.azuresim.errors import ArmError
from localdev.azuresim.network import subnets
from localdev.azuresim.shapes import ANY, READ_ONLY, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

NETWORKS = "Microsoft.Network/virtualNetworks"
GROUPS = "Microsoft.Network/networkSecurityGroups"
GATEWAYS = "Microsoft.Network/natGateways"
_TOP = members("location", "tags", "sku", "zones", *READ_ONLY)
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


def _make_network(world: World, network: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    for subnet in asked.pop("subnets", None) or ():
        subnets.put_subnet(world, network, subnet["name"], subnet.get("properties") or {}, network.created)
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


def _refuse_network_in_use(world: World, network: Resource) -> None:
    for subnet in world.store.of_type(parts.SUBNETS, network.id):
        subnets.refuse_in_use(world, subnet)


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
            "subnets": [subnets.SUBNET],
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
