"""What faults do to the world: each kind, seen from outside."""

from __future__ import annotations

import pytest
import requests

from tests.azuresim.azure_client import GROUP, Azure, code, nic_id, vm_body, vm_id

DISK, NIC, VM = (
    "Microsoft.Compute/disks",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Compute/virtualMachines",
)


def put(azure: Azure, name: str = "a", **options: object) -> requests.Response:
    return azure.send("PUT", vm_id(name), vm_body(azure.env, name, **options))  # type: ignore[arg-type]


def test_a_status_fault_refuses_the_nth_call_with_its_headers(azure: Azure) -> None:
    azure.control.add_faults({"preset": "arm-throttled", "nth": 2})
    assert put(azure).status_code == 201
    refused = put(azure, "b")
    assert code(refused) == (429, "SubscriptionRequestsThrottled")
    assert refused.headers["retry-after-ms"] == "10000"
    assert put(azure, "b").status_code == 201
    assert [event["path"] for event in azure.control.events(type_="early_poll")] == [vm_id("b")]
    (fault,) = azure.control.faults()
    assert (fault["calls"], fault["struck"]) == (3, 1)


def test_an_allocation_that_fails_later_leaves_a_carcass(azure: Azure) -> None:
    azure.control.add_faults({"preset": "allocation-failed-later"})
    accepted = put(azure)
    assert accepted.status_code == 201
    azure.control.advance(60)
    operation = azure.get(accepted.headers["Azure-AsyncOperation"])
    assert (operation["status"], operation["error"]["code"]) == ("Failed", "AllocationFailed")
    vm = azure.vm("a")["properties"]
    assert vm["provisioningState"] == "Failed"
    assert vm["instanceView"]["statuses"][0]["code"] == "ProvisioningState/failed/AllocationFailed"
    assert azure.existing(VM, DISK, NIC) == {"a", "a-os", "a-nic"}
    assert {line["meter"] for line in azure.control.bill()["lines"]} == {"Disk E15"}
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert azure.existing(VM, DISK, NIC) == set()


def test_a_carcass_can_be_put_again(azure: Azure) -> None:
    azure.control.add_faults({"preset": "allocation-failed-later"})
    put(azure)
    azure.control.advance(60)
    assert put(azure).status_code == 200
    azure.control.advance(60)
    assert azure.power("a") == "PowerState/running"


def test_an_os_that_times_out_leaves_a_machine_that_runs_and_costs(azure: Azure) -> None:
    azure.control.add_faults({"preset": "os-provisioning-timed-out"})
    put(azure)
    azure.control.advance(1300)
    assert azure.vm("a")["properties"]["provisioningState"] == "Failed"
    assert azure.power("a") == "PowerState/running"
    assert any(line["meter"].startswith("VM") and not line["ended"] for line in azure.control.bill()["lines"])


def test_a_stuck_create_never_ends_and_can_be_deleted(azure: Azure) -> None:
    azure.control.add_faults({"preset": "provisioning-stuck"})
    accepted = put(azure)
    azure.control.advance(86400)
    assert azure.get(accepted.headers["Azure-AsyncOperation"])["status"] == "InProgress"
    assert azure.vm("a")["properties"]["provisioningState"] == "Creating"
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert azure.existing(VM, DISK, NIC) == set()


def test_a_boot_that_never_gets_ready_runs_and_costs(azure: Azure) -> None:
    azure.control.add_faults({"preset": "boot-never-ready"})
    put(azure)
    azure.control.advance(3600)
    view = azure.vm("a")["properties"]["instanceView"]
    assert view["vmAgent"]["statuses"][0]["displayStatus"] == "Not Ready"
    assert azure.vm("a")["properties"]["provisioningState"] == "Creating"
    assert azure.post("a", "deallocate").status_code == 202
    azure.control.advance(30)
    assert azure.power("a") == "PowerState/deallocated"


def test_a_lost_response_took_effect(azure: Azure) -> None:
    azure.control.add_faults({"preset": "lost-response"})
    with pytest.raises(requests.exceptions.ConnectionError):
        put(azure)
    assert azure.existing(VM) == {"a"}
    (lost,) = [event for event in azure.control.events(type_="request") if event["lost"]]
    assert (lost["method"], lost["status"]) == ("PUT", 201)


def test_a_slow_operation_takes_longer(azure: Azure) -> None:
    azure.control.add_faults({"preset": "slow", "seconds": 600})
    put(azure)
    azure.control.advance(600)
    assert azure.vm("a")["properties"]["provisioningState"] == "Creating"
    azure.control.advance(60)
    assert azure.vm("a")["properties"]["provisioningState"] == "Succeeded"


def test_a_nic_can_be_left_behind(azure: Azure) -> None:
    azure.control.add_faults({"preset": "nic-left-behind"})
    azure.create_vm()
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    assert azure.existing(VM, DISK, NIC) == {"a-nic"}
    assert azure.send("DELETE", nic_id("a-nic")).status_code == 202


def test_a_machine_can_vanish_with_all_it_runs(azure: Azure) -> None:
    azure.control.add_faults({"preset": "vm-vanishes", "after_s": 100})
    azure.create_vm()
    azure.run("a", "sleep 1000", asyncExecution=True)
    azure.control.advance(60)
    assert code(azure.send("GET", vm_id("a"))) == (404, "ResourceNotFound")
    assert azure.existing(VM, DISK, NIC) == set()


def test_an_eviction_can_be_planned(azure: Azure) -> None:
    azure.control.add_faults({"preset": "spot-evicted", "after_s": 60})
    azure.create_vm(priority="Spot", evictionPolicy="Delete")
    azure.control.advance(60)
    assert azure.existing(VM) == set()
    assert [event["resource_id"] for event in azure.control.events(type_="evicted")] == [vm_id("a")]


@pytest.mark.parametrize("answers", [("conflict", "delete-throttled")])
def test_a_delete_can_be_refused_twice_and_then_work(azure: Azure, answers: tuple[str, ...]) -> None:
    azure.create_vm()
    azure.control.add_faults(*({"preset": name} for name in answers))
    statuses = []
    for _ in range(3):
        statuses.append(azure.send("DELETE", vm_id("a")).status_code)
        azure.control.advance(30)
    assert statuses == [409, 429, 202]
    assert azure.existing(VM) == set()


def test_a_delete_that_fails_later_leaves_a_machine_that_costs(azure: Azure) -> None:
    azure.create_vm()
    azure.control.add_faults(
        {
            "operation": f"{VM}/delete",
            "kind": "async_failure",
            "code": "InternalExecutionError",
            "message": "no",
        }
    )
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(60)
    assert azure.vm("a")["properties"]["provisioningState"] == "Failed"
    assert azure.power("a") == "PowerState/stopped"
    assert any(line["meter"].startswith("VM") and not line["ended"] for line in azure.control.bill()["lines"])
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(60)
    assert azure.existing(VM, DISK, NIC) == set()


def test_a_stuck_delete_is_joined_at_first_and_begun_anew_later(azure: Azure) -> None:
    azure.create_vm()
    azure.control.add_faults({"operation": f"{VM}/delete", "kind": "stuck"})
    first = azure.send("DELETE", vm_id("a")).headers["Azure-AsyncOperation"]
    azure.control.advance(60)
    assert azure.send("DELETE", vm_id("a")).headers["Azure-AsyncOperation"] == first
    azure.control.advance(600)
    assert azure.send("DELETE", vm_id("a")).headers["Azure-AsyncOperation"] != first
    azure.control.advance(30)
    assert azure.existing(VM) == set()


def test_a_script_can_be_made_to_fail_or_hang(azure: Azure) -> None:
    azure.control.add_faults({"preset": "script-fails", "exit_code": 3}, {"preset": "script-hangs", "nth": 2})
    azure.create_vm()
    azure.run("a", "echo never", "one", asyncExecution=True)
    view = azure.script("a", "one")
    assert (view["executionState"], view["exitCode"], view["output"]) == ("Failed", 3, "")
    azure.run("a", "echo never", "two", asyncExecution=True, timeoutInSeconds=600)
    azure.control.advance(590)
    assert azure.script("a", "two")["executionState"] == "Running"
    azure.control.advance(20)
    assert azure.script("a", "two")["executionState"] == "TimedOut"


def test_the_identity_endpoint_can_fail(azure: Azure) -> None:
    azure.control.add_faults({"preset": "identity-gone"})
    assert azure.identity().status_code == 410
    assert azure.identity().status_code == 200


def test_a_read_after_write_can_be_stale(azure: Azure) -> None:
    azure.create_vm()
    azure.control.add_faults({"preset": "read-after-write"})
    assert code(azure.send("GET", vm_id("a"))) == (404, "ResourceNotFound")
    assert azure.send("GET", vm_id("a")).status_code == 200


def test_a_wrong_fault_is_refused_with_its_reason(azure: Azure) -> None:
    answer = requests.post(f"{azure.env['AZURESIM_CONTROL_URL']}/faults", json={"kind": "magic"}, timeout=5)
    assert answer.status_code == 400
    assert any("kind" in problem for problem in answer.json()["error"])
    assert azure.send("GET", GROUP).status_code == 200
