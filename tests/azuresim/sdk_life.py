"""A machine's life through azure-mgmt-compute, as a program: its environment points it at the simulator.

Says what it saw in the end, as JSON. Run by test_honesty.py; anybody's own program would look like this.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient

GROUP = os.environ["MUSTER_RESOURCE_GROUP"]
SUBNET = dict(each.split("=", 1) for each in os.environ["MUSTER_SUBNET_ID"].split(","))["westeurope"]


def machine(size: str = "Standard_D4s_v5") -> dict[str, Any]:
    address = {"name": "sdk-ip", "properties": {"deleteOption": "Delete"}}
    ip = {"name": "ip", "properties": {"subnet": {"id": SUBNET}, "publicIPAddressConfiguration": address}}
    nic = {"name": "sdk-nic", "properties": {"deleteOption": "Delete", "ipConfigurations": [ip]}}
    key = {"path": "/home/muster/.ssh/authorized_keys", "keyData": os.environ["MUSTER_SSH_PUBLIC_KEY"]}
    image = {"publisher": "microsoft-dsvm", "offer": "ubuntu-2204", "sku": "2204-gen2", "version": "latest"}
    return {
        "location": "westeurope",
        "tags": {"muster-lease": "l1"},
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {os.environ["MUSTER_VM_IDENTITY_ID"]: {}},
        },
        "properties": {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": image,
                "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"},
                "dataDisks": [
                    {"lun": 0, "createOption": "Empty", "diskSizeGB": 64, "deleteOption": "Delete"}
                ],
            },
            "osProfile": {
                "computerName": "sdk",
                "adminUsername": "muster",
                "linuxConfiguration": {"ssh": {"publicKeys": [key]}},
            },
            "networkProfile": {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": [nic]},
        },
    }


def code_of(call: Any) -> str:
    try:
        call()
    except HttpResponseError as error:
        return str(error.error.code if error.error else error)
    return "accepted"


def main(api_version: str) -> None:
    credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
    compute = ComputeManagementClient(credential, os.environ["MUSTER_SUBSCRIPTION_ID"])
    version = {"api_version": api_version} if api_version else {}
    vms, runs = compute.virtual_machines, compute.virtual_machine_run_commands
    seen: dict[str, Any] = {}

    seen["sizes"] = len(list(compute.resource_skus.list(filter="location eq 'westeurope'")))
    seen["quotas"] = len(list(compute.usage.list("westeurope", **version)))
    seen["created"] = (
        vms.begin_create_or_update(GROUP, "sdk", machine(), **version).result().provisioning_state
    )
    got = vms.get(GROUP, "sdk", expand="instanceView", **version)
    seen["power"] = [status.code for status in got.instance_view.statuses]
    got.tags = {**got.tags, "changed": "yes"}
    seen["tags"] = vms.begin_create_or_update(GROUP, "sdk", got, **version).result().tags
    seen["listed"] = [vm.name for vm in vms.list(GROUP, **version)]
    seen["disks"] = len(list(compute.disks.list_by_resource_group(GROUP)))

    script = {
        "location": "westeurope",
        "properties": {
            "source": {"script": 'echo "hello $WHOM"'},
            "parameters": [{"name": "WHOM", "value": "world"}],
            "timeoutInSeconds": 600,
        },
    }
    runs.begin_create_or_update(GROUP, "sdk", "r1", script, **version).result()
    view = runs.get_by_virtual_machine(GROUP, "sdk", "r1", expand="instanceView", **version).instance_view
    seen["script"] = [view.execution_state, view.exit_code, view.output]
    runs.begin_delete(GROUP, "sdk", "r1", **version).result()

    for verb in ("power_off", "start", "restart", "deallocate"):
        getattr(vms, f"begin_{verb}")(GROUP, "sdk", **version).result()
    view = vms.instance_view(GROUP, "sdk", **version)
    seen["at rest"] = [status.code for status in view.statuses]
    vms.begin_delete(GROUP, "sdk", **version).result()
    vms.begin_delete(GROUP, "sdk", **version).result()
    try:
        vms.get(GROUP, "sdk", **version)
    except ResourceNotFoundError as error:
        seen["gone"] = error.error.code if error.error else ""
    seen["left"] = len(list(compute.disks.list_by_resource_group(GROUP)))
    seen["refused"] = [
        code_of(lambda: vms.begin_create_or_update(GROUP, "no", machine("Standard_Z9"), **version)),
        code_of(
            lambda: vms.begin_create_or_update(GROUP, "no", machine("Standard_NC24ads_A100_v4"), **version)
        ),
    ]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
