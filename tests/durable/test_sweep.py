"""A search that Azure ML runs, as decided by its orchestrator: one sweep, ended before its cluster, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.errors import AppError, PlatformError
from shared.domain.retrain import RetrainOutcome, RetrainState, TrialResults
from shared.domain.sweep import SweepLook, WrittenSweep
from shared.domain.wire import Wire
from shared.durable import contracts
from tests.crash.histories import histories_of, replay_fault
from tests.durable.retraining_day import RUN, request
from tests.durable.stage import Stage, stage
from tests.durable.sweep_day import AT_WORK, SWEEP, SweepDay

QUEUED = SweepLook(state="Running", children=4)
ENDED = SweepLook(state="Canceled", is_over=True, children=8, done=2, stopped=6)
MOST_EVENTS = 2_000


def _run(azure: Stage, **changes: Any) -> RetrainOutcome:
    azure.run(contracts.RETRAIN, request(trials=SWEEP, **changes), RUN)
    (outcome,) = azure.of(contracts.RECORD_RETRAINING)
    assert len(azure.of(contracts.CLOSE_LEASE)) == len(azure.of(contracts.OPEN_LEASE))
    assert azure.of(contracts.WRITE_TRAIN_JOB) == []
    return outcome


def _ended_before_its_cluster(azure: Stage) -> bool:
    """Whether the sweep was asked to end, and its cluster given back only then."""
    steps = azure.steps(contracts.CANCEL_JOB, contracts.BEGIN_RELEASE)
    return steps[0] == "cancel_job" and azure.of(contracts.CANCEL_JOB)[0].job == "sweep-e1"


def test_a_lane_submits_one_sweep_and_goes_on_with_its_records() -> None:
    with stage(SweepDay()) as azure:
        outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED
    assert len(azure.of(contracts.SUBMIT_SWEEP)) == len(azure.of(contracts.CLOSE_SWEEP)) == 1
    assert azure.of(contracts.CLOSE_SWEEP)[0].stops_early
    assert azure.of(contracts.CANCEL_JOB) == []


def test_a_sweep_that_takes_all_its_time_has_one_bounded_history_and_is_then_ended() -> None:
    looks = [AT_WORK] * 300
    with stage(SweepDay(*looks)) as azure:
        azure.script(contracts.CANCEL_JOB, PlatformError("no answer"))  # asked again at the end
        outcome = _run(azure, limits={"deadline": "P5D", "ttl": "P6D"})
        lane = azure.history(f"{RUN}.t00")

    assert len(lane.events) < MOST_EVENTS
    assert _ended_before_its_cluster(azure)
    assert len(azure.of(contracts.CANCEL_JOB)) > 1 and outcome.teardown == "Clean"


def test_when_the_time_is_used_up_what_is_on_record_counts() -> None:
    class Ended(SweepDay):
        def cancel_job(self, _: Any) -> Wire:
            self._looks_at, self._look = (ENDED,), 0
            return contracts.Nothing()

    with stage(Ended(AT_WORK)) as azure:
        azure.script(contracts.READ_RESULTS, TrialResults(valid=2, missing=6))
        outcome = _run(azure)

    assert outcome.state is RetrainState.INCONCLUSIVE and "used up" in outcome.reason
    assert [each.job for each in azure.of(contracts.CANCEL_JOB)] == ["sweep-e1"]
    assert len(azure.of(contracts.CLOSE_SWEEP)) == 1


def test_cancelling_ends_the_sweep_and_only_then_its_cluster() -> None:
    day = SweepDay(AT_WORK)
    day._cancelled_in = "submit_sweep"
    with stage(day) as azure:
        outcome = _run(azure)

    assert outcome.state is RetrainState.CANCELLED
    assert _ended_before_its_cluster(azure)


@pytest.mark.parametrize(
    ("looks", "words", "sizes"),
    [
        ([QUEUED.model_copy(update={"message": "ClusterCoreQuotaReached"})], "ClusterCoreQuotaReached", 2),
        (
            [AT_WORK, AT_WORK.model_copy(update={"machine_lost": True, "message": "it is gone"})],
            "it is gone",
            1,
        ),
    ],
)
def test_without_nodes_or_cluster_the_sweep_is_ended_and_another_cluster_tried(
    looks: list[SweepLook], words: str, sizes: int
) -> None:
    with stage(SweepDay(*looks)) as azure:
        outcome = _run(azure)

    assert outcome.state is RetrainState.FAILED and words in outcome.reason
    assert _ended_before_its_cluster(azure)
    provisioned = azure.of(contracts.BEGIN_PROVISION)
    assert len(provisioned) > 1 and len({lease.offer.size for lease in provisioned}) == sizes


@pytest.mark.parametrize(
    "refused", ["submit", "look"], ids=["refused by Azure", "failed before its first trial"]
)
def test_a_search_that_cannot_be_is_the_run_s_failure_with_azure_s_words(refused: str) -> None:
    failed = SweepLook(state="Failed", is_over=True, message="the minimum of 'l2' is not below its maximum")
    error: AppError = PlatformError(failed.message, code="UserError")
    with stage(SweepDay(failed)) as azure:
        if refused == "submit":
            azure.script(contracts.SUBMIT_SWEEP, error)
        outcome = _run(azure)

    assert outcome.state is RetrainState.FAILED and "not below its maximum" in outcome.reason
    assert len(azure.of(contracts.BEGIN_PROVISION)) == 1


def test_a_sweep_that_azure_ended_leaves_what_was_done() -> None:
    stopped = ENDED.model_copy(update={"message": "Job timed out"})
    with stage(SweepDay(stopped)) as azure:
        azure.script(contracts.READ_RESULTS, TrialResults(valid=2, missing=6))
        outcome = _run(azure)

    assert outcome.state is RetrainState.INCONCLUSIVE and "Job timed out" in outcome.reason


def test_nothing_is_submitted_where_every_trial_has_its_record() -> None:
    with stage(SweepDay()) as azure:
        azure.script(contracts.WRITE_SWEEP, WrittenSweep())
        outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED and azure.of(contracts.SUBMIT_SWEEP) == []


def test_its_history_is_the_same_on_every_replay() -> None:
    with stage(SweepDay()) as azure:
        _run(azure)
        assert [replay_fault(each, every_turn=True) for each in histories_of(azure._hub)] == [None] * 3
