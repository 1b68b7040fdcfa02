"""A machine is held for as long as its work lasts: taken on record, and surely given back."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.audit import digest, verify_chain
from shared.domain.errors import (
    AppError,
    Cancelled,
    CapacityError,
    ConflictError,
    DeniedError,
    LeaseLost,
    SpecError,
    TransientError,
    from_failure,
)
from shared.domain.lease import Machine, MachineState, Operation, OwnedResource, Remains
from shared.domain.scoring import BatchOutcome
from shared.durable import contracts
from shared.durable.contracts import Step
from shared.durable.leased import AFTER_REFUSAL_S, BOOT_DEADLINE, CONFIRM_AFTER_S
from tests.durable.night import BOOT_S, RUN, STOP_S, Night, batch
from tests.durable.stage import Stage, at_least

BATCH = f"{RUN}.b00"
NIC = OwnedResource(id="/x/vm-1-nic", type="Microsoft.Network/networkInterfaces")
CRASH = (RuntimeError("a bug"),) * 3  # as often as the SDK's retry asks again

RELEASE = (contracts.BEGIN_RELEASE, contracts.BEGIN_DELETE, contracts.CONFIRM_RELEASE, contracts.CLOSE_LEASE)


def _score(azure: Stage) -> BatchOutcome:
    return azure.outcome(contracts.SCORE_SHARDS, batch(), BATCH)


def _error(outcome: BatchOutcome) -> AppError:
    assert outcome.failure is not None
    return from_failure(outcome.failure)


def test_a_lease_is_on_record_before_anything_exists_and_closed_when_nothing_does(azure: Stage) -> None:
    outcome = _score(azure)

    assert outcome.failure is None
    assert azure.steps(contracts.OPEN_LEASE, contracts.BEGIN_PROVISION, contracts.SUBMIT_JOB, *RELEASE) == [
        "open_lease", "begin_provision", "submit_job", "begin_release", "begin_delete", "confirm_release",
        "close_lease",
    ]  # fmt: skip
    assert azure.of(contracts.CLOSE_LEASE)[0].remains == ()


def test_a_machine_is_charged_from_its_creating_request_until_it_was_seen_to_stop(azure: Stage) -> None:
    (charge,) = _score(azure).charges

    seen = azure.when(contracts.OBSERVE_RELEASE)[0]
    assert charge.since <= azure.when(contracts.OPEN_LEASE)[0]
    assert charge.until <= seen and at_least(BOOT_S + STOP_S, [charge.since, charge.until])
    hours = (charge.until - charge.since).total_seconds() / 3600
    assert charge.usd == pytest.approx(hours * charge.offer.price_usd_per_hour, abs=1e-6)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (contracts.BEGIN_PROVISION, DeniedError("no role")),
        (contracts.OBSERVE_MACHINE, ConflictError("not ours")),
        (contracts.WRITE_JOB, SpecError("no code")),
        (contracts.SUBMIT_JOB, DeniedError("no role")),
        (contracts.OBSERVE_JOB, SpecError("unreadable")),
    ],
    ids=lambda each: each.name if isinstance(each, Step) else "",
)
def test_a_machine_is_released_whatever_fails_on_it(
    azure: Stage, step: Step[Any, Any], error: AppError
) -> None:
    azure.script(step, error)

    assert type(_error(_score(azure))) is type(error)
    assert azure.steps(*RELEASE) == [each.name for each in RELEASE]


def test_a_machine_is_released_when_a_step_dies_of_a_bug(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_JOB, *CRASH)

    azure.run(contracts.SCORE_SHARDS, batch(), BATCH)

    assert azure.steps(*RELEASE) == [each.name for each in RELEASE]


def test_a_machine_whose_making_died_of_a_bug_may_be_there_and_is_released(azure: Stage) -> None:
    azure.script(contracts.BEGIN_PROVISION, *CRASH)

    azure.run(contracts.SCORE_SHARDS, batch(), BATCH)

    assert azure.steps(contracts.SUBMIT_JOB, *RELEASE) == [each.name for each in RELEASE]


def test_what_a_second_look_finds_is_deleted_too(azure: Stage) -> None:
    azure.script(contracts.CONFIRM_RELEASE, Remains(resources=(NIC,)), Remains())

    _score(azure)

    assert azure.steps(contracts.BEGIN_DELETE, contracts.CONFIRM_RELEASE) == [
        "begin_delete", "confirm_release", "begin_delete", "confirm_release",
    ]  # fmt: skip
    assert azure.of(contracts.CLOSE_LEASE)[0].remains == ()


def test_the_second_look_comes_half_a_minute_after_the_first(azure: Stage) -> None:
    _score(azure)

    looks = [azure.when(contracts.OBSERVE_RELEASE)[-1], azure.when(contracts.CONFIRM_RELEASE)[0]]
    assert at_least(CONFIRM_AFTER_S, looks)


def test_a_look_that_was_refused_is_not_taken_for_gone(azure: Stage) -> None:
    azure.script(contracts.CONFIRM_RELEASE, DeniedError("no role"))

    _score(azure)

    assert azure.steps(contracts.CONFIRM_RELEASE) == ["confirm_release", "confirm_release"]


def test_a_machine_that_cannot_be_seen_is_not_taken_for_stopped(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_RELEASE, DeniedError("no role"))

    (charge,) = _score(azure).charges

    refused, seen = azure.when(contracts.OBSERVE_RELEASE)[:2]
    assert refused < charge.until <= seen


def test_a_release_that_is_refused_is_looked_at_and_goes_on(azure: Stage) -> None:
    azure.script(contracts.BEGIN_RELEASE, ConflictError("busy"))
    azure.script(contracts.BEGIN_DELETE, ConflictError("busy"), ConflictError("busy"))

    outcome = _score(azure)

    assert outcome.failure is None and outcome.remains == ()
    assert at_least(
        AFTER_REFUSAL_S, [azure.when(contracts.BEGIN_RELEASE)[0], azure.when(contracts.BEGIN_DELETE)[0]]
    )


def test_what_cannot_be_taken_away_is_named_and_does_not_change_the_result(azure: Stage) -> None:
    azure.script(contracts.CONFIRM_RELEASE, *[Remains(resources=(NIC,))] * 50)

    outcome = _score(azure)

    assert outcome.failure is None
    assert outcome.remains == azure.of(contracts.CLOSE_LEASE)[0].remains == (NIC.id,)


def test_a_machine_that_never_boots_is_given_up_released_and_replaced(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_MACHINE, *[Machine(state=MachineState.STARTING, poll_after_s=150)] * 40)

    outcome = _score(azure)

    assert isinstance(_error(outcome), LeaseLost)
    assert [lease.epoch for lease in azure.of(contracts.BEGIN_PROVISION)] == [1, 2]
    assert [closing.lease.epoch for closing in azure.of(contracts.CLOSE_LEASE)] == [1, 2]
    waited = azure.when(contracts.BEGIN_RELEASE)[0] - azure.when(contracts.BEGIN_PROVISION)[0]
    assert BOOT_DEADLINE <= waited < 1.2 * BOOT_DEADLINE


def test_a_carcass_is_gone_before_the_next_machine_is_asked_for(azure: Stage) -> None:
    azure.script(contracts.OBSERVE_MACHINE, CapacityError("AllocationFailed"))

    outcome = _score(azure)

    assert outcome.failure is None and len(outcome.setbacks) == 1
    assert azure.steps(contracts.BEGIN_PROVISION, *RELEASE) == 2 * [
        "begin_provision", *(each.name for each in RELEASE),
    ]  # fmt: skip


def test_nothing_is_asked_before_azure_said_it_may_be(azure: Stage) -> None:
    azure.script(contracts.BEGIN_PROVISION, TransientError("429", retry_after_s=600))

    _score(azure)

    assert at_least(600, azure.when(contracts.BEGIN_PROVISION))


def test_a_cancelled_run_asks_nothing_of_its_machine_before_the_look_it_was_told(azure: Stage) -> None:
    azure.script(contracts.BEGIN_PROVISION, Operation(poll_after_s=300.0))
    azure.cancel_while(contracts.BEGIN_PROVISION, BATCH)

    assert isinstance(_error(_score(azure)), Cancelled)
    assert azure.steps(contracts.OBSERVE_MACHINE, contracts.SUBMIT_JOB) == []
    assert at_least(300, [azure.when(contracts.BEGIN_PROVISION)[0], azure.when(contracts.BEGIN_RELEASE)[0]])


def test_a_cancelled_job_is_asked_to_end_before_its_machine_goes(azure: Stage) -> None:
    azure.cancel_while(contracts.SUBMIT_JOB, BATCH)

    assert isinstance(_error(_score(azure)), Cancelled)
    assert azure.steps(contracts.CANCEL_JOB, contracts.OBSERVE_JOB, *RELEASE) == [
        "cancel_job", *(each.name for each in RELEASE),
    ]  # fmt: skip


def test_every_record_of_a_lease_follows_the_one_before(azure: Stage, night: Night) -> None:
    outcome = _score(azure)

    assert len(night.audit) == 4
    assert verify_chain(night.audit) == []
    assert outcome.audit_head == digest(night.audit[-1])
