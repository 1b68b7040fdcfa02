"""A drift run as decided by its orchestrators: what is bought, what is reported, and what is told in the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from localdev.runner.hub import Status
from shared.domain.drift import Comparison, DriftOutcome, DriftState
from shared.domain.errors import JobFailed
from shared.durable import contracts
from tests.durable.drift_night import FAILED, GOING, LOST, MANIFEST, QUIET, DriftNight
from tests.durable.stage import Stage, stage
from tests.support.drifts import drift_monitor, parsed, request

BOUGHT = (contracts.OPEN_LEASE, contracts.BEGIN_PROVISION)
ENDING = (contracts.REPORT_DRIFT, contracts.RECORD_COST, contracts.RECORD_DRIFT)


@pytest.fixture
def azure() -> Iterator[Stage]:
    with stage(DriftNight()) as made:
        yield made


def _run(azure: Stage, **changes: Any) -> DriftOutcome:
    """What the run put on record as its end."""
    asked = request(parsed(drift_monitor("flights-drift", **changes)))
    azure.run(contracts.MEASURE_DRIFT, asked, asked.run)
    (outcome,) = azure.of(contracts.RECORD_DRIFT)
    return outcome


def test_a_run_that_goes_well_releases_its_machine_then_reports_once(azure: Stage) -> None:
    outcome = _run(azure)

    assert (outcome.state, outcome.breached, outcome.event) == (DriftState.COMPLETED, True, "0" * 32)
    assert outcome.usd > 0 and outcome.teardown == "Clean"
    assert azure.steps(contracts.CLOSE_LEASE, *ENDING) == [
        "close_lease",
        "report_drift",
        "record_cost",
        "record_drift",
    ]


def test_drift_under_the_threshold_is_reported_too(azure: Stage) -> None:
    azure.script(contracts.READ_MEASUREMENT, QUIET)

    outcome = _run(azure)

    assert (outcome.state, outcome.breached) == (DriftState.COMPLETED, False)
    (report,) = azure.of(contracts.REPORT_DRIFT)
    assert report.measurement.coefficient == 0.1


@pytest.mark.parametrize(("reference", "target"), [(0, 7), (60, 0)])
def test_where_a_side_is_empty_nothing_is_bought_and_nothing_said(
    azure: Stage, reference: int, target: int
) -> None:
    sides = Comparison(manifest=MANIFEST, reference_blobs=reference, target_blobs=target)
    azure.script(contracts.FREEZE_COMPARISON, sides)

    assert _run(azure).state is DriftState.NOTHING_TO_COMPARE
    assert azure.steps(*BOUGHT, contracts.REPORT_DRIFT) == []


def test_what_could_cost_more_than_the_budget_is_not_bought(azure: Stage) -> None:
    outcome = _run(azure, limits={"budgetUsd": 0.01})

    assert outcome.state is DriftState.FAILED and "budget" in outcome.reason
    assert azure.steps(*BOUGHT) == []


def test_a_machine_that_is_lost_is_replaced_by_one_of_a_new_epoch(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOB, LOST)

    assert _run(azure).state is DriftState.COMPLETED
    assert [lease.epoch for lease in azure.of(contracts.BEGIN_PROVISION)] == [1, 2]
    assert [job.epoch for job in azure.of(contracts.WRITE_DRIFT_JOB)] == [1, 2]


def test_a_job_that_failed_is_a_failed_run_with_its_bill_and_no_event(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOB, FAILED)

    outcome = _run(azure)

    assert outcome.state is DriftState.FAILED and outcome.usd > 0
    assert azure.steps(*ENDING) == ["record_cost", "record_drift"]


def test_what_is_no_measurement_is_not_reported(azure: Stage) -> None:
    azure.script(contracts.READ_MEASUREMENT, JobFailed("none of 3 common columns has ks"))

    outcome = _run(azure)

    assert outcome.state is DriftState.FAILED and "none of 3" in outcome.reason
    assert azure.steps(*ENDING) == ["record_cost", "record_drift"]


def test_a_failed_run_is_failed_in_the_portal_too(azure: Stage) -> None:
    azure.script(contracts.FREEZE_COMPARISON, JobFailed("no such container"))
    asked = request(parsed(drift_monitor("flights-drift")))

    ended = azure.run(contracts.MEASURE_DRIFT, asked, asked.run)

    assert ended.status is Status.FAILED


def test_a_cancelled_run_releases_its_machine_and_reports_nothing(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOBS, GOING, GOING.model_copy(update={"cancel_requested": True}))

    assert _run(azure).state is DriftState.CANCELLED
    assert azure.steps(contracts.CANCEL_JOB, contracts.CLOSE_LEASE, *ENDING) == [
        "cancel_job",
        "close_lease",
        "record_cost",
        "record_drift",
    ]


def test_a_job_is_not_waited_for_beyond_its_deadline(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOBS, *[GOING] * 200)

    outcome = _run(azure, limits={"deadline": "PT20M"})

    assert outcome.state is DriftState.FAILED and "limits.deadline" in outcome.reason


def test_a_week_of_measuring_is_no_long_history(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOBS, *[GOING] * 2000)

    outcome = _run(azure, limits={"deadline": "P7D"})

    assert "limits.deadline" in outcome.reason
    assert len(azure.history(f"{outcome.run}.drift").events) < 2000
