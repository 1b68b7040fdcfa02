"""Sizes tried before green is made: one after the other, paid for and deleted, and green is what was recommended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.deploy import DeployOutcome, DeployState
from shared.domain.errors import CapacityError
from shared.domain.lease import TAG_DEADLINE, TAG_OWNER
from shared.domain.names import deployment_name, profile_deployment_name
from shared.domain.profiling import ProfileRecord
from shared.domain.serving import DeploymentState, TargetLook
from shared.domain.tending import TendRequest
from shared.durable import contracts
from tests.durable.serving_day import BLUE, RUN, ServingDay, end_of, on_stage
from tests.durable.stage import Stage

SMALL, LARGE = "Standard_F2s_v2", "Standard_F4s_v2"
TRIED = tuple(profile_deployment_name(RUN, number) for number in (1, 2))
GREEN = deployment_name(RUN)


def declared(**profile: Any) -> dict[str, Any]:
    """Two sizes, the cheaper one first, at one and at four requests at a time within 200 ms."""
    load = {"requests": 300, "concurrency": [1, 4], "p95": "PT0.2S"}
    return {
        "target": {"platform": "managed_endpoint", "endpoint": "flights-live", "compute": None},
        "resources": {"instanceType": "Standard_DS3_v2", "maxConcurrent": 4},
        "profile": {"instanceTypes": [SMALL, LARGE], "load": load, **profile},
    }


@pytest.fixture
def day() -> ServingDay:
    day = ServingDay()
    day.prices = {SMALL: 0.1, LARGE: 0.2}
    return day


@pytest.fixture
def azure(day: ServingDay) -> Iterator[Stage]:
    with on_stage(day) as made:
        yield made


def profiled(
    azure: Stage, day: ServingDay, *, profile: dict[str, Any] | None = None, **changes: Any
) -> tuple[DeployOutcome, ProfileRecord]:
    outcome = end_of(azure, day, **declared(**(profile or {})), **changes)
    (record,) = azure.of(contracts.RECORD_PROFILE)
    assert not [name for name in day.deployments if name in TRIED], "a candidate is left"
    assert not [name for each in day.maps for name in each if name in TRIED], "a candidate had traffic"
    return outcome, record


def sizes_of_green(azure: Stage) -> list[str | None]:
    plans = azure.of(contracts.BEGIN_DEPLOYMENT)
    return [plan.resources.instance_type for plan in plans if plan.name == GREEN]


def test_green_is_made_with_the_cheapest_size_that_passed_and_the_approval_binds_it(
    azure: Stage, day: ServingDay
) -> None:
    day.p95_at = {SMALL: 60.0, LARGE: 30.0}  # four at once: 240 ms and 120 ms
    day.answer = "approve"
    outcome, record = profiled(azure, day, approval={"required": True})

    assert outcome.state is DeployState.COMPLETED and sizes_of_green(azure) == [LARGE]
    assert record.recommendation.chosen == TRIED[1]
    assert [[(level.concurrency, level.ok) for level in each.levels] for each in record.tried] == [
        [(1, True), (4, False)], [(1, True), (4, True)],
    ]  # fmt: skip
    green = next(plan for plan in azure.of(contracts.BEGIN_DEPLOYMENT) if plan.name == GREEN)
    (asked,) = azure.of(contracts.ASK_APPROVAL)
    assert asked.environment == green.digest and any("(recommended)" in row for row in asked.rows)


def test_the_cheaper_of_two_that_pass_is_taken_and_both_were_paid_for(azure: Stage, day: ServingDay) -> None:
    outcome, record = profiled(azure, day)

    assert outcome.state is DeployState.COMPLETED and sizes_of_green(azure) == [SMALL]
    assert [each.usd > 0 for each in record.tried] == [True, True]
    assert len(outcome.charges) == 3 and outcome.usd == pytest.approx(sum(c.usd for c in outcome.charges))


def test_candidates_are_tried_one_after_the_other_each_owned_and_dated_when_it_is_created(
    azure: Stage, day: ServingDay
) -> None:
    profiled(azure, day)

    order = azure.steps(contracts.BEGIN_DEPLOYMENT, contracts.RUN_PROBE, contracts.RECORD_PROFILE)
    probes = ["run_probe"] * 3
    assert order[:9] == ["begin_deployment", *probes, "begin_deployment", *probes, "record_profile"]
    gone = [each.deployment for each in azure.of(contracts.BEGIN_DELETION)]
    assert list(dict.fromkeys(name for name in gone if name in TRIED)) == list(TRIED)
    for plan in azure.of(contracts.BEGIN_DEPLOYMENT)[:2]:
        tags = plan.tags("muster")
        assert tags[TAG_OWNER] == RUN and tags[TAG_DEADLINE] and plan.name != GREEN
        assert plan.deadline < azure.when(contracts.HOLD_ENDPOINT)[0] + timedelta(hours=1)


def test_a_size_that_is_not_to_be_had_or_does_not_start_is_a_row_and_not_the_end(
    azure: Stage, day: ServingDay
) -> None:
    day.states = {TRIED[0]: DeploymentState.FAILED}
    azure.script(contracts.CHECK_TARGET, TargetLook(ready=True), TargetLook(ready=True),
                 TargetLook(ready=False, reason="no quota"))  # fmt: skip
    sizes = [SMALL, LARGE, "Standard_DS2_v2"]
    outcome, record = profiled(azure, day, profile={"instanceTypes": sizes})

    assert outcome.state is DeployState.COMPLETED and sizes_of_green(azure) == ["Standard_DS2_v2"]
    small, large, third = (each.verdict for each in record.tried)
    assert small.startswith("not available: ImageBuildFailure") and large == "not available: no quota"
    assert third == "passed"


def test_where_none_passes_no_green_is_made_and_the_reason_names_each(azure: Stage, day: ServingDay) -> None:
    day.p95_at = {SMALL: 300.0, LARGE: 90.0}
    outcome, _ = profiled(azure, day)

    assert outcome.state is DeployState.FAILED and sizes_of_green(azure) == [] and day.maps == []
    assert all(
        told in outcome.reason for told in (SMALL, "failed at 1 at once", LARGE, "failed at 4 at once")
    )


def test_a_report_is_only_told(azure: Stage, day: ServingDay) -> None:
    day.p95_at = {SMALL: 300.0, LARGE: 300.0}
    outcome, _ = profiled(azure, day, profile={"use": "report"})

    assert outcome.state is DeployState.COMPLETED and sizes_of_green(azure) == ["Standard_DS3_v2"]
    assert any("no candidate passed" in line for line in outcome.steps)


def test_what_the_budget_does_not_pay_for_is_not_tried(azure: Stage, day: ServingDay) -> None:
    day.prices = {SMALL: 0.1, LARGE: 50.0, "Standard_DS3_v2": 0.1}
    outcome, record = profiled(azure, day, limits={"deadline": "PT6H", "budgetUsd": 5.0})

    assert outcome.state is DeployState.COMPLETED and "budget" in record.tried[1].reason
    assert TRIED[1] not in [plan.name for plan in azure.of(contracts.BEGIN_DEPLOYMENT)]


def test_what_was_spent_on_candidates_counts_against_green_s_budget(azure: Stage, day: ServingDay) -> None:
    day.prices = {
        SMALL: 0.82,
        LARGE: 0.83,
    }  # what is left of six hours costs 4.76, the other's eleven minutes 0.15
    day.states = {TRIED[1]: DeploymentState.CREATING}
    outcome, _ = profiled(azure, day, limits={"deadline": "PT6H", "budgetUsd": 4.85})

    assert outcome.state is DeployState.FAILED and "budget" in outcome.reason and sizes_of_green(azure) == []


def test_the_profile_s_own_deadline_bounds_it(azure: Stage, day: ServingDay) -> None:
    day.states = {TRIED[0]: DeploymentState.CREATING}  # for ever
    outcome, record = profiled(azure, day, profile={"deadline": "PT8M"})

    assert [each.reason.partition(" 2026")[0] for each in record.tried] == [
        "not ready by 2026-03-01T00:08:00+00:00".partition(" 2026")[0], "profile.deadline passed before it was tried",
    ]  # fmt: skip
    assert outcome.state is DeployState.FAILED


@pytest.mark.parametrize("stop", ["cancel", "rollback"])
@pytest.mark.parametrize("step", [contracts.OBSERVE_DEPLOYMENT, contracts.RUN_PROBE], ids=lambda s: s.name)
def test_a_run_that_is_stopped_leaves_no_candidate(
    azure: Stage, day: ServingDay, step: Any, stop: str
) -> None:
    day.stop, day.stop_in = stop, step.name
    outcome = end_of(azure, day, **declared())

    assert outcome.state is (DeployState.CANCELLED if stop == "cancel" else DeployState.ROLLED_BACK)
    assert day.deployments.keys() == {BLUE.name} and sizes_of_green(azure) == []
    assert outcome.usd > 0


def test_a_bug_in_a_test_leaves_no_candidate(azure: Stage, day: ServingDay) -> None:
    azure.script(contracts.RUN_PROBE, *[RuntimeError("a bug, every time")] * 3)
    assert end_of(azure, day, **declared()).state is DeployState.FAILED
    assert day.deployments.keys() == {BLUE.name}


def test_a_refused_creation_is_a_row(azure: Stage, day: ServingDay) -> None:
    azure.script(contracts.BEGIN_DEPLOYMENT, CapacityError("OutOfQuota: 8 cores, 4 are left"))
    outcome, record = profiled(azure, day)

    assert outcome.state is DeployState.COMPLETED and sizes_of_green(azure) == [LARGE]
    assert record.tried[0].verdict == "not available: OutOfQuota: 8 cores, 4 are left"


def test_a_candidate_of_a_run_that_died_is_deleted_by_upkeep(azure: Stage, day: ServingDay) -> None:
    """Killed between creation and deletion: the tags say whose it was, and no record names it."""
    day.record = day.record.model_copy(
        update={"holder": RUN, "epoch": 3, "is_saved": True, "last_good": {BLUE.name: 100}}
    )
    day.epoch, day.deployments[TRIED[0]] = 3, DeploymentState.READY
    for _ in range(14):
        azure._clock.advance(timedelta(minutes=1))
        azure.outcome(contracts.TEND_ENDPOINTS, TendRequest(owners_over=(RUN,)), "tend-endpoints")

    assert day.deployments.keys() == {BLUE.name} and day.record.holder is None
    assert day.traffic == {BLUE.name: 100} and day.record.live == BLUE
