"""Requests about virtual machines: what is asked of them, refused to them, and begun for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from localdev.azuresim import paging, preconditions
from localdev.azuresim.compute import identity, parts, quota, spec, storage, views
from localdev.azuresim.compute.lifecycle import VIRTUAL_MACHINES, Lifecycle
from localdev.azuresim.errors import ArmError, conflict, invalid_parameter, not_found, not_simulated
from localdev.azuresim.events import iso
from localdev.azuresim.faults import Fault
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import check
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = ("2024-03-01", "2024-07-01", "2024-11-01", "2025-04-01", "2025-11-01", "2026-04-01")
COLLECTION = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines"
)
_SUBSCRIPTION = "/subscriptions/{subscription}/providers/Microsoft.Compute"
_POLL_S = 10.0
_PAGE = 100
_STUCK_DELETE_S = 600.0  # a delete asked for again joins the one under way, unless that one is stuck

Begin = Callable[[Resource, Operation, Fault | None], None]


class VirtualMachines:
    def __init__(self, world: World) -> None:
        self._world = world
        self._life = Lifecycle(world)

    def routes(self) -> list[Route]:
        one, type_ = f"{COLLECTION}/{{vm}}", VIRTUAL_MACHINES
        powers: dict[str, Begin] = {
            "start": self._life.begin_start,
            "restart": self._life.begin_restart,
            "powerOff": self._life.begin_power_off,
            "deallocate": self._life.begin_deallocate,
        }
        return [
            Route("GET", COLLECTION, f"{type_}/read", self.list, VERSIONS),
            Route("GET", f"{_SUBSCRIPTION}/virtualMachines", f"{type_}/read", self.list, VERSIONS),
            Route("GET", one, f"{type_}/read", self.get, VERSIONS),
            Route("PUT", one, f"{type_}/write", self.put, VERSIONS),
            Route("PATCH", one, f"{type_}/write", self.patch, VERSIONS),
            Route("DELETE", one, f"{type_}/delete", self.delete, VERSIONS),
            Route(
                "GET",
                f"{one}/instanceView",
                f"{type_}/instanceView/read",
                self.view,
                VERSIONS,
                is_action=True,
            ),
            Route(
                "POST",
                f"{one}/simulateEviction",
                f"{type_}/simulateEviction/action",
                self.simulate_eviction,
                VERSIONS,
                is_action=True,
            ),
            *(
                Route(
                    "POST",
                    f"{one}/{verb}",
                    f"{type_}/{verb}/action",
                    self._power(begin),
                    VERSIONS,
                    is_action=True,
                )
                for verb, begin in powers.items()
            ),
        ]

    def get(self, call: Call) -> Reply:
        expand = call.query.get("$expand", "")
        if expand.casefold() not in ("", "instanceview", "userdata"):
            raise invalid_parameter(f"The value '{expand}' of parameter '$expand' is invalid.", "$expand")
        vm = self._existing(call)
        body = views.machine(vm, instance_view=expand.casefold() == "instanceview")
        return Reply(200, body, {"ETag": vm.etag})

    def view(self, call: Call) -> Reply:
        return Reply(200, views.instance(self._existing(call)))

    def list(self, call: Call) -> Reply:
        found = self._world.store.of_type(VIRTUAL_MACHINES, call.path.partition("/providers/")[0])
        return Reply(200, paging.page(call, [views.machine(vm) for vm in found], _PAGE))

    def put(self, call: Call) -> Reply:
        found = self._world.store.get(call.resource_id)
        preconditions.check(call, found)
        if found is None:
            return self._create(call)
        check(call.document(), spec.VIRTUAL_MACHINE, "VirtualMachine")
        return self._update(call, found)

    def patch(self, call: Call) -> Reply:
        found = self._existing(call)
        preconditions.check(call, found)
        check(call.document(), spec.UPDATE, "VirtualMachineUpdate")
        return self._update(call, found)

    def delete(self, call: Call) -> Reply:
        vm = self._world.store.get(call.resource_id)
        if vm is None:
            return Reply(204)
        force = call.query.get("forcedeletion", "").casefold() == "true"
        running = self._world.operations.running(vm.id)
        joins = vm.provisioning_state == "Deleting" and running and not force
        if joins and call.at - running[-1].started < _STUCK_DELETE_S:
            return Reply(202, operation=running[-1])
        self._world.operations.preempt(vm.id, call.at)
        operation = self._operation(call, vm)
        self._life.begin_delete(vm, operation, call.fault, force=force)
        return Reply(202, operation=operation)

    def simulate_eviction(self, call: Call) -> Reply:
        vm = self._existing(call)
        if vm.properties.get("priority") != "Spot":
            raise ArmError(
                409, "OperationNotAllowed", "Eviction can be simulated on Azure Spot Virtual Machines only."
            )
        self._life.announce_eviction(vm, call.at)
        return Reply(204)

    def _create(self, call: Call) -> Reply:
        world, body = self._world, call.document()
        location, size = spec.check_new(call.params["vm"], body, call.api_version)
        asked = body["properties"]
        identities = identity.profile(world, call.resource_id, body.get("identity"))
        parts.check_network(world, call.resource_id, location, asked["networkProfile"])
        quota.check(world, location, size, spot=asked.get("priority", "Regular") != "Regular")
        vm = Resource(
            call.resource_id, VIRTUAL_MACHINES, location, call.at, call.at, tags=dict(body.get("tags") or {})
        )
        vm.extra = {name: body[name] for name in ("zones", "plan") if body.get(name)}
        if identities:
            vm.extra["identity"] = identities
        vm.properties = self._properties(vm, asked, size.name, call.at)
        world.store.put(vm)
        operation = self._operation(call, vm)
        self._life.begin_create(vm, operation, call.fault)
        return Reply(201, views.machine(vm), {"ETag": vm.etag}, operation=operation)

    def _properties(self, vm: Resource, asked: dict[str, Any], size: str, at: float) -> dict[str, Any]:
        kept = {
            name: value
            for name, value in asked.items()
            if name not in ("storageProfile", "networkProfile", "userData", "instanceView")
        }
        login = {
            name: value
            for name, value in asked["osProfile"].items()
            if name not in ("adminPassword", "customData")
        }
        # Disks first: they are what can still be refused.
        disks = storage.storage_profile(self._world, vm, asked["storageProfile"], at)
        return {
            **kept,
            "hardwareProfile": {"vmSize": size},
            "osProfile": {"secrets": [], "allowExtensionOperations": True, **login},
            "storageProfile": disks,
            "networkProfile": parts.network_profile(self._world, vm, asked["networkProfile"], at),
            "vmId": str(uuid.uuid4()),
            "timeCreated": iso(at),
            "provisioningState": "Creating",
        }

    def _update(self, call: Call, vm: Resource) -> Reply:
        """Tags change; what a machine is made of does not."""
        body = call.document()
        self._refuse_if_busy(call, vm)
        self._refuse_changes(vm, body.get("properties") or {})
        if "tags" in body:
            spec.check_tags(body["tags"])
            vm.tags = dict(body["tags"] or {})
            self._world.meter.retag(vm.id, vm.tags)
        if "identity" in body:
            identities = identity.profile(self._world, vm.id, body["identity"])
            vm.extra = {**vm.extra, "identity": identities} if identities else vm.extra
        self._world.store.touch(vm, call.at)
        operation = self._operation(call, vm)
        if vm.provisioning_state == "Failed" and vm.state["power"] == "creating":
            vm.properties["provisioningState"] = (
                "Creating"  # the carcass of a failed create: it is tried again
            )
            self._life.begin_create(vm, operation, call.fault)
        else:
            self._life.begin_update(vm, operation, call.fault)
        return Reply(200, views.machine(vm), {"ETag": vm.etag}, operation=operation)

    def _refuse_changes(self, vm: Resource, asked: dict[str, Any]) -> None:
        for path in _differences(asked, vm.properties):
            if path.startswith(_CHANGES_NOT_SIMULATED):
                raise not_simulated(f"changing {path} of a machine", path)
            name = path.removeprefix("osProfile.")
            message = f"Changing property '{name}' is not allowed."
            raise ArmError(409, "PropertyChangeNotAllowed", message, target=name)

    def _power(self, begin: Begin) -> Callable[[Call], Reply]:
        def handler(call: Call) -> Reply:
            vm = self._existing(call)
            self._refuse_if_busy(call, vm, preempting=call.action.endswith("/deallocate/action"))
            if (
                call.action.endswith(("/restart/action", "/powerOff/action"))
                and vm.state["power"] == "deallocated"
            ):
                raise ArmError(
                    409, "OperationNotAllowed", "The operation requires the VM to be running (or set to run)."
                )
            operation = self._operation(call, vm)
            begin(vm, operation, call.fault)
            return Reply(202, operation=operation)

        return handler

    def _refuse_if_busy(self, call: Call, vm: Resource, *, preempting: bool = False) -> None:
        """Raises 409 while another operation has the machine; `preempting` operations end that one instead."""
        if vm.provisioning_state == "Deleting":
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation '{call.action}' is not allowed on VM '{vm.name}' since the VM is marked for deletion. You "
                "can only retry the Delete operation (or wait for an ongoing one to complete).",
            )
        if not self._world.operations.running(vm.id):
            return
        if not preempting:
            raise conflict()
        self._world.operations.preempt(vm.id, call.at)

    def _operation(self, call: Call, vm: Resource) -> Operation:
        return self._world.operations.begin_for(call, vm, poll_after_s=_POLL_S)

    def _existing(self, call: Call) -> Resource:
        vm = self._world.store.get(call.resource_id)
        if vm is None:
            raise not_found(call.resource_id)
        return vm


def _differences(asked: Any, has: Any, path: str = "") -> list[str]:
    """Paths where `asked` says something else than the machine has; what it leaves out it does not change."""
    if isinstance(asked, dict) and isinstance(has, dict):
        return [
            found
            for name, value in asked.items()
            if name not in _NOT_COMPARED
            for found in _differences(value, has.get(name), f"{path}.{name}" if path else name)
        ]
    if isinstance(asked, list) and isinstance(has, list) and len(asked) == len(has):
        return [
            found for one, other in zip(asked, has, strict=True) for found in _differences(one, other, path)
        ]
    return [] if asked in (has, None) else [path]


_CHANGES_NOT_SIMULATED = (
    "hardwareProfile",
    "networkProfile",
    "storageProfile.dataDisks",
    "diagnosticsProfile",
)
_NOT_COMPARED = (
    *("provisioningState", "instanceView", "vmId", "timeCreated", "adminPassword", "customData", "userData"),
    *("networkApiVersion", "networkInterfaceConfigurations", "exactVersion"),
)
