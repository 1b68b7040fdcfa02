"""What a machine is connected to the world with, and what becomes of all its parts when it is gone."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.errors import ArmError
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

DISKS, NICS = "Microsoft.Compute/disks", "Microsoft.Network/networkInterfaces"
ADDRESSES, SUBNETS = "Microsoft.Network/publicIPAddresses", "Microsoft.Network/virtualNetworks/subnets"


def group_of(id_: str) -> str:
    return "/".join(id_.split("/")[:5])


def network_profile(world: World, vm: Resource, asked: Mapping[str, Any], at: float) -> dict[str, Any]:
    """The machine's `networkProfile`: its interfaces attached, the ones it describes inline created first."""
    interfaces = [_attach_interface(world, vm, entry) for entry in asked.get("networkInterfaces") or ()]
    for configuration in asked.get("networkInterfaceConfigurations") or ():
        nic = _create_interface(world, vm, configuration, at)
        details = configuration.get("properties") or {}
        entry = {
            "primary": details.get("primary", not interfaces),
            "deleteOption": details.get("deleteOption", "Detach"),
        }
        interfaces.append({"id": nic.id, "properties": entry})
    return {"networkInterfaces": interfaces}


def check_network(world: World, vm_id: str, location: str, asked: Mapping[str, Any]) -> None:
    """Everything a machine's network refers to exists, is near, and is free. Raises Azure's refusal."""
    for entry in asked.get("networkInterfaces") or ():
        nic = _referenced(world, str(entry.get("id")), vm_id, location)
        owner = (nic.properties.get("virtualMachine") or {}).get("id", "")
        if owner and owner.casefold() != vm_id.casefold():
            raise ArmError(
                400,
                "NicInUse",
                f"Network Interface {nic.id} is used by existing resource {owner}. In order to delete the network "
                "interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
            )
    for configuration in asked.get("networkInterfaceConfigurations") or ():
        name = configuration["name"]
        if world.store.get(f"{group_of(vm_id)}/providers/{NICS}/{name}"):
            raise ArmError(
                409, "Conflict", f"A network interface named {name} already exists and is not this machine's."
            )
        details = configuration["properties"]
        if group := (details.get("networkSecurityGroup") or {}).get("id"):
            _referenced(world, group, vm_id, location)
        for ip in details["ipConfigurations"]:
            _referenced(world, ip["properties"]["subnet"]["id"], vm_id, location)


def _referenced(world: World, id_: str, referrer: str, location: str) -> Resource:
    found = world.store.get(id_)
    if found is None or found.location != location:
        raise ArmError(
            400,
            "InvalidResourceReference",
            f"Resource {id_} referenced by resource {referrer} was not found. Please make sure that the referenced "
            "resource exists, and that both resources are in the same region.",
        )
    return found


def _attach_interface(world: World, vm: Resource, entry: Mapping[str, Any]) -> dict[str, Any]:
    nic = world.store.get(entry["id"])
    assert nic is not None  # check_network has looked
    nic.properties["virtualMachine"] = {"id": vm.id}
    return {
        "id": nic.id,
        "properties": {"primary": True, "deleteOption": "Detach", **(entry.get("properties") or {})},
    }


def _create_interface(world: World, vm: Resource, configuration: Mapping[str, Any], at: float) -> Resource:
    """An interface made by Compute on the machine's behalf. It does not get the machine's tags.

    Source: Azure/karpenter-provider-azure PR 812, "tags are no longer set on the nic".
    """
    details = configuration["properties"]
    id_ = f"{group_of(vm.id)}/providers/{NICS}/{configuration['name']}"
    configurations = [
        _ip_configuration(world, vm, id_, ip, index, at)
        for index, ip in enumerate(details["ipConfigurations"])
    ]
    nic = Resource(
        id_,
        NICS,
        vm.location,
        at,
        at,
        tags=dict(configuration.get("tags") or {}),
        properties=interface_properties(configurations, details) | {"virtualMachine": {"id": vm.id}},
    )
    return world.store.put(nic)


def interface_properties(configurations: list[dict[str, Any]], details: Mapping[str, Any]) -> dict[str, Any]:
    unique = uuid.uuid4()
    return {
        "resourceGuid": str(unique),
        "ipConfigurations": configurations,
        "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
        "macAddress": "-".join(f"{byte:02X}" for byte in (0, 0x0D, 0x3A, *unique.bytes[:3])),
        "primary": details.get("primary", True),
        "enableAcceleratedNetworking": details.get("enableAcceleratedNetworking", False),
        "enableIPForwarding": details.get("enableIPForwarding", False),
        **({"networkSecurityGroup": group} if (group := details.get("networkSecurityGroup")) else {}),
        "provisioningState": "Succeeded",
    }


def _ip_configuration(
    world: World, vm: Resource, nic_id: str, asked: Mapping[str, Any], index: int, at: float
) -> dict[str, Any]:
    details = asked["properties"]
    shown: dict[str, Any] = {
        "provisioningState": "Succeeded",
        "privateIPAddress": private_address(world, details["subnet"]["id"]),
        "privateIPAllocationMethod": "Dynamic",
        "subnet": {"id": details["subnet"]["id"]},
        "primary": details.get("primary", index == 0),
        "privateIPAddressVersion": "IPv4",
    }
    address = details.get("publicIPAddressConfiguration")
    id_ = f"{nic_id}/ipConfigurations/{asked.get('name', 'ipconfig')}"
    if address:
        shown["publicIPAddress"] = {"id": _create_address(world, vm, id_, address, at).id}
    return {"name": asked.get("name", "ipconfig"), "id": id_, "properties": shown}


def private_address(world: World, subnet_id: str) -> str:
    subnet = world.store.get(subnet_id)
    prefix = str(subnet.properties.get("addressPrefix", "10.0.0.0/24")) if subnet else "10.0.0.0/24"
    number = 4 + len(world.store.of_type(NICS))  # Azure keeps the first four of a subnet
    first = prefix.partition("/")[0].rsplit(".", 2)[0]
    return f"{first}.{number // 256}.{number % 256}"


def _create_address(
    world: World, vm: Resource, configuration_id: str, asked: Mapping[str, Any], at: float
) -> Resource:
    details = asked.get("properties") or {}
    address = Resource(
        f"{group_of(vm.id)}/providers/{ADDRESSES}/{asked['name']}",
        ADDRESSES,
        vm.location,
        at,
        at,
        tags=dict(asked.get("tags") or {}),
        extra={"sku": asked.get("sku") or {"name": "Standard", "tier": "Regional"}},
        properties=address_properties(world, details) | {"ipConfiguration": {"id": configuration_id}},
        state={"deleteOption": details.get("deleteOption", "Detach")},
    )
    world.meter.start(address.id, "Public IP", catalog.PUBLIC_IP_USD_PER_HOUR, at, address.tags)
    return world.store.put(address)


def address_properties(world: World, details: Mapping[str, Any]) -> dict[str, Any]:
    number = len(world.store.of_type(ADDRESSES)) + 1
    return {
        "resourceGuid": str(uuid.uuid4()),
        "ipAddress": f"203.0.113.{number % 254 + 1}",  # RFC 5737: addresses for documentation
        "publicIPAddressVersion": "IPv4",
        "publicIPAllocationMethod": details.get("publicIPAllocationMethod", "Static"),
        "idleTimeoutInMinutes": details.get("idleTimeoutInMinutes", 4),
        "provisioningState": "Succeeded",
    }


def release(world: World, vm: Resource, at: float, spare: Iterable[str] = ()) -> None:
    """The machine is gone: delete what is set to go with it, let go of the rest. `spare`: types that stay anyway."""
    kept = set(spare)
    for entry in vm.properties["networkProfile"]["networkInterfaces"]:
        goes = entry["properties"].get("deleteOption") == "Delete" and "networkInterfaces" not in kept
        _release_interface(world, entry["id"], at, goes=goes, addresses_go="publicIPAddresses" not in kept)
    storage = vm.properties["storageProfile"]
    for disk in (storage["osDisk"], *storage["dataDisks"]):
        goes = disk.get("deleteOption") == "Delete" and "disks" not in kept
        _release_disk(world, disk["managedDisk"]["id"], at, goes=goes)


def _release_interface(world: World, id_: str, at: float, *, goes: bool, addresses_go: bool) -> None:
    nic = world.store.get(id_)
    if nic is None:
        return
    nic.properties.pop("virtualMachine", None)
    if not goes:
        world.store.touch(nic, at)
        return
    remove(world, id_, at)
    for configuration in nic.properties["ipConfigurations"]:
        address_id = (configuration["properties"].get("publicIPAddress") or {}).get("id", "")
        address = world.store.get(address_id)
        if address is None:
            continue
        address.properties.pop("ipConfiguration", None)
        if address.state.get("deleteOption") == "Delete" and addresses_go:
            remove(world, address_id, at)


def _release_disk(world: World, id_: str, at: float, *, goes: bool) -> None:
    disk = world.store.get(id_)
    if disk is None:
        return
    if goes:
        remove(world, id_, at)
        return
    disk.extra.pop("managedBy", None)
    disk.properties["diskState"] = "Unattached"
    world.store.touch(disk, at)


def remove(world: World, id_: str, at: float) -> None:
    """Take a resource out of the world and off the bill."""
    gone = world.store.remove(id_)
    if gone is not None:
        world.meter.stop(gone.id, at)
        world.events.add(
            "deleted", at, resource_id=gone.id, resource_type=gone.type, tags=copy.copy(gone.tags)
        )
