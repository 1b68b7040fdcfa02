"""What we write about a virtual machine: pure functions from a lease to the bodies of its requests.

Field names and enums: Microsoft.Compute 2024-07-01 (ComputeRP/virtualMachine.json, runCommand.json) and
Microsoft.DevTestLab 2018-09-15 (schedules).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.azure import vm_estate
from shared.config import Settings
from shared.domain.lease import Lease
from shared.domain.offers import Priority

ADMIN = "muster"


def vm_body(
    lease: Lease, settings: Settings, *, image: Mapping[str, str], disk_gib: int, disk_type: str
) -> dict[str, Any]:
    """The whole machine as one PUT.

    Its NIC is described inside it, so at no moment is there a NIC that no machine owns; `deleteOption: Delete` makes
    NIC and disk go with it. No public IP: it reaches Blob Storage through its subnet's NAT, and nobody reaches it.
    The OS disk takes over the machine's tags when it is made (hashicorp/terraform-provider-azurerm#8162); an inline NIC
    has none in this API version, so it is known by its name.
    """
    return {
        "location": lease.offer.region,
        "tags": lease.tags(settings.app),
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {settings.vm_identity_id: {}}},
        "properties": {
            "hardwareProfile": {"vmSize": lease.offer.size},
            "storageProfile": {
                "imageReference": dict(image),
                "osDisk": {
                    "name": vm_estate.os_disk_name(lease),
                    "createOption": "FromImage",
                    "caching": "ReadWrite",
                    "diskSizeGB": disk_gib,
                    "managedDisk": {"storageAccountType": disk_type},
                    "deleteOption": "Delete",
                },
            },
            "osProfile": {
                "computerName": vm_estate.vm_name(lease),
                "adminUsername": ADMIN,
                "linuxConfiguration": {
                    "disablePasswordAuthentication": True,
                    "provisionVMAgent": True,
                    "ssh": {
                        "publicKeys": [
                            {
                                "path": f"/home/{ADMIN}/.ssh/authorized_keys",
                                "keyData": settings.ssh_public_key,
                            }
                        ]
                    },
                },
            },
            "networkProfile": {
                "networkApiVersion": "2020-11-01",
                "networkInterfaceConfigurations": [
                    _nic(vm_estate.nic_name(lease), settings.subnet_id(lease.offer.region))
                ],
            },
            **_spot(lease),
        },
    }


def _nic(name: str, subnet_id: str) -> dict[str, Any]:
    ip = {"name": "ipconfig", "properties": {"primary": True, "subnet": {"id": subnet_id}}}
    return {
        "name": name,
        "properties": {"primary": True, "deleteOption": "Delete", "ipConfigurations": [ip]},
    }


def _spot(lease: Lease) -> dict[str, Any]:
    """Evicted means deleted: a deallocated Spot machine would go on costing its disk, and hold quota."""
    if lease.offer.priority is not Priority.SPOT:
        return {}
    # -1: never evicted for its price, which cannot rise above pay-as-you-go.
    return {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}


def shutdown_time(deadline: datetime) -> str:
    """shutdown_time(04:59:30 UTC) -> "0500": a whole minute, never before the deadline."""
    whole = deadline.astimezone(UTC) + timedelta(seconds=59, microseconds=999_999)
    return whole.strftime("%H%M")


def schedule_body(lease: Lease, settings: Settings, vm_id: str) -> dict[str, Any]:
    """Azure's own brake: deallocate this machine at the lease's deadline, whether or not we still live."""
    return {
        "location": lease.offer.region,
        "tags": lease.tags(settings.app),
        "properties": {
            "status": "Enabled",
            "taskType": "ComputeVmShutdownTask",
            "dailyRecurrence": {"time": shutdown_time(lease.deadline)},
            "timeZoneId": "UTC",
            "notificationSettings": {"status": "Disabled"},
            "targetResourceId": vm_id,
        },
    }


def is_braked(schedule: Mapping[str, Any], lease: Lease) -> bool:
    """Whether a schedule as read back will stop this lease's machine at its deadline."""
    said = schedule.get("properties", {})
    target = str(said.get("targetResourceId", "")).rsplit("/", 1)[-1]
    return bool(
        said.get("status") == "Enabled"
        and said.get("taskType") == "ComputeVmShutdownTask"
        and said.get("dailyRecurrence", {}).get("time") == shutdown_time(lease.deadline)
        and said.get("timeZoneId") == "UTC"
        and target.lower() == vm_estate.vm_name(lease)
    )


def run_command_body(
    lease: Lease, settings: Settings, *, script: str, parameter: str, value: str, timeout_s: int
) -> dict[str, Any]:
    """A managed run command that starts `script` and does not hold the request until it ends.

    Everything that differs from job to job is in the one named parameter, which becomes an environment variable of the
    script: nothing is ever pasted into the text. Neither is secret, since anyone who may read the machine reads both.
    """
    return {
        "location": lease.offer.region,
        "tags": lease.tags(settings.app),
        "properties": {
            "source": {"script": script},
            "parameters": [{"name": parameter, "value": value}],
            "asyncExecution": True,
            "timeoutInSeconds": timeout_s,
            "treatFailureAsDeploymentFailure": False,
        },
    }
