"""The life of a virtual machine on the virtual clock: what follows on a request, how long after it, and what it costs.

Durations are of the order of Azure's for a small Linux machine. Billing follows learn.microsoft.com
virtual-machines/states-billing: from "starting" until the machine is deallocated or gone; a machine that was only
stopped costs what a running one costs. (That page stops the bill when deallocating begins; here it stops when it is
done, which is the dear side.)
"""

from __future__ import annotations

import uuid
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.compute import parts
from localdev.azuresim.faults import Fault
from localdev.azuresim.operations import Operation
from localdev.azuresim.scheduler import Step
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VIRTUAL_MACHINES = "Microsoft.Compute/virtualMachines"
ALLOCATED_S, RUNNING_S, PROVISIONED_S, AGENT_READY_S = 8.0, 22.0, 45.0, 57.0
START_ALLOCATED_S, START_RUNNING_S, STARTED_S, START_AGENT_READY_S = 5.0, 15.0, 25.0, 35.0
STOPPED_S, DEALLOCATED_S, DELETED_S, FORCE_DELETED_S, RESTARTED_S, UPDATED_S = (
    15.0,
    30.0,
    30.0,
    8.0,
    20.0,
    3.0,
)
OS_TIMEOUT_S = 1200.0
EVICTION_NOTICE_S = 30.0  # learn: virtual-machines/linux/scheduled-events, Preempt

RUNNING_STATES = ("starting", "running", "stopping", "stopped", "deallocating")


class Lifecycle:
    """Begins what the routes ask for; its steps, run by the scheduler, finish it."""

    def __init__(self, world: World) -> None:
        self._world = world
        steps: dict[str, Step] = {
            "vm.allocated": self._allocated,
            "vm.running": self._running,
            "vm.provisioned": self._provisioned,
            "vm.agent": self._agent_ready,
            "vm.stopped": self._stopped,
            "vm.deleted": self._deleted,
            "vm.evict": self._evict,
            "vm.evicted": self._evicted,
            "vm.vanish": self._vanish,
            "vm.preempt": self._preempt,
            "vm.auto_shutdown": self._auto_shutdown,
            "vm.erased": self._erased,
        }
        for name, step in steps.items():
            world.scheduler.register(name, step)
        world.operations.when_failed = self._failed

    def begin_create(self, vm: Resource, operation: Operation, fault: Fault | None) -> None:
        vm.state |= {"power": "creating", "agent": False, "boots": 1}
        self._note(vm, operation.started)
        is_late_failure = bool(
            fault and fault.kind == "async_failure" and fault.code.startswith("OSProvisioning")
        )
        if fault and fault.kind == "async_failure":
            after_s = OS_TIMEOUT_S if is_late_failure else ALLOCATED_S
            self._world.operations.then(operation, fault, after_s, "vm.provisioned", vm=vm.id)
            if not is_late_failure:
                return
        late_s = fault.seconds if fault and fault.kind == "delay" else 0.0
        start = operation.started + late_s
        self._at(vm, start + ALLOCATED_S, "vm.allocated")
        if fault and fault.kind == "stuck":
            return
        self._at(vm, start + RUNNING_S, "vm.running")
        self._plan_mishap(vm, start + RUNNING_S, fault)
        if is_late_failure or (fault and fault.kind == "boot_never_ready"):
            return
        self._world.operations.then(operation, fault, PROVISIONED_S, "vm.provisioned", vm=vm.id)
        self._at(vm, start + AGENT_READY_S, "vm.agent")

    def begin_update(self, vm: Resource, operation: Operation, fault: Fault | None) -> None:
        vm.properties["provisioningState"] = "Updating"
        self._world.operations.then(operation, fault, UPDATED_S, "vm.provisioned", vm=vm.id)

    def begin_start(self, vm: Resource, operation: Operation, fault: Fault | None) -> None:
        if vm.state["power"] == "running":
            self._world.operations.succeed(operation.id, operation.started)
            return
        vm.properties["provisioningState"] = "Updating"
        vm.state["boots"] += 1
        if not fault or fault.kind not in ("async_failure", "stuck"):
            self._at(vm, operation.started + START_ALLOCATED_S, "vm.allocated")
            self._at(vm, operation.started + START_RUNNING_S, "vm.running")
            self._at(vm, operation.started + START_AGENT_READY_S, "vm.agent")
        self._world.operations.then(operation, fault, STARTED_S, "vm.provisioned", vm=vm.id)

    def begin_restart(self, vm: Resource, operation: Operation, fault: Fault | None) -> None:
        vm.properties["provisioningState"] = "Updating"
        self._halt(vm, "stopping", operation.started)
        vm.state["boots"] += 1
        self._at(vm, operation.started + START_RUNNING_S, "vm.running")
        self._at(vm, operation.started + START_AGENT_READY_S, "vm.agent")
        self._world.operations.then(operation, fault, RESTARTED_S, "vm.provisioned", vm=vm.id)

    def begin_power_off(self, vm: Resource, operation: Operation, fault: Fault | None) -> None:
        vm.properties["provisioningState"] = "Updating"
        self._halt(vm, "stopping", operation.started)
        self._world.operations.then(operation, fault, STOPPED_S, "vm.stopped", vm=vm.id, power="stopped")

    def begin_deallocate(self, vm: Resource, operation: Operation, fault: Fault | None) -> None:
        vm.properties["provisioningState"] = "Updating"
        self._halt(vm, "deallocating", operation.started)
        self._world.operations.then(
            operation, fault, DEALLOCATED_S, "vm.stopped", vm=vm.id, power="deallocated"
        )

    def begin_delete(
        self, vm: Resource, operation: Operation, fault: Fault | None, *, force: bool = False
    ) -> None:
        vm.properties["provisioningState"] = "Deleting"
        self._halt(
            vm, "stopping" if vm.state["power"] in RUNNING_STATES else vm.state["power"], operation.started
        )
        spare = fault.leave if fault and fault.kind == "leave_behind" else []
        after_s = FORCE_DELETED_S if force else DELETED_S
        self._world.operations.then(operation, fault, after_s, "vm.deleted", vm=vm.id, spare=spare)

    def announce_eviction(self, vm: Resource, at: float) -> None:
        """Half a minute's notice to the machine's metadata service, then the eviction policy."""
        if vm.state["power"] in ("deallocated", "deallocating") or vm.state.get("preempt"):
            return
        vm.state["preempt"] = {"id": str(uuid.uuid4()).upper(), "not_before": at + EVICTION_NOTICE_S}
        self._world.events.add("eviction_announced", at, resource_id=vm.id)
        self._at(vm, at + EVICTION_NOTICE_S, "vm.evicted")

    def _allocated(self, at: float, vm: str, vm_id: str, boots: int) -> None:
        if found := self._same(vm, vm_id, boots):
            self._power(found, "starting", at)
            self._bill(found, at)

    def _running(self, at: float, vm: str, vm_id: str, boots: int) -> None:
        if found := self._same(vm, vm_id, boots):
            self._world.machines.boot(vm_id)
            self._power(found, "running", at)

    def _provisioned(self, at: float, vm: str, operation: str) -> None:
        found = self._world.store.get(vm)
        if found is None or not self._world.operations.is_running(operation):
            return
        found.properties["provisioningState"] = "Succeeded"
        found.state.pop("error", None)
        found.state["provisioned_at"] = at
        self._note(found, at)
        self._world.operations.succeed(operation, at)

    def _agent_ready(self, at: float, vm: str, vm_id: str, boots: int) -> None:
        if found := self._same(vm, vm_id, boots):
            found.state["agent"] = True
            found.state["agent_at"] = at
            self._note(found, at)

    def _stopped(self, at: float, vm: str, power: str, operation: str) -> None:
        found = self._world.store.get(vm)
        if found is None or not self._world.operations.is_running(operation):
            return
        if power == "deallocated":
            self._world.meter.stop(found.id, at)
        found.properties["provisioningState"] = "Succeeded"
        self._power(found, power, at)
        self._world.operations.succeed(operation, at)

    def _deleted(self, at: float, vm: str, operation: str, spare: list[str]) -> None:
        found = self._world.store.get(vm)
        if found is None or not self._world.operations.is_running(operation):
            return
        self._erase(found, at, spare)
        self._world.operations.succeed(operation, at)

    def _evict(self, at: float, vm: str, vm_id: str, boots: int) -> None:
        if found := self._same(vm, vm_id, boots):
            self.announce_eviction(found, at)

    def _evicted(self, at: float, vm: str, vm_id: str, boots: int) -> None:
        found = self._same(vm, vm_id, boots)
        if found is None:
            return
        self._world.operations.preempt(vm, at)
        self._world.events.add("evicted", at, resource_id=vm)
        if found.properties.get("evictionPolicy") == "Delete":
            self._erase(found, at, [])
            return
        self._halt(found, "deallocating", at)
        self._world.meter.stop(found.id, at)
        self._power(found, "deallocated", at)

    def _vanish(self, at: float, vm: str, vm_id: str, boots: int) -> None:
        if found := self._same(vm, vm_id, boots):
            self._world.operations.preempt(vm, at)
            self._world.events.add("vanished", at, resource_id=vm)
            self._erase(found, at, [])

    def _preempt(self, at: float, vm: str) -> None:
        if found := self._world.store.get(vm):
            self.announce_eviction(found, at)

    def _erased(self, at: float, vm: str) -> None:
        """Its resource group is gone."""
        if found := self._world.store.get(vm):
            self._world.operations.preempt(vm, at)
            self._erase(found, at, [])

    def _auto_shutdown(self, at: float, vm: str, action: str) -> None:
        """Deallocate a machine at nobody's request: its schedule has come."""
        found = self._world.store.get(vm)
        if found is None or found.state["power"] not in ("starting", "running", "stopped"):
            return
        self._world.operations.preempt(found.id, at)
        operation = self._world.operations.begin(
            action, found.id, location=found.location, api_version="2018-09-15", at=at, poll_after_s=10
        )
        self.begin_deallocate(found, operation, None)

    def _failed(self, operation: Operation, at: float) -> None:
        """An operation ended badly, after it had been accepted: the resource stays, as Failed."""
        found = self._world.store.get(operation.resource_id)
        if found is None:
            return
        found.properties["provisioningState"] = "Failed"
        found.state["error"] = operation.error
        if found.type != VIRTUAL_MACHINES:
            return
        if found.state["power"] in ("stopping", "deallocating"):
            found.state["power"] = "stopped"  # its processes are gone, its hardware is still held
        self._note(found, at)

    def _erase(self, vm: Resource, at: float, spare: list[str]) -> None:
        self._world.machines.destroy(vm.properties["vmId"])
        for child in self._world.store.of_type(f"{VIRTUAL_MACHINES}/runCommands", vm.id):
            self._world.operations.preempt(child.id, at)
            parts.remove(self._world, child.id, at)
        self._world.store.remove(f"{vm.id}/runCommand/action")
        parts.remove(self._world, vm.id, at)
        parts.release(self._world, vm, at, spare)

    def _halt(self, vm: Resource, power: str, at: float) -> None:
        """Processes end, files stay; nothing that was planned for the running machine happens any more."""
        self._world.machines.stop(vm.properties["vmId"])
        vm.state["boots"] += 1
        vm.state["agent"] = False
        vm.state.pop("preempt", None)
        self._power(vm, power, at)

    def _bill(self, vm: Resource, at: float) -> None:
        size = vm.properties["hardwareProfile"]["vmSize"]
        priority: catalog.Priority = (
            "Spot" if vm.properties.get("priority", "Regular") != "Regular" else "Regular"
        )
        price = catalog.price_usd_per_hour(size, vm.location, priority)
        self._world.meter.start(vm.id, f"VM {size} {priority}", price, at, vm.tags)

    def _plan_mishap(self, vm: Resource, running_at: float, fault: Fault | None) -> None:
        if fault and fault.kind in ("evict", "vanish"):
            self._at(vm, running_at + fault.after_s, f"vm.{fault.kind}")

    def _at(self, vm: Resource, moment: float, step: str) -> None:
        self._world.scheduler.at(moment, step, vm=vm.id, vm_id=vm.properties["vmId"], boots=vm.state["boots"])

    def _same(self, vm: str, vm_id: str, boots: int) -> Resource | None:
        """The machine a step was planned for, if it is still that one and was not stopped meanwhile."""
        found = self._world.store.get(vm)
        if found is None or found.properties["vmId"] != vm_id or found.state["boots"] != boots:
            return None
        return found

    def _power(self, vm: Resource, power: str, at: float) -> None:
        vm.state["power"], vm.state["power_at"] = power, at
        self._note(vm, at)

    def _note(self, vm: Resource, at: float) -> None:
        state: dict[str, Any] = {
            "power": vm.state["power"],
            "provisioning": vm.provisioning_state,
            "agent": vm.state["agent"],
        }
        self._world.events.add("vm", at, resource_id=vm.id, tags=dict(vm.tags), **state)
