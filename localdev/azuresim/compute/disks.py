"""Managed disks by themselves (DiskRP 2024-03-02)."""

from __future__ import annotations

import uuid

from localdev.azuresim import paging, preconditions
from localdev.azuresim.catalog import NotSold
from localdev.azuresim.compute import parts, storage
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError, conflict, invalid_parameter, not_found
from localdev.azuresim.events import iso
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = ("2023-10-02", "2024-03-02", "2025-01-02", "2026-03-02")
_COLLECTION = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/disks"
_WRITE_S, _DELETE_S, _POLL_S = 2.0, 4.0, 2.0
_PAGE = 100
_SHAPE = {
    **members("location", "tags", "sku", "zones", *READ_ONLY),
    "properties": members(
        *(
            "osType",
            "creationData",
            "diskSizeGB",
            "hyperVGeneration",
            "networkAccessPolicy",
            "publicNetworkAccess",
        ),
        *("provisioningState", "diskState", "timeCreated", "uniqueId", "diskSizeBytes", "tier"),
    ),
}
_UPDATE = {**members("tags", "sku"), "properties": members("diskSizeGB", "tier")}


class Disks:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("disk.written", self._written)
        world.scheduler.register("disk.deleted", self._deleted)

    def routes(self) -> list[Route]:
        one, action = f"{_COLLECTION}/{{disk}}", parts.DISKS
        subscription = "/subscriptions/{subscription}/providers/Microsoft.Compute/disks"
        return [
            Route("GET", one, f"{action}/read", self.get, VERSIONS),
            Route("PUT", one, f"{action}/write", self.put, VERSIONS),
            Route("PATCH", one, f"{action}/write", self.patch, VERSIONS),
            Route("DELETE", one, f"{action}/delete", self.delete, VERSIONS),
            Route("GET", _COLLECTION, f"{action}/read", self.list, VERSIONS),
            Route("GET", subscription, f"{action}/read", self.list, VERSIONS),
        ]

    def get(self, call: Call) -> Reply:
        return Reply(200, self._existing(call).envelope())

    def list(self, call: Call) -> Reply:
        scope = call.path.partition("/providers/")[0]
        found = self._world.store.of_type(parts.DISKS, scope)
        return Reply(200, paging.page(call, [disk.envelope() for disk in found], _PAGE))

    def put(self, call: Call) -> Reply:
        body = call.document()
        check(body, _SHAPE, "Disk")
        found = self._world.store.get(call.resource_id)
        preconditions.check(call, found)
        location = required_location(body, parts.DISKS)
        check_tags(body.get("tags"))
        if found is not None:
            return self._update(call, found)
        asked = dict(body.get("properties") or {})
        if (asked.get("creationData") or {}).get("createOption") != "Empty":
            raise invalid_parameter(
                "Only createOption Empty is simulated for a disk.", "creationData.createOption"
            )
        disk = Resource(
            call.resource_id, parts.DISKS, location, call.at, call.at, tags=dict(body.get("tags") or {})
        )
        disk.extra["sku"] = dict(body.get("sku") or {"name": "Standard_LRS", "tier": "Standard"})
        disk.properties = {
            "diskSizeGB": 32,
            **asked,
            "diskState": "Unattached",
            "timeCreated": iso(call.at),
            "uniqueId": str(uuid.uuid4()),
            "provisioningState": "Creating",
        }
        try:
            storage.bill_disk(self._world, disk, call.at)
        except NotSold as error:
            raise invalid_parameter(str(error), "sku.name") from error
        self._world.store.put(disk)
        return self._begun(call, disk, 202)

    def patch(self, call: Call) -> Reply:
        check(call.document(), _UPDATE, "DiskUpdate")
        return self._update(call, self._existing(call))

    def delete(self, call: Call) -> Reply:
        disk = self._world.store.get(call.resource_id)
        if disk is None:
            return Reply(204)
        if owner := disk.extra.get("managedBy"):
            raise ArmError(
                409, "OperationNotAllowed", f"Disk {disk.name} is attached to VM {owner}.", target="disk"
            )
        operation = self._world.operations.begin_for(call, disk, poll_after_s=_POLL_S)
        disk.properties["provisioningState"] = "Deleting"
        self._world.operations.then(operation, call.fault, _DELETE_S, "disk.deleted", disk=disk.id)
        return Reply(202, operation=operation)

    def _update(self, call: Call, disk: Resource) -> Reply:
        body = call.document()
        if self._world.operations.running(disk.id):
            raise conflict()
        if "tags" in body:
            check_tags(body["tags"])
            disk.tags = dict(body["tags"] or {})
            self._world.meter.retag(disk.id, disk.tags)
        disk.properties |= {**(body.get("properties") or {}), "provisioningState": "Updating"}
        self._world.store.touch(disk, call.at)
        return self._begun(call, disk, 200)

    def _begun(self, call: Call, disk: Resource, status: int) -> Reply:
        operation = self._world.operations.begin_for(call, disk, poll_after_s=_POLL_S)
        self._world.operations.then(operation, call.fault, _WRITE_S, "disk.written", disk=disk.id)
        return Reply(status, disk.envelope(), operation=operation)

    def _written(self, at: float, disk: str, operation: str) -> None:
        found = self._world.store.get(disk)
        if found and self._world.operations.is_running(operation):
            found.properties["provisioningState"] = "Succeeded"
            self._world.operations.succeed(operation, at)

    def _deleted(self, at: float, disk: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            parts.remove(self._world, disk, at)
            self._world.operations.succeed(operation, at)

    def _existing(self, call: Call) -> Resource:
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return found
