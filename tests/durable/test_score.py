"""A scoring run as decided by its orchestrators: what is bought, what is published, and what is told in the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localdev.runner.hub import Status
from shared.domain.audit import digest, seal
from shared.domain.errors import CapacityError, JobFailed, SpecError, TransientError
from shared.domain.jobs import JobLook, JobReport, JobState, Progress
from shared.domain.offers import Headroom, HeadroomReport
from shared.domain.scoring import RunOutcome, RunState
from shared.durable import contracts
from shared.durable.flow import MAX_TRANSIENT_TRIES
from tests.durable.night import DONE, OFFERS, RUN, RUNNING, Night, batch, request
from tests.durable.stage import Stage, at_least, stage

BATCH = f"{RUN}.b00"
BOUGHT = (contracts.OPEN_LEASE, contracts.BEGIN_PROVISION)
ENDING = (contracts.PUBLISH_SCORES, contracts.DISCARD_SCORES, contracts.RECORD_COST, contracts.RECORD_OUTCOME)


@pytest.fixture
def two_machines() -> Iterator[Stage]:
    with stage(Night(machines=2)) as made:
        yield made


def _run(azure: Stage, **changes: object) -> RunOutcome:
    """What the run put on record as its end."""
    azure.run(contracts.SCORE_BATCH, request(**changes), RUN)
    (outcome,) = azure.of(contracts.RECORD_OUTCOME)
    return outcome


def test_a_run_that_goes_well_publishes_once_and_is_recorded(azure: Stage) -> None:
    assert _run(azure).state is RunState.COMPLETED
    assert azure.steps(*ENDING) == ["publish_scores", "record_cost", "record_outcome"]


def test_a_failed_run_takes_back_what_it_wrote_and_publishes_nothing(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOB, JobReport(look=JobLook(state=JobState.FAILED, exit_code=3)))

    outcome = _run(azure)

    assert outcome.state is RunState.FAILED and "exit code 3" in outcome.reason
    assert azure.steps(*ENDING) == ["discard_scores", "record_cost", "record_outcome"]
    assert outcome.usd > 0


def test_a_run_that_may_not_be_published_takes_back_what_it_wrote(azure: Stage) -> None:
    azure.script(contracts.PUBLISH_SCORES, JobFailed("the scores do not cover the inputs"))

    assert _run(azure).state is RunState.FAILED
    assert azure.steps(*ENDING) == ["publish_scores", "discard_scores", "record_cost", "record_outcome"]


def test_a_failed_run_is_failed_in_the_portal_too(azure: Stage) -> None:
    azure.script(contracts.READ_MODEL, SpecError("no such model"))

    ended = azure.run(contracts.SCORE_BATCH, request(), RUN)

    assert ended.status is Status.FAILED and ended.failure is not None
    assert "no such model" in ended.failure.errorMessage


def test_where_no_offer_has_room_nothing_is_bought(azure: Stage) -> None:
    full = tuple(
        Headroom(offer=offer, available=False, reason="limit 0, used 0, needed 2") for offer in OFFERS
    )
    azure.script(contracts.CHECK_HEADROOM, HeadroomReport(looks=full))

    outcome = _run(azure)

    assert outcome.state is RunState.FAILED and "no offer has room" in outcome.reason
    assert azure.steps(*BOUGHT) == []


def test_an_offer_without_room_is_not_asked_for(azure: Stage) -> None:
    looks = (Headroom(offer=OFFERS[0], available=False), Headroom(offer=OFFERS[1], available=True))
    azure.script(contracts.CHECK_HEADROOM, HeadroomReport(looks=looks))

    assert _run(azure).state is RunState.COMPLETED
    assert [lease.offer for lease in azure.of(contracts.BEGIN_PROVISION)] == [OFFERS[1]]


def test_what_could_cost_more_than_the_budget_is_not_bought(azure: Stage) -> None:
    """Three hours of the cheapest offer are 0.30 USD."""
    outcome = _run(azure, limits={"budgetUsd": 0.29})

    assert outcome.state is RunState.FAILED and "budget" in outcome.reason
    assert azure.steps(*BOUGHT) == []


def test_only_what_fits_the_budget_is_tried(azure: Stage) -> None:
    azure.script(contracts.BEGIN_PROVISION, CapacityError("SkuNotAvailable"))

    assert _run(azure, limits={"budgetUsd": 0.30}).state is RunState.FAILED
    assert [lease.offer for lease in azure.of(contracts.BEGIN_PROVISION)] == [OFFERS[0]]


def test_one_batch_that_fails_leaves_the_other_s_bill_and_release_as_they_are(two_machines: Stage) -> None:
    two_machines.script(contracts.OBSERVE_JOB, SpecError("unreadable"))

    outcome = _run(two_machines)

    assert outcome.state is RunState.FAILED and "unreadable" in outcome.reason
    assert len(outcome.charges) == len(two_machines.of(contracts.CLOSE_LEASE)) == 2


def test_one_batch_that_dies_of_a_bug_hides_no_other(two_machines: Stage) -> None:
    two_machines.script(contracts.WRITE_JOB, *(RuntimeError("a bug") for _ in range(5)))

    outcome = _run(two_machines)

    assert outcome.state is RunState.FAILED and "score_shards died" in outcome.reason
    assert len(outcome.charges) == 1
    assert len(two_machines.of(contracts.CLOSE_LEASE)) == 2


def test_a_machine_that_is_lost_is_replaced_by_one_of_a_new_epoch(azure: Stage) -> None:
    lost = JobReport(look=JobLook(state=JobState.RUNNING, machine_lost=True))
    azure.script(contracts.OBSERVE_JOB, lost)

    assert _run(azure).state is RunState.COMPLETED
    assert [lease.epoch for lease in azure.of(contracts.BEGIN_PROVISION)] == [1, 2]
    assert [job.epoch for job in azure.of(contracts.WRITE_JOB)] == [1, 2]


def test_a_cancelled_run_ends_cancelled_and_takes_back_what_it_wrote(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOB, RUNNING, RUNNING.model_copy(update={"cancel_requested": True}))

    assert _run(azure).state is RunState.CANCELLED
    assert azure.steps(*ENDING) == ["discard_scores", "record_cost", "record_outcome"]
    assert len(azure.of(contracts.CANCEL_JOB)) == 1


def test_a_job_is_not_waited_for_beyond_its_deadline(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOB, *[RUNNING] * 200, DONE)

    outcome = _run(azure, limits={"deadline": "PT20M"})

    assert outcome.state is RunState.FAILED and "limits.deadline" in outcome.reason


def test_a_job_that_ended_well_with_shards_left_has_failed(azure: Stage) -> None:
    short = Progress(state="succeeded", shards_total=2, shards_done=1)
    azure.script(contracts.OBSERVE_JOB, DONE.model_copy(update={"progress": short}))

    assert _run(azure).state is RunState.FAILED


def test_what_azure_never_stops_refusing_is_given_up_after_eight_times(azure: Stage) -> None:
    azure.script(contracts.READ_MODEL, *[TransientError("503", retry_after_s=30)] * 20)

    outcome = _run(azure)

    assert outcome.state is RunState.FAILED and "TransientError" in outcome.reason
    asked = azure.when(contracts.READ_MODEL)
    assert len(asked) == MAX_TRANSIENT_TRIES and at_least(30 * (MAX_TRANSIENT_TRIES - 1), asked)


def test_a_step_whose_worker_died_is_asked_again(azure: Stage) -> None:
    azure.script(contracts.READ_MODEL, RuntimeError("the worker died"))

    assert _run(azure).state is RunState.COMPLETED


def test_the_outcome_names_the_head_of_the_run_s_own_chain(azure: Stage) -> None:
    outcome = _run(azure)

    entries = [entry for entry in azure.of(contracts.AUDIT) if entry.chain == RUN]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert outcome.audit_head == digest(seal(entries[-1]))


def test_only_one_machine_is_held_for_a_batch_at_any_time(azure: Stage) -> None:
    lost = JobReport(look=JobLook(state=JobState.RUNNING, machine_lost=True))
    azure.script(contracts.OBSERVE_JOB, lost)

    azure.run(contracts.SCORE_SHARDS, batch(), BATCH)

    assert azure.steps(contracts.OPEN_LEASE, contracts.CLOSE_LEASE) == 2 * ["open_lease", "close_lease"]
