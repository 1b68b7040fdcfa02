"""The disks of a machine: created with it, attached to it, billed from then on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.compute import images
from localdev.azuresim.compute.parts import DISKS, group_of
from localdev.azuresim.errors import ArmError, invalid_parameter
from localdev.azuresim.events import iso
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_DEFAULT_DATA_DISK_GIB = 32


def create_disk(
    world: World, vm: Resource, name: str, tier: str, size_gib: int, at: float, **properties: Any
) -> str:
    """A managed disk for `vm`. It carries the machine's tags of this moment, as Azure's implicit disks do."""
    id_ = f"{group_of(vm.id)}/providers/{DISKS}/{name}"
    if world.store.get(id_):
        raise ArmError(
            409,
            "ConflictingUserInput",
            f"Disk {name} already exists in resource group {vm.group.upper()}. Only CreateOption.Attach is supported.",
            target="/subscriptions/" + vm.subscription,
        )
    disk = world.store.put(
        Resource(
            id_,
            DISKS,
            vm.location,
            at,
            at,
            tags=dict(vm.tags),
            extra={"sku": {"name": tier, "tier": tier.partition("_")[0]}, "managedBy": vm.id},
            properties={
                "diskSizeGB": size_gib,
                "diskSizeBytes": size_gib * 1024**3,
                "diskState": "Attached",
                "timeCreated": iso(at),
                "uniqueId": str(uuid.uuid4()),
                "provisioningState": "Succeeded",
                "networkAccessPolicy": "AllowAll",
                "publicNetworkAccess": "Enabled",
                **properties,
            },
        )
    )
    bill_disk(world, disk, at)
    return id_


def bill_disk(world: World, disk: Resource, at: float) -> None:
    tier = catalog.disk_tier(disk.extra["sku"]["name"], disk.properties["diskSizeGB"])
    world.meter.start(disk.id, f"Disk {tier}", catalog.disk_price_usd_per_hour(tier), at, disk.tags)


def storage_profile(world: World, vm: Resource, asked: Mapping[str, Any], at: float) -> dict[str, Any]:
    """The machine's `storageProfile`, its disks created."""
    image = images.find(asked["imageReference"])
    os_disk = dict(asked.get("osDisk") or {"createOption": "FromImage"})
    os_disk.setdefault("name", f"{vm.name}_OsDisk_1_{uuid.uuid4().hex}")
    os_disk.setdefault("caching", "ReadWrite")
    os_disk.setdefault("deleteOption", "Detach")
    os_disk |= {"osType": image.os_type, "diskSizeGB": os_disk.get("diskSizeGB") or image.os_disk_gib}
    tier = (os_disk.get("managedDisk") or {}).get("storageAccountType") or "Standard_LRS"
    made = create_disk(
        world,
        vm,
        os_disk["name"],
        tier,
        os_disk["diskSizeGB"],
        at,
        osType=image.os_type,
        hyperVGeneration=image.generation,
        creationData={"createOption": "FromImage"},
    )
    os_disk["managedDisk"] = {"storageAccountType": tier, "id": made}
    return {
        "imageReference": {**asked["imageReference"], "exactVersion": image.version},
        "osDisk": os_disk,
        "dataDisks": [_data_disk(world, vm, dict(disk), at) for disk in asked.get("dataDisks") or ()],
        "diskControllerType": asked.get("diskControllerType", "SCSI"),
    }


def _data_disk(world: World, vm: Resource, disk: dict[str, Any], at: float) -> dict[str, Any]:
    disk.setdefault("name", f"{vm.name}_disk{disk.get('lun', 0)}_{uuid.uuid4().hex}")
    disk.setdefault("caching", "None")
    disk.setdefault("deleteOption", "Detach")
    match disk.get("createOption"):
        case "Empty":
            tier = (disk.get("managedDisk") or {}).get("storageAccountType") or "Standard_LRS"
            size_gib = disk.setdefault("diskSizeGB", _DEFAULT_DATA_DISK_GIB)
            made = create_disk(
                world, vm, disk["name"], tier, size_gib, at, creationData={"createOption": "Empty"}
            )
            disk["managedDisk"] = {"storageAccountType": tier, "id": made}
        case "Attach":
            attach_disk(world, vm, (disk.get("managedDisk") or {}).get("id", ""))
        case other:
            raise invalid_parameter(
                f"createOption '{other}' of a data disk is not simulated.", "dataDisk.createOption"
            )
    return disk


def attach_disk(world: World, vm: Resource, id_: str) -> None:
    disk = world.store.get(id_)
    if disk is None:
        raise ArmError(404, "NotFound", f"Disk {id_.rpartition('/')[2]} is not found.", target="dataDisk")
    owner = disk.extra.get("managedBy")
    if owner and owner.casefold() != vm.id.casefold():
        raise ArmError(
            409,
            "ConflictingUserInput",
            f"A disk with name {disk.name} already exists in Resource Group {disk.group} and is attached to VM {owner}.",
        )
    disk.extra["managedBy"], disk.properties["diskState"] = vm.id, "Attached"
