"""A retraining as decided by its orchestrators: what is bought, who is promoted, and that every machine goes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from localdev.runner.hub import Status
from shared.domain.errors import (
    AppError,
    CapacityError,
    ConflictError,
    DeniedError,
    LeaseLost,
    NotFoundError,
    SpecError,
    TransientError,
)
from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import BlobRef, JobGlance, JobLook, JobReport, JobsReport, JobState
from shared.domain.offers import Headroom, HeadroomReport
from shared.domain.retrain import FrozenData, Registered, RetrainOutcome, RetrainState, TrialResults
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.crash.histories import History, histories_of
from tests.durable.night import OFFERS
from tests.durable.retraining_day import CHALLENGER, RUN, Day, request
from tests.durable.stage import Stage, stage

BOUGHT = (contracts.OPEN_LEASE, contracts.BEGIN_PROVISION)
ENDING = (contracts.REGISTER_MODEL, contracts.RECORD_COST, contracts.RECORD_RETRAINING)
LANE, CHUNK, EVALUATION = f"{RUN}.t00", f"{RUN}.t00-e1-00000", f"{RUN}.eval"


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.fixture
def azure(day: Day) -> Iterator[Stage]:
    with stage(day) as made:
        yield made


def _run(azure: Stage, **changes: Any) -> RetrainOutcome:
    """What the run put on record as its end. Whatever it was: what was leased is released."""
    azure.run(contracts.RETRAIN, request(**changes), RUN)
    (outcome,) = azure.of(contracts.RECORD_RETRAINING)
    assert len(azure.of(contracts.CLOSE_LEASE)) == len(azure.of(contracts.OPEN_LEASE))
    assert outcome.teardown == "Clean" and outcome.ended is not None
    return outcome


def test_a_better_challenger_is_registered_and_promoted(azure: Stage) -> None:
    outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED
    assert (outcome.champion, outcome.challenger, outcome.registered) == ("m:1", "t003", "m:2")
    assert outcome.deployment and outcome.usd > 0 and outcome.cause == "e" * 32
    assert azure.steps(*ENDING) == ["register_model", "record_cost", "record_retraining"]


def test_a_cluster_is_held_once_for_all_trials_and_once_to_judge_them(azure: Stage, day: Day) -> None:
    _run(azure)

    assert [(lease.nodes, lease.epoch) for lease in azure.of(contracts.BEGIN_PROVISION)] == [(4, 1), (1, 1)]
    assert len(day.trained) == len(set(day.trained)) == 8


@pytest.mark.parametrize(("cluster", "at_once", "leases"), [(True, 3, 2), (False, 1, 4)])
def test_no_more_trials_run_at_once_than_declared(cluster: bool, at_once: int, leases: int) -> None:
    day = Day(cluster=cluster, looks=2)
    with stage(day) as azure:
        _run(azure, trials={"concurrency": 3})

    assert day.most_at_once == at_once
    assert len(azure.of(contracts.OPEN_LEASE)) == leases  # on machines: three lanes and one that judges
    assert len(set(day.trained)) == 8


@pytest.mark.parametrize(
    ("ruling", "state"),
    [(Ruling.REJECTED, RetrainState.REJECTED), (Ruling.INCONCLUSIVE, RetrainState.INCONCLUSIVE)],
)
def test_who_is_not_proved_better_is_not_registered(
    azure: Stage, ruling: Ruling, state: RetrainState
) -> None:
    azure.script(contracts.JUDGE_MODELS, Verdict(ruling=ruling, reason="slice: UA lost 0.05"))

    outcome = _run(azure)

    assert outcome.state is state and "slice: UA lost 0.05" in outcome.reason and not outcome.registered
    assert azure.steps(*ENDING) == ["record_cost", "record_retraining"]


def test_a_title_that_went_elsewhere_meanwhile_is_told(azure: Stage) -> None:
    azure.script(
        contracts.REGISTER_MODEL, Registered(model=CHALLENGER, note="m:2 is registered and not promoted")
    )

    outcome = _run(azure)

    assert outcome.state is RetrainState.INCONCLUSIVE and "not promoted" in outcome.reason


def test_too_few_valid_trials_leave_the_champion_and_nothing_is_judged(azure: Stage) -> None:
    azure.script(contracts.READ_RESULTS, TrialResults(valid=4, failed=3, missing=1))

    outcome = _run(azure)

    assert outcome.state is RetrainState.INCONCLUSIVE
    assert "4 of 8" in outcome.reason and (outcome.trials_valid, outcome.trials_failed) == (4, 4)
    assert azure.of(contracts.WRITE_EVALUATION_JOB) == []


def test_too_little_new_data_is_deferred_at_no_cost(azure: Stage) -> None:
    azure.script(
        contracts.FREEZE_DATA, FrozenData(manifest=BlobRef(container="muster", blob="data.json"), new_blobs=3)
    )

    outcome = _run(azure, data={"minNewBlobs": 7})

    assert outcome.state is RetrainState.DEFERRED and "3 blobs" in outcome.reason
    assert azure.steps(*BOUGHT) == []


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (contracts.FREEZE_DATA, SpecError("distance is string, was double")),
        (contracts.PLAN_TRIALS, SpecError("training.code is not in the deployed app")),
        (contracts.CHECK_HEADROOM, ConflictError("no workspace")),
        (contracts.READ_MODEL, NotFoundError("no such container", code="ContainerNotFound")),
    ],
    ids=lambda each: each.name if isinstance(each, Step) else "",
)
def test_what_is_wrong_with_data_code_or_workspace_costs_nothing(
    azure: Stage, step: Step[Any, Any], error: AppError
) -> None:
    azure.script(step, error)

    outcome = _run(azure)

    assert outcome.state is RetrainState.FAILED and str(error) in outcome.reason
    assert azure.steps(*BOUGHT) == [] and outcome.usd == 0


def test_where_no_offer_has_room_nothing_is_bought(azure: Stage) -> None:
    full = tuple(Headroom(offer=offer, available=False, reason="limit 0") for offer in OFFERS)
    azure.script(contracts.CHECK_HEADROOM, HeadroomReport(looks=full, shares_machine=True))

    assert "no offer has room" in _run(azure).reason
    assert azure.steps(*BOUGHT) == []


def test_a_failed_run_is_failed_in_the_portal_too(azure: Stage) -> None:
    azure.script(contracts.FREEZE_DATA, SpecError("distance is missing"))

    ended = azure.run(contracts.RETRAIN, request(), RUN)

    assert ended.status is Status.FAILED and ended.failure is not None
    assert "distance is missing" in ended.failure.errorMessage


def test_the_first_model_of_all_is_judged_without_a_champion(azure: Stage) -> None:
    azure.script(contracts.READ_MODEL, NotFoundError("no champion", code="NoChampion"))

    outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED and outcome.champion == ""
    assert [each.champion for each in azure.of(contracts.JUDGE_MODELS)] == [None]


def test_a_cluster_that_cannot_be_had_is_replaced_by_the_next_offer(azure: Stage) -> None:
    azure.script(contracts.BEGIN_PROVISION, CapacityError("SkuNotAvailable"))

    assert _run(azure).state is RetrainState.COMPLETED
    assert [lease.offer for lease in azure.of(contracts.BEGIN_PROVISION)][:2] == list(OFFERS)


def test_a_cluster_that_is_lost_is_replaced_and_trials_with_a_record_stay(azure: Stage, day: Day) -> None:
    azure.script(contracts.OBSERVE_JOBS, LeaseLost("the cluster is gone"))

    assert _run(azure).state is RetrainState.COMPLETED
    assert [lease.epoch for lease in azure.of(contracts.BEGIN_PROVISION)] == [1, 2, 1]
    assert Counter(job.split("-")[1] for job in day.trained) == {"e1r1": 4, "e2r1": 8}


def test_a_trial_whose_node_was_taken_away_is_submitted_again(azure: Stage, day: Day) -> None:
    taken = JobReport(look=JobLook(state=JobState.FAILED, preempted=True))
    azure.script(contracts.OBSERVE_JOB, taken)

    assert _run(azure).state is RetrainState.COMPLETED
    again = [job for job in day.trained if job.endswith("r2")]
    assert len(again) == 1 and again[0].replace("r2", "r1") in day.trained


def test_a_job_that_failed_hides_no_other_and_is_not_tried_again(azure: Stage, day: Day) -> None:
    azure.script(contracts.OBSERVE_JOB, JobReport(look=JobLook(state=JobState.FAILED, exit_code=1)))

    assert _run(azure).state is RetrainState.COMPLETED
    assert len(day.trained) == 8


def test_a_trial_whose_agent_is_silent_is_cut_and_the_others_go_on(day: Day) -> None:
    """It is seen at work, and never ends: our own deadline cuts it, not Azure's."""
    with stage(_Hanging("t0002")) as azure:
        outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED
    assert [query.job for query in azure.of(contracts.CANCEL_JOB)] == ["t0002-e1r1"]


class _Hanging(Day):
    """One trial runs for ever."""

    def __init__(self, trial: str) -> None:
        super().__init__()
        self._trial = trial

    def observe_jobs(self, payload: Any) -> Any:
        report = super().observe_jobs(payload)
        assert isinstance(report, JobsReport)
        jobs = tuple(
            JobGlance(id=job.id, state=JobState.RUNNING) if job.id.startswith(self._trial) else job
            for job in report.jobs
        )
        return report.model_copy(update={"jobs": jobs})


def test_the_deadline_ends_the_training_and_what_is_there_is_judged() -> None:
    """One trial takes ten minutes and there is an hour: those that are over in time count."""
    day = Day(trials=30, looks=20)
    with stage(day) as azure:
        outcome = _run(
            azure, trials={"count": 30, "concurrency": 2, "minValid": 1}, compute={"instances": 2},
            limits={"deadline": "PT1H", "ttl": "PT2H"},
        )  # fmt: skip

    assert 2 <= len(set(day.trained)) < 30
    assert outcome.state is RetrainState.COMPLETED
    assert outcome.started is not None and outcome.ended is not None
    assert (outcome.ended - outcome.started).total_seconds() <= 3600 + 600


def test_the_budget_ends_the_training_before_it_is_passed() -> None:
    """Two nodes at 0.10 an hour: 0.30 is over long before 60 trials are."""
    day = Day(trials=60, looks=20)
    with stage(day) as azure:
        outcome = _run(
            azure, trials={"count": 60, "concurrency": 2, "minValid": 1}, compute={"instances": 2},
            limits={"budgetUsd": 0.30, "deadline": "PT20H", "ttl": "PT24H"},
        )  # fmt: skip

    assert 0 < len(set(day.trained)) < 60
    assert 0.05 < outcome.usd <= 0.30


@pytest.mark.parametrize(
    ("step", "instance"),
    [
        (contracts.BEGIN_PROVISION, LANE),
        (contracts.OBSERVE_MACHINE, LANE),
        (contracts.SUBMIT_JOB, CHUNK),
        (contracts.OBSERVE_JOBS, CHUNK),
        (contracts.WRITE_EVALUATION_JOB, EVALUATION),
    ],
    ids=lambda each: each.name if isinstance(each, Step) else str(each).removeprefix(RUN),
)
def test_a_cancelled_run_ends_cancelled_wherever_it_waits(step: Step[Any, Any], instance: str) -> None:
    with stage(Day(looks=3, cancelled_in=step.name)) as azure:
        azure.cancel_while(step, instance)
        outcome = _run(azure)

    assert outcome.state is RetrainState.CANCELLED
    assert azure.of(contracts.REGISTER_MODEL) == []


def test_a_cancellation_on_record_is_seen_at_the_next_look(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOBS, JobsReport(jobs=(), cancel_requested=True))

    assert _run(azure).state is RetrainState.CANCELLED
    assert len(azure.of(contracts.CANCEL_JOB)) == 4


@pytest.mark.parametrize(
    "step",
    [contracts.WRITE_TRAIN_JOB, contracts.OBSERVE_JOBS, contracts.READ_RESULTS, contracts.JUDGE_MODELS,
     contracts.WRITE_EVALUATION_JOB, contracts.REGISTER_MODEL],
    ids=lambda each: each.name,
)  # fmt: skip
def test_whatever_fails_is_told_and_everything_is_released(azure: Stage, step: Step[Any, Any]) -> None:
    azure.script(step, DeniedError("storage said no"))

    outcome = _run(azure)
    assert outcome.state is RetrainState.FAILED and "storage said no" in outcome.reason


def test_what_azure_asks_to_wait_for_is_waited_for(azure: Stage) -> None:
    azure.script(contracts.SUBMIT_JOB, TransientError("429", retry_after_s=30))

    assert _run(azure).state is RetrainState.COMPLETED


def test_no_history_grows_with_the_number_of_trials() -> None:
    """A chunk's history is bounded by its jobs; a lane's grows by a handful of events for each 20 jobs."""
    most: dict[int, dict[str, int]] = {}
    for trials in (20, 40):
        day = Day(trials=trials)
        with stage(day) as azure:
            outcome = _run(azure, trials={"count": trials})
            histories = list(histories_of(azure._hub))
        assert outcome.state is RetrainState.COMPLETED and len(set(day.trained)) == trials
        assert max(history.largest_payload for history in histories) <= 16 * 1024
        most[trials] = _longest_by_name(histories)

    assert most[40]["train_chunk"] <= most[20]["train_chunk"] < 1000
    assert most[40]["retrain"] == most[20]["retrain"]
    per_chunk = most[40]["train_trials"] - most[20]["train_trials"]
    assert most[40]["train_trials"] + 50 * per_chunk < 1000  # a thousand trials


def _longest_by_name(histories: list[History]) -> dict[str, int]:
    longest: dict[str, int] = {}
    for history in histories:
        longest[history.name] = max(longest.get(history.name, 0), len(history.events))
    return longest


def test_long_trials_one_after_the_other_keep_every_history_small() -> None:
    """On one machine, each trial hours long: the looks, not the trials, make a history grow."""
    day = Day(trials=2, cluster=False, looks=60)
    with stage(day) as azure:
        _run(
            azure, trials={"count": 2, "concurrency": 1, "timeout": "PT6H", "minValid": 1}, compute={"instances": 1},
            limits={"deadline": "P6D", "ttl": "P7D"},
        )  # fmt: skip
        histories = list(histories_of(azure._hub))

    assert len(set(day.trained)) == 2
    assert len(azure.of(contracts.OBSERVE_JOBS)) > 100
    assert max(len(history.events) for history in histories) < 2000
