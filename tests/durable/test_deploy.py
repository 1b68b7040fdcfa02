"""A deployment as decided by its orchestrator: who gets traffic, and that whatever goes wrong leaves blue as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from localdev.runner.hub import Status
from shared.domain.deploy import DeployState, ProbeKind
from shared.domain.errors import AppError, CapacityError, ConflictError, NotFoundError, TransientError
from shared.domain.judging import Observation
from shared.domain.serving import DeploymentState, TargetLook, TrafficChange
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.durable.serving_day import BLUE, RUN, ServingDay, end_of, on_stage, request
from tests.durable.stage import Stage

GREEN = request().green
STEPS = [{BLUE.name: 100 - n, GREEN: n} for n in (5, 50)] + [{GREEN: 100}]


@pytest.fixture
def day() -> ServingDay:
    return ServingDay()


@pytest.fixture
def azure(day: ServingDay) -> Iterator[Stage]:
    with on_stage(day) as made:
        yield made


def test_a_good_model_takes_over_step_by_step(azure: Stage, day: ServingDay) -> None:
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.COMPLETED and day.maps == STEPS
    assert (outcome.live, outcome.previous) == (f"{GREEN}@m:2", str(BLUE))
    assert day.record.live and day.record.live.name == GREEN and day.record.previous == BLUE
    assert day.record.hold_until and day.record.hold_until - day.now() > timedelta(hours=23)
    assert outcome.usd > 0 and outcome.scoring_uri and outcome.weights == {GREEN: 100}
    assert [kind.kind for kind in azure.of(contracts.RUN_PROBE)] == list(ProbeKind)


def test_the_last_good_map_is_on_record_before_anything_is_shifted(azure: Stage, day: ServingDay) -> None:
    end_of(azure, day)

    order = azure.steps(contracts.HOLD_ENDPOINT, contracts.SAVE_LAST_GOOD, contracts.BEGIN_DEPLOYMENT,
                        contracts.RUN_PROBE, contracts.SET_TRAFFIC, contracts.COMMIT_ROLLOUT)  # fmt: skip
    assert order == [
        "hold_endpoint", "save_last_good", "begin_deployment", *["run_probe"] * 3, *["set_traffic"] * 3, "commit_rollout",
    ]  # fmt: skip
    assert azure.of(contracts.SAVE_LAST_GOOD)[0].weights == {BLUE.name: 100}
    assert {change.epoch for change in azure.of(contracts.SET_TRAFFIC)} == {day.record.epoch} == {1}


def test_errors_in_the_first_step_bring_blue_back_within_one_look(azure: Stage, day: ServingDay) -> None:
    day.errors_at = {5: 0.03}
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.ROLLED_BACK and "5xx" in outcome.reason
    assert day.maps == [STEPS[0], {BLUE.name: 100}]
    shifted, restored = azure.when(contracts.SET_TRAFFIC)
    assert restored - shifted < timedelta(minutes=2)
    assert [each.deployment.name for each in day.record.kept] == [GREEN]  # for debugging, without traffic


def test_a_model_that_goes_bad_later_is_taken_back_from_there(azure: Stage, day: ServingDay) -> None:
    day.errors_at = {50: 0.2}
    assert end_of(azure, day).state is DeployState.ROLLED_BACK
    assert day.maps == [*STEPS[:2], {BLUE.name: 100}]


def test_nothing_is_promoted_on_silence_unless_a_person_says_so(azure: Stage, day: ServingDay) -> None:
    day.silent = True
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.ROLLED_BACK and day.maps == [STEPS[0], {BLUE.name: 100}]
    (asked,) = azure.of(contracts.ASK_APPROVAL)
    assert (asked.number, asked.step, asked.deployment) == (1, 1, GREEN)


@pytest.mark.parametrize(
    ("answer", "state"), [("approve", DeployState.COMPLETED), ("reject", DeployState.REJECTED)]
)
def test_a_person_decides_what_the_judge_cannot(
    azure: Stage, day: ServingDay, answer: Any, state: DeployState
) -> None:
    day.silent, day.answer = True, answer
    assert end_of(azure, day).state is state


def test_a_green_that_fails_never_gets_traffic_and_is_removed(azure: Stage, day: ServingDay) -> None:
    day.green_state = DeploymentState.FAILED
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.FAILED and day.maps == []
    assert "ImageBuildFailure" in outcome.reason and "no such package" in outcome.reason and outcome.remedy


def test_a_green_that_is_never_ready_is_cut_at_the_stage_deadline(azure: Stage, day: ServingDay) -> None:
    day.green_state = DeploymentState.CREATING
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.FAILED and "not ready by" in outcome.reason and day.maps == []
    looks = azure.when(contracts.OBSERVE_DEPLOYMENT)
    assert timedelta(minutes=8) < looks[-1] - looks[0] < timedelta(minutes=12) and len(looks) < 30


@pytest.mark.parametrize("kind", list(ProbeKind))
def test_a_green_that_fails_a_test_never_gets_traffic(azure: Stage, day: ServingDay, kind: ProbeKind) -> None:
    day.failing_probe = kind
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.FAILED and f"{kind} test" in outcome.reason and day.maps == []


def test_an_absent_approver_means_no(azure: Stage, day: ServingDay) -> None:
    outcome = end_of(azure, day, approval={"required": True, "timeout": "PT2H"})

    assert outcome.state is DeployState.REJECTED and "nobody approved" in outcome.reason and day.maps == []
    assert outcome.usd == pytest.approx(0.2 * 2, rel=0.1)  # green waited too, and then went


@pytest.mark.parametrize(
    ("answer", "state"), [("approve", DeployState.COMPLETED), ("reject", DeployState.REJECTED)]
)
def test_an_approver_is_heard_and_named(
    azure: Stage, day: ServingDay, answer: Any, state: DeployState
) -> None:
    day.answer = answer
    outcome = end_of(azure, day, approval={"required": True})

    assert outcome.state is state and bool(day.maps) == (answer == "approve")
    assert "bob" in {entry.who for entry in azure.of(contracts.AUDIT)}


def test_the_first_deployment_of_an_endpoint_needs_a_person_whatever_policy_says() -> None:
    day = ServingDay(live=False)
    with on_stage(day) as azure:
        assert end_of(azure, day).state is DeployState.REJECTED and day.maps == []


@pytest.mark.parametrize("errors", [0.0, 0.5])
def test_a_first_deployment_takes_all_or_is_taken_away(errors: float) -> None:
    day = ServingDay(live=False)
    day.answer, day.errors_at = "approve", {100: errors}
    with on_stage(day) as azure:
        outcome = end_of(azure, day)

    assert outcome.state is (DeployState.ROLLED_BACK if errors else DeployState.COMPLETED)
    assert day.maps == ([{GREEN: 100}, {}] if errors else [{GREEN: 100}])


def test_what_the_budget_does_not_pay_for_is_never_created(azure: Stage, day: ServingDay) -> None:
    outcome = end_of(azure, day, limits={"deadline": "PT6H", "budgetUsd": 1.0})

    assert outcome.state is DeployState.FAILED and "budget" in outcome.reason
    assert azure.of(contracts.BEGIN_DEPLOYMENT) == []


def test_a_busy_endpoint_is_left_alone_and_its_holder_named(azure: Stage, day: ServingDay) -> None:
    day.record = day.record.model_copy(update={"holder": "deploy-other", "epoch": 7})
    azure.run(contracts.DEPLOY_MODEL, request(), RUN)

    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)
    assert outcome.state is DeployState.FAILED and "deploy-other" in outcome.reason
    assert (day.record.holder, day.record.epoch) == ("deploy-other", 7)
    assert azure.steps(contracts.BEGIN_ENDPOINT, contracts.SET_TRAFFIC, contracts.BEGIN_DELETION) == []


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (contracts.READ_MODEL, NotFoundError("no version 2", code="ModelNotFound")),
        (contracts.CHECK_TARGET, ConflictError("no extension")),
        (contracts.BEGIN_ENDPOINT, ConflictError("not ours", code="NotOurs")),
        (contracts.BEGIN_DEPLOYMENT, CapacityError("OutOfQuota")),
        (contracts.ASK_APPROVAL, ConflictError("asked otherwise")),
        (contracts.RUN_PROBE, RuntimeError("a bug, every time")),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_whatever_fails_before_traffic_leaves_nothing(
    azure: Stage, day: ServingDay, step: Step[Any, Any], error: Exception
) -> None:
    azure.script(step, *[error] * 3)
    assert end_of(azure, day, approval={"required": True}).state is DeployState.FAILED
    assert day.maps == []


def test_a_target_that_is_being_attached_is_waited_for(azure: Stage, day: ServingDay) -> None:
    azure.script(contracts.CHECK_TARGET, TargetLook(ready=False, attaching=True, reason="attaching"))
    assert end_of(azure, day).state is DeployState.COMPLETED


WAITS = (
    contracts.HOLD_ENDPOINT, contracts.BEGIN_ENDPOINT, contracts.BEGIN_DEPLOYMENT, contracts.OBSERVE_DEPLOYMENT,
    contracts.RUN_PROBE, contracts.ASK_APPROVAL, contracts.SET_TRAFFIC, contracts.RECORD_STEP,
)  # fmt: skip


@pytest.mark.parametrize("stop", ["cancel", "rollback"])
@pytest.mark.parametrize("step", WAITS, ids=lambda step: step.name)
def test_it_can_be_stopped_at_any_point(
    azure: Stage, day: ServingDay, step: Step[Any, Any], stop: str
) -> None:
    day.answer, day.stop, day.stop_in = "approve", stop, step.name
    outcome = end_of(azure, day, approval={"required": True})

    assert outcome.state is (DeployState.CANCELLED if stop == "cancel" else DeployState.ROLLED_BACK)
    assert len(day.maps) <= 3 and (not day.maps or day.maps[-1] == {BLUE.name: 100})


GOOD = (
    "hold_endpoint", "save_last_good", "begin_endpoint", "begin_deployment", "set_traffic", "read_step",
    "record_step", "commit_rollout", "record_deployment", "write_audit",
)  # fmt: skip
BAD = ("set_traffic", "begin_deletion", "free_endpoint")


@pytest.mark.parametrize(("name", "bad"), [*((n, False) for n in GOOD), *((n, True) for n in BAD)])
def test_a_step_that_is_redelivered_changes_nothing(name: str, bad: bool) -> None:
    day = ServingDay()
    day.errors_at = {50: 0.5} if bad else {}
    step = next(each for each in vars(contracts).values() if isinstance(each, Step) and each.name == name)
    with on_stage(day) as azure:
        azure.script(step, RuntimeError("killed after it was done"))
        azure.run(contracts.DEPLOY_MODEL, request(rollout={"keepFailed": "PT0S"} if bad else {}), RUN)

    assert day.record.holder is None and day.record.epoch == 1
    assert day.traffic == ({BLUE.name: 100} if bad else {GREEN: 100})


def test_a_busy_endpoint_is_asked_again_after_a_minute(azure: Stage, day: ServingDay) -> None:
    refused = iter([True, False])
    busy = TransientError("Updating", code="Conflict", retry_after_s=60)
    day.holds_writes = lambda _: next(refused, False)
    azure.script(contracts.SET_TRAFFIC, busy)

    assert end_of(azure, day).state is DeployState.COMPLETED and day.maps == STEPS
    first, second, *_ = azure.when(contracts.SET_TRAFFIC)
    assert second - first >= timedelta(seconds=60)


def test_a_write_that_was_lost_is_written_again_and_a_lagging_read_is_waited_for(
    azure: Stage, day: ServingDay
) -> None:
    lost = iter([True, False])
    day.lag, day.holds_writes = 2, lambda _: next(lost, False)

    assert end_of(azure, day).state is DeployState.COMPLETED and day.maps == STEPS


def test_a_run_that_lost_the_endpoint_writes_nothing_more(azure: Stage, day: ServingDay) -> None:
    def take(change: TrafficChange) -> bool:
        day.record = day.record.model_copy(update={"holder": "tend-endpoints", "epoch": 9})
        return False

    day.holds_writes = lambda change: change.weights.get(GREEN) == 50 and take(change)
    ended = azure.run(contracts.DEPLOY_MODEL, request(), RUN)

    assert ended.status is Status.FAILED and len(azure.of(contracts.SET_TRAFFIC)) == 2
    assert (day.record.holder, day.record.epoch) == ("tend-endpoints", 9)
    assert azure.steps(contracts.BEGIN_DELETION, contracts.COMMIT_ROLLOUT) == []


def test_a_run_that_is_fenced_before_it_shifts_deletes_nothing(azure: Stage, day: ServingDay) -> None:
    azure.script(contracts.BEGIN_DEPLOYMENT, ConflictError("a higher epoch", code="Fenced"))
    ended = azure.run(contracts.DEPLOY_MODEL, request(), RUN)

    assert ended.status is Status.FAILED
    assert azure.steps(contracts.BEGIN_DELETION, contracts.FREE_ENDPOINT, contracts.SET_TRAFFIC) == []


def test_storage_that_fails_for_good_in_a_rollout_leaves_the_endpoint_held_for_upkeep(
    azure: Stage, day: ServingDay
) -> None:
    azure.script(contracts.COMMIT_ROLLOUT, *[RuntimeError("no storage")] * 3)
    day.commit_rollout = lambda payload: day.record  # type: ignore[method-assign]
    ended = azure.run(contracts.DEPLOY_MODEL, request(), RUN)

    assert ended.status is Status.FAILED
    assert day.record.holder == RUN and day.record.last_good == {BLUE.name: 100}  # what upkeep restores


def test_one_look_that_finds_no_endpoint_is_not_believed(azure: Stage, day: ServingDay) -> None:
    looks, look = iter(range(99)), day.read_step

    def blink(payload: Any) -> Observation:
        seen = Observation.model_validate(look(payload))
        gone = {"endpoint_exists": False, "weights": None, "green": DeploymentState.ABSENT}
        return seen.model_copy(update=gone) if next(looks) == 3 else seen

    day.read_step = blink  # type: ignore[method-assign]
    assert end_of(azure, day).state is DeployState.COMPLETED


def test_a_rollout_that_cannot_be_recorded_is_taken_back(azure: Stage, day: ServingDay) -> None:
    azure.script(contracts.RECORD_STEP, *[RuntimeError("no storage")] * 3)
    outcome = end_of(azure, day)

    assert outcome.state is DeployState.FAILED and day.maps[-1] == {BLUE.name: 100}


def test_traffic_that_is_split_by_somebody_else_is_not_ours_to_shift(azure: Stage, day: ServingDay) -> None:
    day.traffic = {BLUE.name: 50, "theirs": 50}
    azure.run(contracts.DEPLOY_MODEL, request(), RUN)

    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)
    assert outcome.state is DeployState.FAILED and "50" in outcome.reason
    assert day.maps == [] and day.record.holder is None


def test_what_an_earlier_deployment_held_back_goes_when_a_new_one_begins(
    azure: Stage, day: ServingDay
) -> None:
    day.deployments["dolder"] = DeploymentState.READY
    assert end_of(azure, day).state is DeployState.COMPLETED
    assert day.deployments.keys() == {BLUE.name, GREEN}


def test_the_run_ends_at_its_deadline_with_blue_as_it_was(azure: Stage, day: ServingDay) -> None:
    day.silent = True
    outcome = end_of(azure, day, limits={"deadline": "PT1H"}, rollout={"inconclusiveAfter": "PT2H"})

    assert outcome.state is DeployState.ROLLED_BACK
    assert outcome.ended and outcome.started and outcome.ended - outcome.started < timedelta(minutes=70)


def test_everything_that_changed_has_an_audit_record(azure: Stage, day: ServingDay) -> None:
    day.errors_at = {50: 0.5}
    end_of(azure, day, rollout={"keepFailed": "PT0S"})

    told = [(entry.what, entry.before, entry.after) for entry in azure.of(contracts.AUDIT)]
    whats = [what for what, _, _ in told]
    assert whats.count("traffic written") == len(day.maps) == 3
    assert {"endpoint held", "endpoint taken", "last good map saved", "deployment created", "deployment deleted",
            "endpoint freed", "step judged", "tested"} <= set(whats)  # fmt: skip
    assert ("traffic written", f"{BLUE.name}=50 {GREEN}=50", f"{BLUE.name}=100") in told


def test_a_notice_that_nobody_takes_stops_nothing(azure: Stage, day: ServingDay) -> None:
    error: AppError = TransientError("no topic", retry_after_s=5)
    azure.script(contracts.PUBLISH_NOTICE, *[error] * 9)
    assert end_of(azure, day).state is DeployState.COMPLETED
