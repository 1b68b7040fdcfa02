"""A rollout comes to 100 % through every step in order, or the traffic goes back to where it was."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.judging import Command, Observation
from shared.domain.rollout import (
    FOLLOWS,
    MAX_LOOKS,
    ActionKind,
    Phase,
    RolloutState,
    advance,
    evidence_of,
)
from shared.domain.serving import DeploymentState
from tests.support.rollout_rig import BLUE, GREEN, NOON, Rig, first, metrics, policy


def test_a_good_green_goes_through_every_step_and_bakes_in_each() -> None:
    rig = Rig()
    assert rig.run() is Phase.COMMITTED
    assert [weights[GREEN] for weights in rig.maps] == [5, 25, 50, 100]
    assert rig.state.passed == (5, 25, 50, 100)
    assert rig.actions[-1].kind is ActionKind.COMMIT
    assert timedelta(minutes=40) <= rig.now - NOON <= timedelta(minutes=60)


def test_the_first_deployment_of_an_endpoint_has_one_step_with_all_the_traffic() -> None:
    rig = Rig(state=first())
    assert rig.run() is Phase.COMMITTED
    assert rig.maps == [{GREEN: 100}] and rig.state.passed == (100,)


def test_a_first_green_that_fails_has_its_traffic_taken_away() -> None:
    rig = Rig(state=first())
    assert rig.run({"p95_ms": 251.0}) is Phase.RESTORED
    assert rig.maps == [{GREEN: 100}, {}] and "tests.load.p95" in rig.state.reason


def paused() -> Rig:
    rig = Rig()
    rig.to_step(2)
    rig.run(until=Phase.PAUSED, green_metrics=None)
    return rig


def test_a_person_may_let_a_step_pass_that_could_not_be_judged_and_no_other_step() -> None:
    rig = paused()
    rig.look(green_metrics=None, command=Command.APPROVE, number=1, by="anna")
    assert rig.maps[-1] == {BLUE: 50, GREEN: 50} and rig.state.passed == (5, 25)
    assert rig.run(until=Phase.PAUSED, green_metrics=None, command=Command.APPROVE, number=1) is Phase.PAUSED
    assert (
        rig.run(green_metrics=None, command=Command.APPROVE, number=1) is Phase.RESTORED
    )  # nobody answered pause 2


def test_an_answer_to_a_pause_that_is_over_changes_nothing() -> None:
    rig = paused()
    rig.look(green_metrics=None, command=Command.APPROVE, number=1)
    rig.to_step(3)
    assert rig.look(command=Command.REJECT, number=1).kind is ActionKind.LOOK


def test_a_pause_ends_in_blue_when_it_is_rejected_or_nobody_answers() -> None:
    rejected, silent = paused(), paused()
    rejected.look(green_metrics=None, command=Command.REJECT, number=1, by="anna")
    assert rejected.run() is Phase.RESTORED and "anna" in rejected.state.reason
    began = silent.now
    assert silent.run() is Phase.RESTORED  # also though green looks good again: a person was asked
    assert timedelta(hours=3, minutes=50) <= silent.now - began <= timedelta(hours=4, minutes=30)


def test_what_fails_in_a_pause_is_taken_back_whatever_a_person_says() -> None:
    rig = paused()
    rig.look({"errors_5xx": 50.0}, command=Command.APPROVE, number=1)
    assert rig.state.phase is Phase.RESTORING and rig.run() is Phase.RESTORED


@pytest.mark.parametrize("command", [Command.APPROVE, Command.REJECT])
def test_an_answer_that_nobody_asked_for_changes_nothing(command: Command) -> None:
    rig = Rig()
    rig.to_step(1)
    assert rig.look(command=command, number=1).kind is ActionKind.LOOK


@pytest.mark.parametrize("command", [Command.CANCEL, Command.ROLL_BACK])
@pytest.mark.parametrize("until", [Phase.SHIFTING, Phase.BAKING, Phase.PAUSED])
def test_a_rollout_can_be_stopped_in_every_phase(command: Command, until: Phase) -> None:
    rig = Rig()
    rig.run(until=until, green_metrics=None)
    rig.look(command=command, by="anna")
    assert rig.state.ended_by == command and rig.run() is Phase.RESTORED and rig.weights == {BLUE: 100}


def test_what_is_stopped_before_the_first_shift_writes_nothing() -> None:
    for stop in (
        {"command": Command.CANCEL},
        {"green": DeploymentState.FAILED},
        {"weights": {BLUE: 60, "other": 40}},
    ):
        state = RolloutState(green=GREEN, blue=BLUE, last_good={BLUE: 100})
        seen = Observation.model_validate({"now": NOON, "weights": {BLUE: 100}, **stop})
        done = advance(policy(), state, seen)
        assert (done.state.phase, done.action.kind) == (Phase.RESTORED, ActionKind.STOP), stop


@pytest.mark.parametrize("state", [DeploymentState.FAILED, DeploymentState.ABSENT, DeploymentState.DELETING])
def test_a_green_that_dies_under_traffic_is_taken_back_at_once(state: DeploymentState) -> None:
    rig = Rig(policy=policy(failure_limit=5))
    rig.to_step(2)
    done = advance(rig.policy, rig.state, Observation(now=rig.now, weights=rig.weights, green=state))
    assert done.action.kind is ActionKind.RESTORE and done.state.ended_by == "health"


def test_no_map_is_written_that_names_what_is_not_ready() -> None:
    rig = Rig()
    for _ in range(MAX_LOOKS):
        rig.look(blue=DeploymentState.CREATING)
    assert rig.maps == [] and rig.state.phase is Phase.RESTORED
    late = Rig(obeys=False)
    late.run(until=Phase.SHIFTING)
    late.run(until=Phase.RESTORING, blue=DeploymentState.CREATING)
    assert len(late.maps) == 2 and late.maps[1] == {BLUE: 100}


def test_a_write_that_is_not_read_back_is_written_again_and_in_the_end_given_up() -> None:
    rig = Rig(obeys=False)
    assert rig.run() is Phase.RESTORED  # the map was blue's all the time
    assert rig.state.ended_by == "unset"
    assert rig.maps.count({BLUE: 95, GREEN: 5}) == 5


def test_a_restore_that_is_not_read_back_freezes() -> None:
    rig = Rig()
    rig.to_step(2)
    rig.obeys = False
    assert rig.run({"errors_5xx": 50.0}) is Phase.FROZEN
    assert rig.actions[-1].kind is ActionKind.FREEZE and "5xx" in rig.state.reason
    assert rig.maps.count({BLUE: 100}) == 5


def test_a_restore_is_believed_only_when_it_was_read_twice() -> None:
    rig = Rig()
    rig.to_step(1)
    rig.look({"errors_5xx": 50.0})
    shift = {BLUE: 95, GREEN: 5}
    phases = []
    for weights in ({BLUE: 100}, shift, {BLUE: 100}, {BLUE: 100}):
        rig.look(weights=weights)
        phases.append(rig.state.phase)
    assert phases == [Phase.RESTORING, Phase.RESTORING, Phase.RESTORING, Phase.RESTORED]


@pytest.mark.parametrize("blue", [DeploymentState.ABSENT, DeploymentState.FAILED])
def test_a_blue_that_is_lost_under_way_freezes_for_nothing_can_be_restored(blue: DeploymentState) -> None:
    for until in (Phase.SHIFTING, Phase.BAKING, Phase.RESTORING):
        rig = Rig()
        rig.run(until=until, green={"errors_5xx": 50.0})
        rig.look(blue=blue, weights={GREEN: 100})
        assert rig.state.phase is Phase.FROZEN, until


def test_an_endpoint_deleted_underneath_freezes() -> None:
    rig = Rig()
    rig.to_step(2)
    assert rig.look(endpoint_exists=False).kind is ActionKind.FREEZE


@pytest.mark.parametrize("until", [Phase.NEW, Phase.SHIFTING, Phase.BAKING, Phase.PAUSED, Phase.RESTORING])
def test_who_has_lost_the_endpoint_to_another_run_writes_no_more(until: Phase) -> None:
    rig = Rig()
    if until is not Phase.NEW:
        rig.run({"errors_5xx": 50.0} if until is Phase.RESTORING else {"newest": None}, until=until)
    before = len(rig.maps)
    assert rig.look(fenced=True).kind is ActionKind.STOP
    assert rig.state.phase is Phase.FENCED and len(rig.maps) == before


def test_a_map_that_somebody_else_set_is_taken_back_and_one_lagging_read_is_not_one() -> None:
    rig = Rig()
    rig.to_step(2)
    assert rig.look(weights={BLUE: 95, GREEN: 5}).kind is ActionKind.LOOK
    assert rig.look().kind is ActionKind.LOOK
    rig.look(weights={GREEN: 100})
    assert rig.look(weights={GREEN: 100}).kind is ActionKind.RESTORE and rig.state.ended_by == "stray"


@pytest.mark.parametrize("step", [1, 3])
def test_a_clock_that_jumps_forward_neither_promotes_nor_asks(step: int) -> None:
    rig = Rig()
    rig.to_step(step)
    rig.now += timedelta(hours=6)
    assert rig.look().kind is ActionKind.LOOK
    assert rig.state.baked <= timedelta(minutes=4) and len(rig.state.passed) == step - 1


def test_a_clock_that_swings_bakes_nothing_twice() -> None:
    rig = Rig()
    rig.to_step(1)
    began = rig.now
    for n in range(14):  # 28 minutes of swinging within eight
        rig.now = began + timedelta(minutes=8 if n % 2 else 4)
        rig.look()
    assert rig.state.baked <= timedelta(minutes=8) and rig.state.passed == ()


def test_one_clock_far_ahead_holds_the_bake_up_and_not_the_patience() -> None:
    rig = Rig()
    rig.to_step(1)
    began = rig.now
    rig.now += timedelta(hours=6)
    rig.look({"newest": began}, blue_metrics=None)
    rig.now = began
    assert rig.run(until=Phase.PAUSED) is Phase.PAUSED
    assert rig.now - began <= timedelta(minutes=40) and rig.state.passed == ()


def test_from_the_deadline_on_nothing_is_promoted() -> None:
    rig = Rig(policy=policy().model_copy(update={"deadline": NOON + timedelta(minutes=30)}))
    assert rig.run() is Phase.RESTORED
    assert rig.state.ended_by == "deadline" and 100 not in rig.state.passed


def test_nothing_follows_the_end() -> None:
    rig = Rig()
    rig.run()
    with pytest.raises(ValueError, match="nothing follows"):
        rig.look(command=Command.ROLL_BACK)


def test_the_record_of_a_step_says_what_it_showed() -> None:
    rig = Rig()
    lines = []
    while not rig.state.is_over:
        before, now = rig.state, rig.now
        bad = {"errors_5xx": 15.0} if before.step == 2 and before.phase is Phase.BAKING else None
        rig.look(bad)
        seen = Observation(now=now, green_metrics=metrics(now, **(bad or {})))
        if (evidence := evidence_of("run", rig.policy, before, rig.state, seen)) is not None:
            lines.append(str(evidence))
    assert [line.split(",")[0] for line in lines] == [
        "5 %: passed", "25 %: passed", "50 %: fail",
    ]  # fmt: skip
    assert "15 of them 5xx" in lines[2] and "max5xxRate" in lines[2]


def test_a_rollout_that_lasts_on_looks_less_often() -> None:
    long = policy(inconclusive_after=timedelta(days=2))
    rig = Rig(policy=long.model_copy(update={"deadline": NOON + timedelta(days=7)}))
    rig.to_step(1)
    rig.run(until=Phase.PAUSED, green_metrics=None)
    assert rig.state.phase is Phase.PAUSED and len(rig.actions) < 80


def test_every_phase_has_its_line_in_the_table_and_every_end_is_an_end() -> None:
    assert set(FOLLOWS) == set(Phase)
    ends = {phase for phase in Phase if not FOLLOWS[phase]}
    assert ends == {Phase.COMMITTED, Phase.RESTORED, Phase.FROZEN, Phase.FENCED}
    assert Phase.COMMITTED not in FOLLOWS[Phase.RESTORING] and Phase.COMMITTED not in FOLLOWS[Phase.SHIFTING]
