"""One model per unit as its orchestrators decide: all judged on one lease, and copied in pieces, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.errors import DeniedError, LeaseLost, SpecError
from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import JobLook, JobReport, JobState
from shared.domain.retrain import Registered, RetrainOutcome, RetrainState
from shared.domain.unit_steps import UnitsVerdict
from shared.domain.units import UnitsSummary
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.crash.histories import histories_of, replay_fault
from tests.durable.retraining_day import CHAMPION, RUN, Day, request
from tests.durable.stage import Stage, stage
from tests.durable.units_day import NEXT, UnitsDay, units_request

BOUGHT = (contracts.OPEN_LEASE, contracts.BEGIN_PROVISION)


def _run(azure: Stage, **changes: Any) -> RetrainOutcome:
    azure.run(contracts.RETRAIN, units_request(**changes), RUN)
    (outcome,) = azure.of(contracts.RECORD_RETRAINING)
    assert len(azure.of(contracts.CLOSE_LEASE)) == len(azure.of(contracts.OPEN_LEASE))
    assert outcome.teardown == "Clean"
    return outcome


def test_eleven_thousand_units_are_judged_and_registered_with_small_histories() -> None:
    day = UnitsDay(11_000)
    with stage(day) as azure:
        outcome = _run(azure)
        histories = list(histories_of(azure._hub))

    assert (outcome.state, outcome.registered) == (RetrainState.COMPLETED, "m:2")
    assert outcome.units is not None and outcome.units.promoted == 10_999 and outcome.challenger == ""
    assert day.judged == list(range(55))
    assert day.copied == list(range(11_000))
    assert max(len(history.events) for history in histories) < 1000
    assert max(history.largest_payload for history in histories) <= 16 * 1024
    assert [lease.nodes for lease in azure.of(contracts.BEGIN_PROVISION)] == [4, 4]
    for history in histories:
        assert replay_fault(history) is None


def test_on_a_machine_the_jobs_of_units_follow_each_other() -> None:
    day = UnitsDay(450, cluster=False)
    with stage(day) as azure:
        outcome = _run(azure, compute={"instances": 1})

    assert outcome.state is RetrainState.COMPLETED
    assert (day.judged, day.most_at_once) == ([0, 1, 2], 1)


def test_a_champion_that_cannot_be_compared_unit_by_unit_is_told_before_anything_is_bought() -> None:
    with stage(UnitsDay(4)) as azure:
        azure.script(contracts.CHECK_UNITS, SpecError("m:1 has its units by carrier"))
        outcome = _run(azure)

    assert outcome.state is RetrainState.FAILED and "by carrier" in outcome.reason
    assert azure.steps(*BOUGHT) == []


def test_one_model_for_all_does_not_challenge_a_model_per_unit() -> None:
    day = Day()
    with stage(day) as azure:
        azure.script(contracts.READ_MODEL, NEXT)
        azure.run(contracts.RETRAIN, request(), RUN)
        (outcome,) = azure.of(contracts.RECORD_RETRAINING)

    assert outcome.state is RetrainState.FAILED and "trials.unitColumn" in outcome.reason
    assert azure.steps(*BOUGHT, contracts.FREEZE_DATA) == []


@pytest.mark.parametrize("ruling", [Ruling.REJECTED, Ruling.INCONCLUSIVE])
def test_where_no_unit_has_a_better_model_nothing_is_registered(ruling: Ruling) -> None:
    with stage(UnitsDay(4)) as azure:
        verdict = Verdict(ruling=ruling, reason="no unit has a better model: 4 kept")
        azure.script(contracts.JUDGE_UNITS, UnitsVerdict(verdict=verdict, summary=UnitsSummary(kept=4)))
        outcome = _run(azure)

    assert outcome.state.value == ruling.value and "the champion stays" in outcome.reason
    assert outcome.units is not None and outcome.units.kept == 4
    assert azure.steps(contracts.CLAIM_UNITS_VERSION, contracts.COPY_UNITS, contracts.REGISTER_UNITS) == []


def test_a_title_that_went_elsewhere_meanwhile_is_told() -> None:
    with stage(UnitsDay(4)) as azure:
        azure.script(
            contracts.REGISTER_UNITS, Registered(model=NEXT, note="m:2 is registered and not promoted")
        )
        outcome = _run(azure)

    assert outcome.state is RetrainState.INCONCLUSIVE and "not promoted" in outcome.reason


def test_a_job_that_fails_leaves_its_units_as_they_are_and_says_so() -> None:
    crashed = JobReport(look=JobLook(state=JobState.FAILED, exit_code=1, message="out of memory"))
    done = Day().observe_job(None)
    with stage(UnitsDay(600)) as azure:
        azure.script(contracts.OBSERVE_JOB, *[done] * 4, crashed)
        outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED
    assert "not all were judged" in outcome.reason and "out of memory" in outcome.reason


def test_a_lost_cluster_is_followed_by_another() -> None:
    day = UnitsDay(600)
    with stage(day) as azure:
        azure.script(contracts.WRITE_UNIT_EVALUATION_JOB, LeaseLost("gone"))
        outcome = _run(azure)

    assert outcome.state is RetrainState.COMPLETED and len(azure.of(contracts.OPEN_LEASE)) == 3
    assert sorted(set(day.judged)) == [0, 1, 2]


@pytest.mark.parametrize(
    "step",
    [contracts.WRITE_UNIT_EVALUATION_JOB, contracts.JUDGE_UNITS, contracts.CLAIM_UNITS_VERSION,
     contracts.COPY_UNITS, contracts.REGISTER_UNITS],
    ids=lambda each: each.name,
)  # fmt: skip
def test_whatever_fails_is_told_and_everything_is_released(step: Step[Any, Any]) -> None:
    with stage(UnitsDay(4)) as azure:
        azure.script(step, DeniedError("storage said no"))
        outcome = _run(azure)

    assert outcome.state is RetrainState.FAILED and "storage said no" in outcome.reason
    assert outcome.champion == str(CHAMPION)
