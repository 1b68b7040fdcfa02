"""What we send about a machine: safe by construction, and as Microsoft's specifications allow it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node import package
from shared.azure.arm import COMPUTE_API, SCHEDULES_API
from shared.azure.vm_bodies import is_braked, run_command_body, schedule_body, shutdown_time, vm_body
from shared.config import Settings, read_settings
from shared.domain.lease import Lease
from shared.domain.offers import Offer, Priority
from shared.platforms import dsvm
from tests.azuresim.specifications import specs_dir

_DEADLINE = datetime(2026, 3, 1, 4, 59, 30, tzinfo=UTC)
_GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/muster-burn"
_SUBNET = f"{_GROUP}/providers/Microsoft.Network/virtualNetworks/v/subnets/machines"
_VM_ID = f"{_GROUP}/providers/Microsoft.Compute/virtualMachines/vm-0123456789abcdef-e2"


def _settings() -> Settings:
    return read_settings(
        {
            "MUSTER_SUBSCRIPTION_ID": "11111111-1111-1111-1111-111111111111",
            "MUSTER_RESOURCE_GROUP": "muster-burn",
            "MUSTER_LOCATION": "westeurope",
            "MUSTER_STORAGE_ACCOUNT_URL": "https://musterdev.blob.core.windows.net",
            "MUSTER_SUBNET_ID": f"westeurope={_SUBNET}",
            "MUSTER_VM_IDENTITY_ID": f"{_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/vm",
            "MUSTER_VM_IDENTITY_CLIENT_ID": "33333333-0000-0000-0000-00000000b002",
            "MUSTER_SSH_PUBLIC_KEY": "ssh-ed25519 AAAA muster",
        }
    )


def _lease(priority: Priority = Priority.REGULAR) -> Lease:
    return Lease(
        id="0123456789abcdef",
        owner="score-flights-20260301T020000Z",
        epoch=2,
        platform="dsvm",
        offer=Offer(size="Standard_D4s_v5", region="westeurope", priority=priority, vcpus=4),
        deadline=_DEADLINE,
    )


def _vm(priority: Priority = Priority.REGULAR) -> dict[str, Any]:
    return vm_body(
        _lease(priority),
        _settings(),
        image=dsvm.IMAGE,
        disk_gib=dsvm.OS_DISK_GIB,
        disk_type=dsvm.OS_DISK_TYPE,
    )


def _run_command() -> dict[str, Any]:
    return run_command_body(
        _lease(),
        _settings(),
        script=package.bootstrap_script(),
        parameter=package.PARAMETER,
        value="e30=",
        timeout_s=3600,
    )


def test_a_machine_is_born_with_its_lease_s_tags() -> None:
    assert _vm()["tags"] == {
        "muster-app": "muster",
        "muster-lease": "0123456789abcdef",
        "muster-owner": "score-flights-20260301T020000Z",
        "muster-deadline": "2026-03-01T04:59:30Z",
        "muster-epoch": "2",
        "muster-managed-by": "muster",
    }


def test_everything_made_with_a_machine_goes_with_it() -> None:
    properties = _vm()["properties"]
    (nic,) = properties["networkProfile"]["networkInterfaceConfigurations"]

    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert nic["properties"]["deleteOption"] == "Delete"
    assert nic["name"] == "vm-0123456789abcdef-e2-nic"


def test_a_machine_has_no_password_and_no_public_address() -> None:
    body = _vm()

    assert body["properties"]["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] is True
    assert "adminPassword" not in body["properties"]["osProfile"]
    assert "publicIP" not in str(body)


def test_an_evicted_spot_machine_leaves_nothing_that_bills() -> None:
    spot, regular = _vm(Priority.SPOT)["properties"], _vm()["properties"]

    assert (spot["priority"], spot["evictionPolicy"]) == ("Spot", "Delete")
    assert not {"priority", "evictionPolicy", "billingProfile"} & regular.keys()


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [
        (datetime(2026, 3, 1, 4, 59, 30, tzinfo=UTC), "0500"),
        (datetime(2026, 3, 1, 5, 0, 0, tzinfo=UTC), "0500"),
        (datetime(2026, 3, 1, 5, 0, 0, 1, tzinfo=UTC), "0501"),
        (datetime(2026, 3, 1, 23, 59, 1, tzinfo=UTC), "0000"),
        (datetime.fromisoformat("2026-03-01T05:30:00+01:00"), "0430"),
    ],
)
def test_azure_s_brake_strikes_at_the_deadline_and_never_before(deadline: datetime, expected: str) -> None:
    assert shutdown_time(deadline) == expected


def test_a_schedule_brakes_only_as_it_was_written() -> None:
    body = schedule_body(_lease(), _settings(), _VM_ID)
    assert is_braked(body, _lease())

    for changes in (
        {"status": "Disabled"},
        {"dailyRecurrence": {"time": "0501"}},
        {"timeZoneId": "W. Europe Standard Time"},
        {"taskType": "LabVmsShutdownTask"},
        {"targetResourceId": f"{_VM_ID}0"},
    ):
        assert not is_braked({**body, "properties": {**body["properties"], **changes}}, _lease())
    assert not is_braked({}, _lease())


def test_the_script_is_sent_verbatim_and_its_one_parameter_has_a_name() -> None:
    properties = _run_command()["properties"]

    assert properties["source"]["script"] == Path("node/bootstrap.sh").read_text()
    assert properties["parameters"] == [{"name": "MUSTER_NODE", "value": "e30="}]
    assert properties["asyncExecution"] is True


@pytest.mark.parametrize(
    ("path", "version", "body"),
    [
        (_VM_ID, COMPUTE_API, _vm()),
        (_VM_ID, COMPUTE_API, _vm(Priority.SPOT)),
        (f"{_VM_ID}/runCommands/b00-e2", COMPUTE_API, _run_command()),
        (
            f"{_GROUP}/providers/Microsoft.DevTestLab/schedules/shutdown-computevm-vm-0123456789abcdef-e2",
            SCHEDULES_API,
            schedule_body(_lease(), _settings(), _VM_ID),
        ),
    ],
    ids=["vm", "spot-vm", "run-command", "schedule"],
)
def test_every_body_is_what_microsoft_s_specification_allows(
    path: str, version: str, body: dict[str, Any]
) -> None:
    from localdev.azuresim.contract import Contract

    assert Contract(specs_dir()).check_request("PUT", path, {"api-version": version}, body) == []
