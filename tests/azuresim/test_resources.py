"""Lists of resources, groups, networks and schedules: what a reaper goes by."""

from __future__ import annotations

from typing import Any

import pytest

from tests.azuresim.azure_client import GROUP, SUBSCRIPTION, TAGS, Azure, code, nic_id, vm_body, vm_id

_SCHEDULES = f"{GROUP}/providers/Microsoft.DevTestLab/schedules"
_NETWORKS = f"{GROUP}/providers/Microsoft.Network/virtualNetworks"


def listed(azure: Azure, filter_: str, scope: str = GROUP) -> list[dict[str, Any]]:
    return list(azure.get(f"{scope}/resources?$filter={filter_}&api-version=2021-04-01")["value"])


def test_resources_are_found_by_tag_name(azure: Azure) -> None:
    azure.create_vm()
    azure.create_vm("foreign", tags={})
    found = listed(azure, "tagName eq 'muster-lease'")
    assert {(each["name"], each["type"], each["tags"]["muster-lease"]) for each in found} == {
        ("a", "Microsoft.Compute/virtualMachines", "lease-1"),
        ("a-os", "Microsoft.Compute/disks", "lease-1"),
    }
    assert len(listed(azure, "tagName eq 'muster-lease'", f"/subscriptions/{SUBSCRIPTION}")) == 2


def test_a_filter_by_tag_value_leaves_the_tags_out(azure: Azure) -> None:
    azure.create_vm()
    found = listed(azure, "tagName eq 'muster-lease' and tagValue eq 'lease-1'")
    assert {each["name"] for each in found} == {"a", "a-os"}
    assert all("tags" not in each for each in found)
    assert listed(azure, "tagName eq 'muster-lease' and tagValue eq 'lease-2'") == []


def test_resources_are_found_by_type_and_name(azure: Azure) -> None:
    azure.create_vm()
    found = listed(azure, "resourceType eq 'microsoft.network/networkinterfaces'")
    assert [each["name"] for each in found] == ["a-nic"]
    assert {each["name"] for each in listed(azure, "substringof('a-', name)")} == {"a-nic", "a-os"}
    bad = azure.send("GET", f"{GROUP}/resources?$filter=colour eq 'red'&api-version=2021-04-01")
    assert code(bad) == (400, "InvalidFilterInQueryString")


def test_run_commands_are_listed_as_resources_of_their_own(azure: Azure) -> None:
    azure.create_vm()
    azure.run("a", "true")
    found = listed(azure, "resourceType eq 'Microsoft.Compute/virtualMachines/runCommands'")
    assert [each["name"] for each in found] == ["a/job"]


def test_a_network_can_be_built_and_is_guarded_while_in_use(azure: Azure) -> None:
    spec = {"name": "s", "properties": {"addressPrefix": "10.9.0.0/24"}}
    body = {
        "location": "West Europe",
        "properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [spec]},
    }
    assert azure.send("PUT", f"{_NETWORKS}/net", body).status_code == 201
    azure.control.advance(5)
    shown = azure.get(f"{_NETWORKS}/net")
    assert shown["location"] == "westeurope"
    (inner,) = shown["properties"]["subnets"]
    ip = {"name": "ip", "properties": {"subnet": {"id": inner["id"]}}}
    nic = {"location": "westeurope", "properties": {"ipConfigurations": [ip]}}
    azure.send("PUT", nic_id("n"), nic)
    assert code(azure.send("DELETE", inner["id"])) == (400, "InUseSubnetCannotBeDeleted")
    assert code(azure.send("DELETE", f"{_NETWORKS}/net")) == (400, "InUseSubnetCannotBeDeleted")
    azure.send("DELETE", nic_id("n"))
    azure.control.advance(5)
    assert azure.send("DELETE", f"{_NETWORKS}/net").status_code == 202
    azure.control.advance(5)
    assert code(azure.send("GET", f"{_NETWORKS}/net")) == (404, "ResourceNotFound")
    assert azure.existing("Microsoft.Network/virtualNetworks/subnets") == set()


def test_a_network_with_an_unknown_member_is_refused_by_name(azure: Azure) -> None:
    body = {"location": "westeurope", "properties": {"colour": "red"}}
    answer = azure.send("PUT", f"{_NETWORKS}/net", body)
    assert answer.status_code == 400
    assert "colour" in answer.text


def test_an_interface_is_tagged_afterwards(azure: Azure) -> None:
    azure.create_vm()
    assert azure.send("PATCH", nic_id("a-nic"), {"tags": TAGS}).status_code == 200
    assert {each["name"] for each in listed(azure, "tagName eq 'muster-lease'")} == {"a", "a-os", "a-nic"}


def test_a_public_address_is_billed_and_guarded(azure: Azure) -> None:
    azure.create_vm(public_ip=True)
    path = f"{GROUP}/providers/Microsoft.Network/publicIPAddresses/a-pip"
    assert azure.get(path)["properties"]["ipAddress"]
    assert code(azure.send("DELETE", path)) == (400, "PublicIPAddressCannotBeDeleted")


def test_a_disk_alone_is_billed_until_it_is_deleted(azure: Azure) -> None:
    path = f"{GROUP}/providers/Microsoft.Compute/disks/d"
    body = {
        "location": "westeurope",
        "sku": {"name": "Premium_LRS"},
        "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 100},
    }
    assert azure.send("PUT", path, body).status_code == 202
    azure.control.advance(60)
    assert azure.get(path)["properties"]["provisioningState"] == "Succeeded"
    assert azure.send("DELETE", path).status_code == 202
    azure.control.advance(60)
    (line,) = azure.control.bill()["lines"]
    assert (line["meter"], line["seconds"]) == ("Disk P10", 64)


def test_a_group_can_be_made_and_worked_in(azure: Azure) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"
    assert azure.send("PUT", group, {"location": "northeurope"}).status_code == 201
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/a"
    assert azure.send("PUT", path, vm_body(azure.env)).status_code == 201


def test_a_group_goes_with_everything_in_it(azure: Azure) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"
    azure.send("PUT", group, {"location": "westeurope"})
    machines = f"{group}/providers/Microsoft.Compute/virtualMachines"
    body = vm_body(azure.env, delete="Detach", public_ip=True)
    assert azure.send("PUT", f"{machines}/a", body).status_code == 201
    azure.control.advance(60)
    deleted = azure.send("DELETE", group)
    assert deleted.status_code == 202
    assert code(azure.send("PUT", f"{machines}/b", body)) == (409, "ResourceGroupBeingDeleted")
    azure.control.advance(60)
    assert azure.get(deleted.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    assert code(azure.send("GET", group)) == (404, "ResourceGroupNotFound")
    assert [each["id"] for each in azure.control.resources() if "/other/" in each["id"]] == []
    assert all(line["ended"] for line in azure.control.bill()["lines"])


def schedule(vm: str = "a", time: str = "0300", zone: str = "UTC", **properties: Any) -> dict[str, Any]:
    return {
        "location": "westeurope",
        "tags": TAGS,
        "properties": {
            "status": "Enabled",
            "taskType": "ComputeVmShutdownTask",
            "dailyRecurrence": {"time": time},
            "timeZoneId": zone,
            "notificationSettings": {"status": "Disabled", "timeInMinutes": 30},
            "targetResourceId": vm_id(vm),
            **properties,
        },
    }


@pytest.mark.parametrize(
    ("time", "zone", "after_h"),
    [("0300", "UTC", 1), ("0200", "UTC", 24), ("0430", "W. Europe Standard Time", 1.5)],
)
def test_a_schedule_really_shuts_the_machine_down_at_its_time(
    azure: Azure, time: str, zone: str, after_h: float
) -> None:
    azure.create_vm()  # it is 02:01 UTC now
    path = f"{_SCHEDULES}/shutdown-computevm-a"
    assert azure.send("PUT", path, schedule(time=time, zone=zone)).status_code == 201
    azure.control.advance(after_h * 3600 - 61)
    assert azure.power("a") == "PowerState/running"
    azure.control.advance(2)
    assert azure.power("a") == "PowerState/deallocating"
    azure.control.advance(30)
    assert azure.power("a") == "PowerState/deallocated"


def test_a_schedule_fires_every_day_unless_it_is_off(azure: Azure) -> None:
    azure.create_vm()
    path = f"{_SCHEDULES}/shutdown-computevm-a"
    azure.send("PUT", path, schedule())
    azure.control.advance(3600)
    azure.post("a", "start")
    azure.control.advance(86400)
    assert azure.power("a") == "PowerState/deallocated"
    azure.post("a", "start")
    azure.send("PUT", path, schedule(status="Disabled"))
    azure.control.advance(86400)
    assert azure.power("a") == "PowerState/running"


def test_a_schedule_outlives_its_machine(azure: Azure) -> None:
    azure.create_vm()
    path = f"{_SCHEDULES}/shutdown-computevm-a"
    azure.send("PUT", path, schedule())
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(7200)
    assert azure.get(path)["properties"]["status"] == "Enabled"
    assert azure.send("DELETE", path).status_code == 200
    assert azure.send("DELETE", path).status_code == 204


def test_a_schedule_for_nothing_or_under_a_wrong_name_is_refused(azure: Azure) -> None:
    path = f"{_SCHEDULES}/shutdown-computevm-a"
    assert code(azure.send("PUT", path, schedule())) == (400, "InvalidScheduleTargetResource")
    azure.create_vm()
    assert code(azure.send("PUT", f"{_SCHEDULES}/other", schedule())) == (400, "InvalidScheduleId")
    assert azure.send("PUT", path, schedule(time="2500")).status_code == 400
    assert azure.send("PUT", path, schedule(zone="Mars/Base")).status_code == 400
