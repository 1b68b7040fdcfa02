"""How a virtual machine looks to who asks. Members and texts: Swagger and examples of virtualMachine.json 2024-07-01."""

from __future__ import annotations

from typing import Any

from localdev.azuresim.events import iso
from localdev.azuresim.store import Resource

_POWER_TEXT = {
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}
_PROVISIONING_TEXT = {
    "Creating": "Creating",
    "Updating": "Updating",
    "Deleting": "Deleting",
    "Succeeded": "Provisioning succeeded",
    "Failed": "Provisioning failed",
}


def machine(vm: Resource, *, instance_view: bool = False) -> dict[str, Any]:
    body = vm.envelope()
    if instance_view:
        body["properties"]["instanceView"] = instance(vm)
    return {**body, "etag": vm.etag}


def instance(vm: Resource) -> dict[str, Any]:
    view: dict[str, Any] = {"disks": _disks(vm), "statuses": _statuses(vm)}
    if vm.state["power"] in ("running", "stopping"):
        view |= {
            "computerName": vm.properties["osProfile"]["computerName"],
            "osName": "ubuntu",
            "osVersion": "22.04",
            "hyperVGeneration": "V2",
        }
    if vm.state["power"] == "running":
        view["vmAgent"] = _agent(vm)
    return view


def _statuses(vm: Resource) -> list[dict[str, Any]]:
    state, error = vm.provisioning_state, vm.state.get("error")
    code = f"ProvisioningState/{state.lower()}"
    provisioning = {
        "code": f"{code}/{error['code']}" if state == "Failed" and error else code,
        "level": "Error" if state == "Failed" else "Info",
        "displayStatus": _PROVISIONING_TEXT[state],
        "time": iso(vm.state.get("provisioned_at", vm.created)),
    }
    if state == "Failed" and error:
        provisioning["message"] = error["message"]
    power = vm.state["power"]
    if power not in _POWER_TEXT:
        return [provisioning]
    return [
        provisioning,
        {"code": f"PowerState/{power}", "level": "Info", "displayStatus": _POWER_TEXT[power]},
    ]


def _agent(vm: Resource) -> dict[str, Any]:
    if not vm.state["agent"]:
        status = {
            "code": "ProvisioningState/Unavailable",
            "level": "Warning",
            "displayStatus": "Not Ready",
            "message": "VM status blob is found but not yet populated.",
        }
        return {"vmAgentVersion": "Unknown", "statuses": [{**status, "time": iso(vm.state["power_at"])}]}
    status = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Ready",
        "message": "Guest Agent is running",
    }
    return {
        "vmAgentVersion": "2.13.1.1",
        "statuses": [{**status, "time": iso(vm.state["agent_at"])}],
        "extensionHandlers": [],
    }


def _disks(vm: Resource) -> list[dict[str, Any]]:
    storage = vm.properties["storageProfile"]
    status = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "time": iso(vm.created),
    }
    return [
        {"name": disk["name"], "statuses": [status]} for disk in (storage["osDisk"], *storage["dataDisks"])
    ]
