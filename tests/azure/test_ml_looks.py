"""What a look at an Azure ML cluster or job is taken to mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.azure.ml_clusters import cluster_of, duration_of, node_count
from shared.azure.ml_jobs import explained, job_of
from shared.domain.jobs import JobLook, JobState
from shared.domain.lease import Lease, MachineState
from shared.domain.offers import Offer

LEASE = Lease(
    id="0123456789abcdef",
    owner="score-x-20260301T020000Z",
    epoch=1,
    platform="amlcompute",
    offer=Offer(size="Standard_D2s_v5", region="westeurope"),
    deadline=datetime(2026, 3, 1, 5, tzinfo=UTC),
    nodes=3,
)


def cluster(
    provisioning: str = "Succeeded", *, most: int = 3, least: int = 0, idle: str = "PT120S", **more: Any
) -> dict[str, Any]:
    scale = {"maxNodeCount": most, "minNodeCount": least, "nodeIdleTimeBeforeScaleDown": idle}
    return {"properties": {"provisioningState": provisioning, "properties": {"scaleSettings": scale, **more}}}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (cluster("Creating"), MachineState.CREATING),
        (cluster("Updating"), MachineState.CREATING),
        (cluster(), MachineState.READY),
        (cluster(idle="PT2M"), MachineState.READY),
        (cluster(idle="PT1H"), MachineState.STARTING),
        (cluster(idle=""), MachineState.STARTING),
        (cluster(least=1), MachineState.STARTING),
        (cluster(most=4), MachineState.STARTING),
        (cluster(most=0), MachineState.DEALLOCATED),
        (cluster("Updating", most=0), MachineState.DEALLOCATED),
        (cluster(most=0, nodeStateCounts={"leavingNodeCount": 1}), MachineState.DEALLOCATING),
        (cluster(most=0, currentNodeCount=1), MachineState.DEALLOCATING),
        (cluster("Failed"), MachineState.FAILED),
        (cluster("Deleting", most=0), MachineState.DELETING),
    ],
)
def test_a_cluster_is_ready_only_with_its_brake_and_released_only_without_nodes(
    seen: dict[str, Any], expected: MachineState
) -> None:
    assert cluster_of(seen, LEASE, 7.0).state is expected


def test_a_node_that_was_taken_away_does_not_bill_and_one_being_prepared_does() -> None:
    counts = {"preemptedNodeCount": 1, "preparingNodeCount": 2, "runningNodeCount": 1, "idleNodeCount": 0}

    assert node_count(cluster(currentNodeCount=2, nodeStateCounts=counts)) == 3
    assert node_count(cluster(currentNodeCount=1, nodeStateCounts={"preemptedNodeCount": 1})) == 0


def test_a_failed_cluster_says_what_azure_said() -> None:
    seen = cluster("Failed")
    seen["properties"]["provisioningErrors"] = [{"error": {"code": "BadRequest", "message": "no quota"}}]

    machine = cluster_of(seen, LEASE, 7.0)

    assert (machine.code, machine.message) == ("BadRequest", "no quota")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT120S", timedelta(minutes=2)),
        ("PT2M", timedelta(minutes=2)),
        ("P1DT1H0.5S", timedelta(days=1, hours=1, seconds=0.5)),
        ("P0D", timedelta(0)),
        ("", None),
        ("2 minutes", None),
    ],
)
def test_a_duration_is_read_however_it_is_written(text: str, expected: timedelta | None) -> None:
    assert duration_of(text) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, JobState.PENDING) for status in ("NotStarted", "Starting", "Provisioning", "Preparing")),
        *((status, JobState.PENDING) for status in ("Queued", "Paused", "Unknown", "ANewOneOfTomorrow")),
        *((status, JobState.RUNNING) for status in ("Running", "Finalizing", "CancelRequested", "NotResponding")),
        ("Completed", JobState.SUCCEEDED),
        ("Failed", JobState.FAILED),
        ("Canceled", JobState.CANCELED),
    ],
)  # fmt: skip
def test_only_three_statuses_are_an_end(status: str, expected: JobState) -> None:
    look = job_of({"properties": {"status": status}}, 7.0)

    assert look.state is expected
    assert look.exit_code == (0 if expected is JobState.SUCCEEDED else None)


def _details(message: str, code: str = "UserError", inner: str = "") -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if inner:
        error["innerError"] = {"code": "BadArgument", "innerError": {"code": inner}}
    return {"error": {"error": error}}


@pytest.mark.parametrize(
    ("state", "details", "expected"),
    [
        (JobState.FAILED, _details("User process 'python' exited with status code 3. See the log"),
         {"state": JobState.FAILED, "exit_code": 3, "preempted": False}),
        (JobState.FAILED, _details("User process exited with status code 137"), {"exit_code": -9, "preempted": False}),
        (JobState.FAILED, _details("The node was lost while the job ran", code="NodeLost"),
         {"exit_code": None, "preempted": True}),
        (JobState.FAILED, _details("AmlCompute node has been preempted"), {"preempted": True}),
        (JobState.CANCELED, _details("Job timed out: it exceeded the max run duration of PT60S."),
         {"state": JobState.TIMED_OUT, "preempted": False}),
        (JobState.CANCELED, {}, {"state": JobState.CANCELED, "exit_code": None, "message": ""}),
        (JobState.FAILED, _details("no such image", inner="ImageNotFound"),
         {"message": "ImageNotFound: no such image", "preempted": False}),
    ],
)  # fmt: skip
def test_a_run_s_details_tell_a_failure_from_a_node_taken_away(
    state: JobState, details: dict[str, Any], expected: dict[str, Any]
) -> None:
    look = explained(JobLook(state=state), details)

    assert {name: getattr(look, name) for name in expected} == expected
