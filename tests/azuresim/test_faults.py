"""Faults strike where and when the file says, with Azure's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim.faults import KINDS, PRESETS, FaultError, Faults

GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/muster-burn/providers"
VM = f"{GROUP}/Microsoft.Compute/virtualMachines/vm1"
WRITE = "Microsoft.Compute/virtualMachines/write"
DELETE = "Microsoft.Compute/virtualMachines/delete"


def struck(entry: dict[str, Any], calls: int, resource: str = VM) -> list[int]:
    """The calls, counted from 1, that the fault hits."""
    faults = Faults()
    faults.add({"operation": WRITE, "kind": "status", "status": 429, "code": "X", **entry})
    return [call for call in range(1, calls + 1) if faults.take(WRITE, resource)]


@pytest.mark.parametrize(
    ("entry", "hit"),
    [
        ({}, [1]),
        ({"nth": 3}, [3]),
        ({"nth": 2, "times": 3}, [2, 3, 4]),
        ({"times": 0}, [1, 2, 3, 4, 5, 6, 7]),
        ({"every": 2, "times": 0}, [1, 3, 5, 7]),
        ({"nth": 2, "every": 3, "times": 2}, [2, 5]),
        ({"resource": "*/virtualMachines/VM1"}, [1]),
        ({"resource": "vm?"}, [1]),
        ({"resource": "other*"}, []),
    ],
)
def test_a_fault_strikes_the_calls_it_names(entry: dict[str, Any], hit: list[int]) -> None:
    assert struck(entry, 7) == hit


def test_operations_are_counted_apart_and_without_case() -> None:
    faults = Faults()
    faults.add({"operation": DELETE, "kind": "status", "status": 409, "code": "Conflict", "nth": 2})
    assert faults.take(WRITE, VM) is None
    assert faults.take(DELETE.upper(), VM) is None
    assert faults.take(WRITE, VM) is None
    assert faults.take(DELETE, VM.upper()) is not None


def test_an_operation_may_be_a_pattern() -> None:
    faults = Faults()
    faults.add({"operation": "Microsoft.Compute/*", "kind": "lost_response"})
    assert faults.take("Microsoft.Network/networkInterfaces/write", VM) is None
    assert faults.take(DELETE, VM) is not None


def test_two_faults_due_at_one_call_strike_one_after_the_other() -> None:
    faults = Faults()
    faults.load([{"preset": "conflict"}, {"preset": "delete-throttled"}])
    first, second, third = (faults.take(DELETE, VM) for _ in range(3))
    assert first is not None and first.status == 409
    assert second is not None and second.status == 429
    assert third is None


def test_the_report_says_which_faults_struck() -> None:
    faults = Faults()
    faults.load([{"preset": "sku-not-available"}, {"preset": "conflict", "nth": 5}])
    faults.take(WRITE, VM)
    faults.take(DELETE, VM)
    assert [(entry["calls"], entry["struck"]) for entry in faults.report()] == [(1, 1), (1, 0)]
    faults.clear()
    assert faults.report() == []


# What Microsoft's pages and public error logs say, word for word.
SIGNALS = [
    ("arm-throttled", "F1", 429, "SubscriptionRequestsThrottled", "Please try again after '10' seconds."),
    ("compute-throttled", "F2", 429, "OperationNotAllowed", "too many requests have been received"),
    ("network-locked", "F3", 429, "RetryableErrorDueToAnotherOperation", "another operation"),
    (
        "another-operation-in-progress",
        "F3",
        409,
        "AnotherOperationInProgress",
        "dependent resource is in progress",
    ),
    (
        "allocation-failed",
        "F4",
        409,
        "AllocationFailed",
        "for the requested VM size in this region. Read more",
    ),
    (
        "sku-not-available",
        "F5",
        409,
        "SkuNotAvailable",
        "Capacity Restrictions: Standard_F8s_v2' is currently not",
    ),
    ("quota-family", "F6", 409, "OperationNotAllowed", "exceeding approved standardDSv5Family Cores quota"),
    ("quota-regional", "F6", 409, "OperationNotAllowed", "exceeding approved Total Regional Cores quota"),
    ("quota-spot", "F6", 409, "OperationNotAllowed", "exceeding approved LowPriorityCores quota"),
    ("quota-zero", "F6", 409, "OperationNotAllowed", "Current Limit: 0, Current Usage: 0"),
    ("public-ip-quota", "F6", 400, "PublicIPCountLimitReached", "Cannot create more than 20"),
    ("run-command-busy", "F10", 409, "Conflict", "Run command extension execution is in progress."),
    ("conflict", "F11", 409, "Conflict", "conflict with a concurrent request"),
    (
        "marked-for-deletion",
        "F11",
        409,
        "OperationNotAllowed",
        "Operation 'deallocate' is not allowed on VM 'vm1' since",
    ),
    ("nic-reserved", "F12", 400, "NicReservedForAnotherVm", "for 180 seconds"),
    ("public-ip-in-use", "F12", 400, "PublicIPAddressCannotBeDeleted", "still allocated to resource"),
    ("property-change-not-allowed", "F13", 409, "PropertyChangeNotAllowed", "Changing property"),
    ("read-after-write", "F14", 404, "ResourceNotFound", "under resource group 'muster-burn' was not found"),
    ("parent-not-found", "F14", 404, "ParentResourceNotFound", "could not be found"),
    ("scope-locked", "F15", 409, "ScopeLocked", "Please remove the lock and try again."),
    ("disallowed-by-policy", "F15", 403, "RequestDisallowedByPolicy", "was disallowed by policy"),
    (
        "authorization-failed",
        "F15",
        403,
        "AuthorizationFailed",
        "does not have authorization to perform action",
    ),
    ("linked-authorization-failed", "F15", 403, "LinkedAuthorizationFailed", "subnets/join/action"),
    ("group-being-deleted", "F15", 409, "ResourceGroupBeingDeleted", "deprovisioning state"),
    ("token-expired", "F16", 401, "ExpiredAuthenticationToken", "is earlier than current UTC time"),
    ("identity-gone", "F16", 410, "gone", ""),
]


@pytest.mark.parametrize(("preset", "row", "status", "code", "text"), SIGNALS)
def test_a_preset_says_what_azure_says(preset: str, row: str, status: int, code: str, text: str) -> None:
    faults = Faults()
    armed = faults.add({"preset": preset})
    fault = faults.take(armed.operation, VM, {"size": "Standard_F8s_v2"})
    assert fault is not None
    assert (fault.kind, fault.row, fault.status, fault.code) == ("status", row, status, code)
    assert text in fault.message
    assert fault.error()["code"] == code


def test_an_allocation_may_fail_after_the_call_was_accepted() -> None:
    faults = Faults()
    faults.add({"preset": "allocation-failed-later"})
    fault = faults.take(WRITE, VM)
    assert fault is not None
    assert (fault.kind, fault.async_status, fault.code) == ("async_failure", "Failed", "AllocationFailed")


def test_throttling_says_when_to_come_back() -> None:
    for preset, entry in PRESETS.items():
        if entry.get("status") == 429 and entry["operation"] != "identity/token":
            assert int(entry["headers"]["Retry-After"]) > 0, preset


def test_every_row_of_the_catalogue_that_the_control_plane_can_show_has_a_preset() -> None:
    assert {entry["row"] for entry in PRESETS.values()} >= {f"F{row}" for row in range(1, 17)}
    assert {entry["kind"] for entry in PRESETS.values()} == set(KINDS)
    assert {entry["source"] for entry in PRESETS.values()} <= {"doc", "recorded", "sdk", "assumed"}


def test_no_text_is_left_with_a_name_to_fill_in() -> None:
    for preset in PRESETS:
        faults = Faults()
        armed = faults.add({"preset": preset})
        fault = faults.take(armed.operation, f"{VM}/runCommands/score")
        assert fault is not None
        assert "{" not in fault.message.replace('{"policyAssignment":{"name"', "").replace("{}", "")


def test_a_preset_may_be_changed() -> None:
    faults = Faults()
    faults.add({"preset": "conflict", "operation": WRITE, "status": 412, "nth": 2})
    assert faults.take(WRITE, VM) is None
    fault = faults.take(WRITE, VM)
    assert fault is not None and (fault.status, fault.code) == (412, "Conflict")


@pytest.mark.parametrize(
    "text", ["- preset: conflict\n", '[{"preset": "conflict"}]', "faults:\n- {preset: conflict}\n"]
)
def test_a_file_is_yaml_or_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "faults").write_text(text)
    assert Faults.from_file(tmp_path / "faults").take(DELETE, VM) is not None


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    entries = [
        {"preset": "no-such"},
        {"kind": "explode", "nth": 0, "every": True, "colour": "red", "headers": {"Retry-After": 3}},
        {"kind": "status", "operation": WRITE},
        "later",
        {"preset": "conflict"},
        {"kind": "leave_behind", "operation": DELETE, "leave": ["virtualMachines"]},
    ]
    file.write_text(json.dumps(entries))
    with pytest.raises(FaultError) as caught:
        Faults.from_file(file)
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert places == [
        "faults[0].preset",
        "faults[1].colour",
        "faults[1].kind",
        "faults[1].operation",
        "faults[1].nth",
        "faults[1].every",
        "faults[1].headers",
        "faults[2].status",
        "faults[2].code",
        "faults[3]",
        "faults[5].leave",
    ]


@pytest.mark.parametrize("text", ["{", "conflict", "3", "{a: b}"])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "faults").write_text(text)
    with pytest.raises(FaultError, match="faults: "):
        Faults.from_file(tmp_path / "faults")


def test_a_bad_list_leaves_the_armed_faults_alone() -> None:
    faults = Faults()
    faults.add({"preset": "conflict"})
    with pytest.raises(FaultError):
        faults.load([{"preset": "sku-not-available"}, {"preset": "no-such"}])
    assert [entry["preset"] for entry in faults.report()] == ["conflict"]
