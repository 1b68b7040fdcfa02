"""What a look at a machine or a run command is taken to mean."""

from __future__ import annotations

from typing import Any

import pytest

from shared.azure.vm_looks import job_of, machine_of
from shared.domain.jobs import JobState
from shared.domain.lease import MachineState

_READY = {"statuses": [{"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}]}
_NOT_READY = {"statuses": [{"code": "ProvisioningState/Unavailable", "displayStatus": "Not Ready"}]}


def _vm(provisioning: str, power: str = "", agent: Any = None) -> dict[str, Any]:
    statuses = [{"code": f"ProvisioningState/{provisioning.lower()}"}]
    if power:
        statuses.append({"code": f"PowerState/{power}"})
    view = {"statuses": statuses, "vmAgent": agent}
    return {"properties": {"provisioningState": provisioning, "instanceView": view}}


@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        (_vm("Creating"), MachineState.CREATING),
        (_vm("Creating", "starting"), MachineState.CREATING),
        (_vm("Creating", "running", _READY), MachineState.STARTING),
        (_vm("Succeeded", "running"), MachineState.STARTING),
        (_vm("Succeeded", "running", _NOT_READY), MachineState.STARTING),
        (_vm("Updating", "running", _READY), MachineState.STARTING),
        (_vm("Succeeded", "running", _READY), MachineState.READY),
        (_vm("Succeeded", "stopped", _READY), MachineState.STOPPED),
        (_vm("Updating", "deallocating"), MachineState.DEALLOCATING),
        (_vm("Succeeded", "deallocated"), MachineState.DEALLOCATED),
        (_vm("Failed", "deallocated"), MachineState.DEALLOCATED),
        (_vm("Failed", "running", _READY), MachineState.FAILED),
        (_vm("Failed"), MachineState.FAILED),
        (_vm("Deleting", "running", _READY), MachineState.DELETING),
        ({"properties": {"provisioningState": "Creating"}}, MachineState.CREATING),
    ],
)
def test_a_machine_is_ready_only_when_its_agent_answers(vm: dict[str, Any], expected: MachineState) -> None:
    assert machine_of(vm, 7.0).state is expected
    assert machine_of(vm, 7.0).poll_after_s == 7.0


def test_a_failed_machine_says_what_azure_said() -> None:
    vm = _vm("Failed")
    vm["properties"]["instanceView"]["statuses"] = [
        {"code": "ProvisioningState/failed/AllocationFailed", "message": "no room in this region"}
    ]

    machine = machine_of(vm, 7.0)

    assert (machine.code, machine.message) == ("AllocationFailed", "no room in this region")


def _command(state: str, **view: Any) -> dict[str, Any]:
    return {
        "properties": {"provisioningState": "Succeeded", "instanceView": {"executionState": state, **view}}
    }


@pytest.mark.parametrize(
    ("command", "state", "exit_code"),
    [
        ({"properties": {"provisioningState": "Creating"}}, JobState.PENDING, None),
        (_command("Unknown"), JobState.PENDING, None),
        (_command("Pending"), JobState.PENDING, None),
        (_command("Running", exitCode=0), JobState.RUNNING, None),
        (_command("Succeeded", exitCode=0), JobState.SUCCEEDED, 0),
        (_command("Succeeded", exitCode=3), JobState.FAILED, 3),
        (_command("Failed", exitCode=3), JobState.FAILED, 3),
        (_command("TimedOut", exitCode=-1), JobState.TIMED_OUT, -1),
        (_command("Canceled"), JobState.CANCELED, None),
        (_command("SomethingNew"), JobState.PENDING, None),
        ({"properties": {"provisioningState": "Failed"}}, JobState.FAILED, None),
    ],
)
def test_a_job_is_over_only_when_its_script_is(
    command: dict[str, Any], state: JobState, exit_code: int | None
) -> None:
    look = job_of(command, 5.0)

    assert (look.state, look.exit_code) == (state, exit_code)


def test_a_failed_job_tells_the_end_of_what_it_said() -> None:
    look = job_of(_command("Failed", exitCode=3, output="x" * 4096 + "the end", error="ModelLoadError"), 5.0)

    assert "ModelLoadError" in look.message
    assert look.message.endswith("the end")
    assert len(look.message) < 2100
