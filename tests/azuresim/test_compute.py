"""The life and the bill of a virtual machine."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from tests.azuresim.azure_client import TAGS, Azure, code, nic_id, subnet, vm_body, vm_id

DISK, NIC, PIP, VM = (
    "Microsoft.Compute/disks",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Compute/virtualMachines",
)


def seconds_billed(azure: Azure, meter: str) -> int:
    return sum(line["seconds"] for line in azure.control.bill()["lines"] if line["meter"].startswith(meter))


def test_a_machine_comes_up_step_by_step(azure: Azure) -> None:
    answer = azure.send("PUT", vm_id("a"), vm_body(azure.env))
    assert answer.status_code == 201
    assert answer.json()["properties"]["provisioningState"] == "Creating"
    seen = []
    for _ in range(7):
        vm = azure.vm("a")["properties"]
        agent = vm["instanceView"].get("vmAgent", {}).get("statuses", [{}])[0].get("displayStatus", "")
        seen.append((azure.power("a").partition("/")[2], vm["provisioningState"], agent))
        azure.control.advance(10)
    assert seen == [
        ("", "Creating", ""),
        ("starting", "Creating", ""),
        ("starting", "Creating", ""),
        ("running", "Creating", "Not Ready"),
        ("running", "Creating", "Not Ready"),
        ("running", "Succeeded", "Not Ready"),
        ("running", "Succeeded", "Ready"),
    ]


def test_a_running_machine_is_billed_to_the_second(azure: Azure) -> None:
    azure.create_vm("a", size="Standard_D4s_v5")  # billed from "starting", 8 s after the request
    azure.control.advance(3600 - 52)
    (line,) = [line for line in azure.control.bill()["lines"] if line["meter"].startswith("VM")]
    assert (line["seconds"], Decimal(line["usd"]), line["tags"]) == (3600, Decimal("0.23"), TAGS)


def test_a_stopped_machine_still_costs_and_a_deallocated_one_does_not(azure: Azure) -> None:
    azure.create_vm()
    assert azure.post("a", "powerOff").status_code == 202
    azure.control.advance(30)
    assert azure.power("a") == "PowerState/stopped"
    before = seconds_billed(azure, "VM")
    azure.control.advance(100)
    assert seconds_billed(azure, "VM") == before + 100

    assert azure.post("a", "deallocate").status_code == 202
    azure.control.advance(30)
    assert azure.power("a") == "PowerState/deallocated"
    before, disk = seconds_billed(azure, "VM"), seconds_billed(azure, "Disk")
    azure.control.advance(100)
    assert seconds_billed(azure, "VM") == before
    assert seconds_billed(azure, "Disk") == disk + 100


def test_a_deallocated_machine_can_be_started_again(azure: Azure) -> None:
    azure.create_vm()
    azure.post("a", "deallocate")
    azure.control.advance(30)
    assert code(azure.post("a", "restart")) == (409, "OperationNotAllowed")
    assert azure.post("a", "start").status_code == 202
    azure.control.advance(40)
    assert azure.power("a") == "PowerState/running"
    assert azure.outcome("echo up")["output"] == "up\n"


def test_a_delete_takes_along_what_is_set_to_go(azure: Azure) -> None:
    azure.create_vm(public_ip=True)
    assert azure.existing(VM, DISK, NIC, PIP) == {"a", "a-os", "a-nic", "a-pip"}
    assert azure.send("DELETE", vm_id("a")).status_code == 202
    assert azure.vm("a")["properties"]["provisioningState"] == "Deleting"
    azure.control.advance(30)
    assert code(azure.send("GET", vm_id("a"))) == (404, "ResourceNotFound")
    assert azure.existing(VM, DISK, NIC, PIP) == set()
    assert all(line["ended"] for line in azure.control.bill()["lines"])
    assert azure.send("DELETE", vm_id("a")).status_code == 204


def test_a_delete_leaves_what_is_set_to_stay_and_that_is_billed_on(azure: Azure) -> None:
    azure.create_vm(public_ip=True, delete="Detach")
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert azure.existing(VM, DISK, NIC, PIP) == {"a-os", "a-nic", "a-pip"}
    disk = azure.get(f"{vm_id('x').rpartition('/virtualMachines')[0]}/disks/a-os")
    assert disk["properties"]["diskState"] == "Unattached"
    before = seconds_billed(azure, "Disk") + seconds_billed(azure, "Public IP")
    azure.control.advance(50)
    assert seconds_billed(azure, "Disk") + seconds_billed(azure, "Public IP") == before + 100


def test_the_implicit_disk_gets_the_machines_tags_and_the_inline_nic_does_not(azure: Azure) -> None:
    azure.create_vm()
    tags = {each["name"]: each.get("tags", {}) for each in azure.control.resources()}
    assert tags["a-os"] == TAGS
    assert tags["a-nic"] == {}


def test_an_existing_machine_is_not_touched_by_if_none_match(azure: Azure) -> None:
    azure.create_vm()
    body = vm_body(azure.env, tags={"other": "lease"})
    answer = azure.send("PUT", vm_id("a"), body, headers={"If-None-Match": "*"})
    assert code(answer) == (412, "PreconditionFailed")
    assert azure.vm("a")["tags"] == TAGS


def test_what_a_machine_is_made_of_cannot_be_changed(azure: Azure) -> None:
    azure.create_vm()
    body = vm_body(azure.env)
    body["properties"]["osProfile"]["adminUsername"] = "root2"
    body["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"] = []
    answer = azure.send("PUT", vm_id("a"), body)
    assert code(answer) == (409, "PropertyChangeNotAllowed")
    assert "adminUsername" in answer.json()["error"]["message"]


def test_putting_the_same_machine_again_changes_nothing(azure: Azure) -> None:
    azure.create_vm()
    before = azure.vm("a")
    assert azure.send("PUT", vm_id("a"), vm_body(azure.env)).status_code == 200
    azure.control.advance(5)
    after = azure.vm("a")
    assert after["properties"]["vmId"] == before["properties"]["vmId"]
    assert after["etag"] != before["etag"]


def test_new_tags_are_on_the_bill_from_then_on(azure: Azure) -> None:
    azure.create_vm()
    assert azure.send("PATCH", vm_id("a"), {"tags": {"muster-lease": "2"}}).status_code == 200
    lines = {line["meter"][:2]: line["tags"] for line in azure.control.bill()["lines"]}
    assert lines == {"VM": {"muster-lease": "2"}, "Di": TAGS}


def test_two_changes_at_once_are_a_conflict_but_a_delete_wins(azure: Azure) -> None:
    put = azure.send("PUT", vm_id("a"), vm_body(azure.env))
    assert code(azure.send("PATCH", vm_id("a"), {"tags": {}})) == (409, "Conflict")
    assert code(azure.post("a", "start")) == (409, "Conflict")
    assert azure.send("DELETE", vm_id("a")).status_code == 202
    operation = azure.get(put.headers["Azure-AsyncOperation"])
    assert (operation["status"], operation["error"]["code"]) == ("Canceled", "OperationPreempted")
    refused = azure.post("a", "deallocate")
    assert code(refused) == (409, "OperationNotAllowed")
    assert "marked for deletion" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("size", "priority", "text"),
    [
        ("Standard_NC24ads_A100_v4", "Regular", "StandardNCADSA100v4Family Cores quota"),
        ("Standard_D2s_v5", "Spot", "approved LowPriorityCores quota"),
        ("Standard_D2s_v5", "Regular", "approved Total Regional Cores quota"),
    ],
)
def test_quota_is_refused_with_limit_usage_and_need(
    azure: Azure, size: str, priority: str, text: str
) -> None:
    azure.control.set_quota("westeurope", "lowPriorityCores", 1)
    if "Total" in text:
        azure.control.set_quota("westeurope", "cores", 1)
    answer = azure.send("PUT", vm_id("a"), vm_body(azure.env, size=size, priority=priority))
    assert code(answer) == (409, "OperationNotAllowed")
    message = answer.json()["error"]["message"]
    assert text in message
    assert (
        "Current Limit: " in message and "Current Usage: 0" in message and "Additional Required: " in message
    )
    assert azure.existing(VM, DISK, NIC) == set()


def test_a_deallocated_machine_still_holds_its_cores(azure: Azure) -> None:
    azure.control.set_quota("westeurope", "standardDSv5Family", 3)
    azure.create_vm()
    azure.post("a", "deallocate")
    azure.control.advance(30)
    assert code(azure.send("PUT", vm_id("b"), vm_body(azure.env, "b"))) == (409, "OperationNotAllowed")
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert azure.send("PUT", vm_id("b"), vm_body(azure.env, "b")).status_code == 201


def test_usages_and_sizes_can_be_listed(azure: Azure) -> None:
    azure.create_vm(size="Standard_D4s_v5")
    base = f"/subscriptions/{azure.env['MUSTER_SUBSCRIPTION_ID']}/providers/Microsoft.Compute"
    usages = {
        each["name"]["value"]: each for each in azure.get(f"{base}/locations/westeurope/usages")["value"]
    }
    assert (usages["standardDSv5Family"]["currentValue"], usages["standardDSv5Family"]["limit"]) == (4, 64)
    skus = azure.get(f"{base}/skus?$filter=location eq 'westeurope'&api-version=2021-07-01")["value"]
    (found,) = [sku for sku in skus if sku["name"] == "Standard_D4s_v5"]
    assert {"name": "vCPUs", "value": "4"} in found["capabilities"]


REFUSALS: list[tuple[str, Any, tuple[int, str], str]] = [
    ("location", None, (400, "LocationRequired"), "location"),
    ("location", "mars", (400, "LocationNotAvailableForResourceType"), "mars"),
    ("colour", "red", (400, "BadRequest"), "colour"),
    ("properties.colour", "red", (400, "BadRequest"), "Path 'properties.colour'"),
    ("properties.hardwareProfile.vmSize", "Standard_Huge", (400, "InvalidParameter"), "Standard_Huge"),
    ("properties.hardwareProfile.vmSize", "Standard_NC80adis_H100_v5", (409, "OperationNotAllowed"), "H100"),
    ("properties.availabilitySet", {"id": "x"}, (400, "NotImplementedBySimulator"), "availabilitySet"),
    ("properties.storageProfile.imageReference.sku", "nope", (404, "PlatformImageNotFound"), "nope"),
    ("properties.osProfile.adminUsername", "", (400, "InvalidParameter"), "adminUsername"),
    ("properties.networkProfile.networkApiVersion", None, (400, "InvalidParameter"), "networkApiVersion"),
    ("properties.networkProfile.networkInterfaceConfigurations", [], (400, "InvalidParameter"), "network interface"),
    ("properties.evictionPolicy", "Delete", (400, "InvalidParameter"), "Spot"),
    ("identity.userAssignedIdentities", {"/nobody": {}}, (400, "FailedIdentityOperation"), "/nobody"),
    ("tags", {"a" * 513: "x"}, (400, "InvalidTagNameCharacters"), "reserved"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "refusal", "text"), REFUSALS, ids=lambda value: str(value)[:30])
def test_a_wrong_body_is_refused_by_name(
    azure: Azure, path: str, value: Any, refusal: tuple[int, str], text: str
) -> None:
    body = copy.deepcopy(vm_body(azure.env))
    *parents, name = path.split(".")
    part: Any = body
    for parent in parents:
        part = part[parent]
    part[name] = value
    answer = azure.send("PUT", vm_id("a"), body)
    # With the specifications at hand a body may be refused by them first, and they name the place as well.
    assert code(answer) in (refusal, (400, "InvalidRequestContent"))
    assert text in answer.text or code(answer) == (400, "InvalidRequestContent")
    assert azure.existing(VM, DISK, NIC) == set()


def test_a_machine_may_use_an_interface_that_is_there(azure: Azure) -> None:
    ip = {"name": "ip", "properties": {"subnet": {"id": subnet(azure.env)}}}
    nic = {"location": "westeurope", "properties": {"ipConfigurations": [ip]}}
    assert azure.send("PUT", nic_id("mine"), nic).status_code == 201
    body = vm_body(azure.env)
    entry = {"id": nic_id("mine"), "properties": {"primary": True, "deleteOption": "Detach"}}
    body["properties"]["networkProfile"] = {"networkInterfaces": [entry]}
    assert azure.send("PUT", vm_id("a"), body).status_code == 201
    assert code(azure.send("DELETE", nic_id("mine"))) == (400, "NicInUse")
    other = copy.deepcopy(body)
    other["properties"]["storageProfile"]["osDisk"]["name"] = "b-os"
    assert code(azure.send("PUT", vm_id("b"), other)) == (400, "NicInUse")
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert azure.send("DELETE", nic_id("mine")).status_code == 202


def test_a_subnet_that_is_not_there_is_refused(azure: Azure) -> None:
    body = vm_body({**azure.env, "MUSTER_SUBNET_ID": f"westeurope={subnet(azure.env)}-not"})
    answer = azure.send("PUT", vm_id("a"), body)
    assert code(answer) == (400, "InvalidResourceReference")


@pytest.mark.parametrize(("policy", "left"), [("Delete", set()), ("Deallocate", {"a", "a-os", "a-nic"})])
def test_an_eviction_gives_notice_and_follows_its_policy(azure: Azure, policy: str, left: set[str]) -> None:
    azure.create_vm(priority="Spot", evictionPolicy=policy, billingProfile={"maxPrice": -1})
    assert azure.post("a", "simulateEviction").status_code == 204
    ask = """python3 -c "
import urllib.request as u
r = u.Request('http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01', headers={'Metadata': 'true'})
print(u.urlopen(r).read().decode())
" """
    assert '"EventType": "Preempt"' in azure.outcome(ask)["output"]
    azure.control.advance(31)
    assert azure.existing(VM, DISK, NIC) == left
    if left:
        assert azure.power("a") == "PowerState/deallocated"
    before = seconds_billed(azure, "VM")
    azure.control.advance(60)
    assert seconds_billed(azure, "VM") == before


def test_spot_is_cheaper_and_not_for_every_size(azure: Azure) -> None:
    azure.create_vm(size="Standard_D4s_v5", priority="Spot", evictionPolicy="Delete")
    (line,) = [line for line in azure.control.bill()["lines"] if line["meter"].startswith("VM")]
    assert 0 < line["usd_per_hour"] < 0.23
    answer = azure.send("PUT", vm_id("b"), vm_body(azure.env, "b", size="Standard_B2s", priority="Spot"))
    assert answer.status_code in (400, 409)
