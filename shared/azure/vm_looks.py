"""What a look at a virtual machine or a run command says: pure functions from Azure's answers to our states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.domain.jobs import JobLook, JobState
from shared.domain.lease import Machine, MachineState

_POWER = {
    "deallocated": MachineState.DEALLOCATED,
    "deallocating": MachineState.DEALLOCATING,
    "stopped": MachineState.STOPPED,
    "stopping": MachineState.STOPPED,
}
_JOB = {
    "Unknown": JobState.PENDING,
    "Pending": JobState.PENDING,
    "Running": JobState.RUNNING,
    "Succeeded": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "TimedOut": JobState.TIMED_OUT,
    "Canceled": JobState.CANCELED,
}


def machine_of(vm: Mapping[str, Any], poll_after_s: float) -> Machine:
    """The state of a machine read with its instance view.

    READY only when Azure calls it provisioned, it runs, and its agent answers: before that a run command would wait in
    vain. Power comes before failure: a failed machine that is deallocated no longer bills, which is what its release
    waits for.
    """
    provisioning = str(vm.get("properties", {}).get("provisioningState", ""))
    if provisioning == "Deleting":
        return Machine(state=MachineState.DELETING, poll_after_s=poll_after_s)
    power = _power(vm)
    if power in _POWER:
        return Machine(state=_POWER[power], poll_after_s=poll_after_s)
    if provisioning in ("Failed", "Canceled"):
        code, message = _failure(vm)
        return Machine(
            state=MachineState.FAILED, code=code or provisioning, message=message, poll_after_s=poll_after_s
        )
    if power == "running" and provisioning == "Succeeded" and _agent_answers(vm):
        return Machine(state=MachineState.READY, poll_after_s=poll_after_s)
    state = MachineState.STARTING if power == "running" else MachineState.CREATING
    return Machine(state=state, poll_after_s=poll_after_s)


def job_of(run_command: Mapping[str, Any], poll_after_s: float) -> JobLook:
    """The state of a run command read with its instance view. `message` is the end of what the script said."""
    properties = run_command.get("properties", {})
    view = properties.get("instanceView") or {}
    state = _JOB.get(str(view.get("executionState", "")), JobState.PENDING)
    if state is JobState.PENDING and properties.get("provisioningState") == "Failed":
        state = JobState.FAILED  # it never reached the machine's agent
    exit_code = view.get("exitCode")
    if state is JobState.SUCCEEDED and exit_code not in (None, 0):
        state = JobState.FAILED
    said = [str(view.get(key) or "").strip() for key in ("executionMessage", "error", "output")]
    return JobLook(
        state=state,
        exit_code=exit_code if state.is_over else None,
        message="\n".join(text[-1000:] for text in said if text) if state.is_over else "",
        poll_after_s=poll_after_s,
    )


def _power(vm: Mapping[str, Any]) -> str:
    codes = (code for code, _ in _statuses(_view(vm)))
    return next((code.split("/")[1].lower() for code in codes if code.startswith("PowerState/")), "")


def _failure(vm: Mapping[str, Any]) -> tuple[str, str]:
    """Azure's code and text of a failed provisioning: the status "ProvisioningState/failed/AllocationFailed"."""
    for code, message in _statuses(_view(vm)):
        parts = code.split("/")
        if parts[0] == "ProvisioningState" and len(parts) == 3:
            return parts[2], message
    return "", ""


def _agent_answers(vm: Mapping[str, Any]) -> bool:
    agent = _view(vm).get("vmAgent") or {}
    return any(status.get("displayStatus") == "Ready" for status in agent.get("statuses", ()))


def _view(vm: Mapping[str, Any]) -> Mapping[str, Any]:
    view: Mapping[str, Any] = vm.get("properties", {}).get("instanceView") or {}
    return view


def _statuses(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(s.get("code", "")), str(s.get("message", ""))) for s in view.get("statuses", ())]
