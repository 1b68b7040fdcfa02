"""A rollout comes to 100 % through every step in order, or the traffic goes back to where it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.domain.deployment import Rollout
from shared.domain.judging import Command, Observation, Ruling
from shared.domain.predictions import PredictionDrift
from shared.domain.rollout import (
    FOLLOWS,
    MAX_LOOKS,
    Action,
    ActionKind,
    Phase,
    RolloutPolicy,
    RolloutState,
    advance,
    evidence_of,
    steps_of,
)
from shared.domain.serving import DeploymentState, ServingMetrics, serving

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GREEN, BLUE = "d0123abcd", "d89abcdef"


def policy(**changes: Any) -> RolloutPolicy:
    return RolloutPolicy(
        rollout=Rollout.model_validate({"max_prediction_drift": 0.2, **changes}),
        first_p95_ms=250.0,
        answer_within=timedelta(hours=4),
        deadline=NOON + timedelta(hours=12),
    )


def metrics(now: datetime, **changes: Any) -> ServingMetrics:
    good = {"requests": 500.0, "p50_ms": 12.0, "p95_ms": 20.0, "newest": now - MINUTE}
    return ServingMetrics.model_validate({**good, **changes})


SAME = PredictionDrift(distance=0.02, blue_rows=4000, green_rows=500)


@dataclass
class Rig:
    """An endpoint that obeys at once, looked at as often as the rollout asks. `green` changes what green shows."""

    policy: RolloutPolicy = field(default_factory=policy)
    state: RolloutState = field(
        default_factory=lambda: RolloutState(green=GREEN, blue=BLUE, last_good={BLUE: 100})
    )
    now: datetime = NOON
    weights: dict[str, int] | None = None
    obeys: bool = True
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = dict(self.state.last_good)

    def look(self, green: dict[str, Any] | None = None, **changes: Any) -> Action:
        seen = {
            "now": self.now,
            "weights": self.weights,
            "green_metrics": metrics(self.now, **(green or {})),
            "blue_metrics": metrics(self.now) if self.state.blue else None,
            "drift": SAME if self.state.blue else None,
        }
        done = advance(self.policy, self.state, Observation.model_validate({**seen, **changes}))
        self.state = done.state
        self.actions.append(done.action)
        if done.action.kind in (ActionKind.SET_TRAFFIC, ActionKind.RESTORE) and self.obeys:
            self.weights = dict(done.action.weights)
        self.now += timedelta(seconds=done.action.after_s)
        return done.action

    def run(
        self, green: dict[str, Any] | None = None, *, until: Phase | None = None, **changes: Any
    ) -> Phase:
        """Look until the end, until a phase, or two hundred times."""
        for _ in range(200):
            if self.state.is_over or self.state.phase is until:
                break
            self.look(green, **changes)
        return self.state.phase

    def to_step(self, number: int) -> None:
        for _ in range(200):
            if self.state.phase is Phase.BAKING and self.state.step == number - 1:
                return
            self.look()
        raise AssertionError(f"step {number} was never reached: {self.state}")

    @property
    def maps(self) -> list[dict[str, int]]:
        return [a.weights for a in self.actions if a.kind in (ActionKind.SET_TRAFFIC, ActionKind.RESTORE)]


def first() -> RolloutState:
    """Of an endpoint that was never live."""
    return RolloutState(green=GREEN)


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


def bad_greens() -> Iterator[Any]:
    """What green shows under traffic, and the rule that must tell."""
    drifted = PredictionDrift(distance=0.45, blue_rows=4000, green_rows=300)
    unusable = PredictionDrift(distance=0.02, blue_rows=4000, green_rows=300, green_unusable=15)
    yield pytest.param({"green": {"errors_5xx": 15.0}}, "5xx", id="3 % of 5xx")
    yield pytest.param(
        {"green": {"requests": 10.0, "errors_5xx": 1.0}}, "5xx", id="bad before there are enough"
    )
    yield pytest.param({"green": {"errors_5xx": 501.0}}, "5xx", id="more errors than requests")
    yield pytest.param({"green": {"errors_5xx": 9.0, "newest": NOON}}, "5xx", id="bad news, and old")
    yield pytest.param({"green": {"p95_ms": 60.0}}, "p95", id="slow")
    yield pytest.param({"green": {"errors_4xx": 250.0}}, "4xx", id="refuses what blue takes")
    yield pytest.param({"drift": drifted}, "prediction drift", id="drifted")
    yield pytest.param({"drift": unusable}, "usable predictions", id="NaN")


@pytest.mark.parametrize(("shown", "rule"), bad_greens())
@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_bad_green_is_taken_back_at_the_first_look(shown: dict[str, Any], rule: str, step: int) -> None:
    rig = Rig()
    rig.to_step(step)
    rig.look(**shown)
    assert rig.state.phase is Phase.RESTORING and rig.actions[-1].weights == {BLUE: 100}
    assert rig.state.verdict is not None and rig.state.verdict.ruling is Ruling.FAIL
    assert [row.rule for row in rig.state.verdict.rows if row.ruling is Ruling.FAIL] == [rule]
    decided = rig.now
    assert rig.run() is Phase.RESTORED and rig.weights == {BLUE: 100}
    assert rig.now - decided <= timedelta(minutes=2)


def silences() -> Iterator[Any]:
    far = PredictionDrift(
        distance=0.25, blue_rows=4000, green_rows=60
    )  # beyond the limit, and maybe by chance
    few = PredictionDrift(distance=0.02, blue_rows=4000, green_rows=10)
    nan = float("nan")
    yield pytest.param({"green_metrics": None}, "metrics", id="no metrics")
    yield pytest.param({"green": {"newest": None}}, "metrics", id="no point")
    yield pytest.param({"green": {"newest": NOON}}, "metrics", id="stale metrics")
    yield pytest.param({"green": {"newest": NOON + timedelta(days=1)}}, "metrics", id="metrics of tomorrow")
    yield pytest.param({"green": {"requests": nan}}, "metrics", id="requests that are no number")
    yield pytest.param({"green": {"requests": -5.0}}, "metrics", id="negative requests")
    yield pytest.param({"green": {"requests": 49.0}}, "requests", id="too little traffic")
    yield pytest.param({"green": {"requests": 0.0, "p95_ms": None}}, "requests", id="no traffic")
    yield pytest.param({"green": {"p95_ms": None}}, "p95", id="no latency")
    yield pytest.param({"green": {"p95_ms": nan}}, "p95", id="a latency that is no number")
    yield pytest.param({"blue_metrics": None}, "p95", id="nothing of blue to compare with")
    yield pytest.param({"drift": None}, "prediction drift", id="no predictions")
    yield pytest.param({"drift": far}, "prediction drift", id="drift that chance may explain")
    yield pytest.param({"drift": few}, "prediction drift", id="few predictions")
    yield pytest.param({"weights": None}, None, id="the map was not read")
    yield pytest.param({"green": {}, "blue": DeploymentState.CREATING}, None, id="blue is being updated")


@pytest.mark.parametrize(("shown", "rule"), silences())
def test_nothing_is_promoted_on_silence(shown: dict[str, Any], rule: str | None) -> None:
    rig = Rig()
    rig.to_step(1)
    began = rig.now
    assert rig.run(until=Phase.PAUSED, **shown) is Phase.PAUSED
    assert rig.actions[-1].kind is ActionKind.ASK and rig.actions[-1].number == 1
    assert timedelta(minutes=30) <= rig.now - began <= timedelta(minutes=40)
    assert rig.state.passed == () and rig.state.verdict is not None
    against = {row.rule for row in rig.state.verdict.rows if row.ruling is not Ruling.PASS}
    assert rule in against if rule else rig.state.verdict.ruling in (Ruling.PASS, Ruling.INCONCLUSIVE)


def test_a_policy_may_roll_back_what_cannot_be_judged() -> None:
    rig = Rig(policy=policy(on_inconclusive="rollback"))
    rig.to_step(1)
    assert rig.run(green_metrics=None) is Phase.RESTORED
    assert rig.state.ended_by == "inconclusive"


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


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_so_many_failed_looks_in_a_step_are_allowed_as_declared(failures: int) -> None:
    rig = Rig(policy=policy(failure_limit=3))
    rig.to_step(1)
    for _ in range(failures):
        rig.look({"errors_5xx": 50.0})
    assert rig.run() is (Phase.RESTORED if failures == 3 else Phase.COMMITTED)


def test_without_a_blue_that_serves_the_last_known_blue_is_compared_with() -> None:
    rig = Rig()
    rig.to_step(4)
    rig.look({"p95_ms": 40.0}, blue_metrics=metrics(rig.now, requests=0.0, p95_ms=None))
    assert rig.state.phase is Phase.RESTORING and "earlier step" in rig.state.reason


def test_a_few_milliseconds_are_no_regression() -> None:
    rig = Rig()
    rig.to_step(1)
    fast = metrics(rig.now, p95_ms=3.0)
    assert rig.look({"p95_ms": 12.9}, blue_metrics=fast).kind is ActionKind.LOOK
    assert rig.look({"p95_ms": 13.1}, blue_metrics=fast).kind is ActionKind.RESTORE


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
    rig.look()
    rig.look(weights={BLUE: 95, GREEN: 5})
    rig.look()
    assert rig.state.phase is Phase.RESTORING
    rig.look()
    assert rig.state.phase is Phase.RESTORED


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


def test_a_clock_that_jumps_forward_neither_promotes_nor_asks() -> None:
    rig = Rig()
    rig.to_step(1)
    rig.now += timedelta(hours=6)
    assert rig.look().kind is ActionKind.LOOK
    assert rig.state.baked <= timedelta(minutes=4) and rig.state.passed == ()


def test_a_clock_that_goes_back_shortens_no_bake() -> None:
    rig = Rig()
    rig.to_step(1)
    steady = Rig()
    steady.to_step(1)
    for back in (0, 30, 0, 30, 0):
        rig.now -= timedelta(minutes=back)
        rig.look()
        steady.look()
    assert rig.state.baked <= steady.state.baked and rig.state.passed == ()


def test_a_clock_that_swings_bakes_no_longer_than_metrics_came() -> None:
    rig = Rig()
    rig.to_step(1)
    for n in range(40):
        rig.now = NOON + timedelta(minutes=10 + 2 * (n % 2))
        rig.look()
    assert rig.state.passed == () or rig.state.phase is Phase.PAUSED


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


WEIGHTS = st.sampled_from(
    [
        None,
        {BLUE: 100},
        {BLUE: 95, GREEN: 5},
        {BLUE: 50, GREEN: 50},
        {GREEN: 100},
        {},
        {BLUE: 100, GREEN: 0},
        "asked",
    ]
)
COUNTS = st.sampled_from([0.0, 1.0, 49.0, 50.0, 500.0, float("nan"), -1.0])
SEEN_METRICS = st.one_of(
    st.none(),
    st.builds(
        dict,
        requests=COUNTS,
        errors_5xx=st.sampled_from([0.0, 0.0, 0.0, 1.0, 40.0]),
        p95_ms=st.sampled_from([None, 15.0, 20.0, 90.0, float("nan")]),
        age=st.sampled_from([-600, 0, 30, 60, 179, 181, 86_400]),
    ),
)
GOOD = {"requests": 500.0, "errors_5xx": 0.0, "p95_ms": 20.0, "age": 60}
LOOKS = st.one_of(
    st.just({"weights": "asked", "green_metrics": GOOD, "blue_metrics": GOOD, "drift": SAME, "gap": None}),
    st.fixed_dictionaries(
        {
            "weights": WEIGHTS,
            "green_metrics": SEEN_METRICS,
            "blue_metrics": SEEN_METRICS,
            "drift": st.sampled_from(
                [None, SAME, PredictionDrift(distance=0.9, blue_rows=900, green_rows=900)]
            ),
            "gap": st.sampled_from([None, None, 0, 1, 60, 7200, -60, -7200]),
        },
        optional={
            "green": st.sampled_from(list(DeploymentState)),
            "blue": st.sampled_from(list(DeploymentState)),
            "command": st.sampled_from(list(Command)),
            "number": st.integers(0, 3),
            "endpoint_exists": st.sampled_from([True, True, True, False]),
            "fenced": st.sampled_from([False, False, False, True]),
        },
    ),
)


def observe(look: dict[str, Any], now: datetime, asked: dict[str, int]) -> Observation:
    def of(told: dict[str, Any] | None) -> ServingMetrics | None:
        if told is None:
            return None
        told = dict(told)
        return ServingMetrics(newest=now - timedelta(seconds=told.pop("age")), **told)

    given = {name: value for name, value in look.items() if name not in ("gap", "weights")}
    weights = asked if look["weights"] == "asked" else look["weights"]
    metrics_seen = {name: of(given.pop(name)) for name in ("green_metrics", "blue_metrics")}
    return Observation.model_validate({**given, **metrics_seen, "now": now, "weights": weights})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    looks=st.lists(LOOKS, max_size=60),
    good_run=st.integers(0, 40),
    has_blue=st.booleans(),
    pauses=st.sampled_from(["pause", "rollback"]),
    failure_limit=st.integers(1, 3),
)
def test_whatever_is_seen_in_whatever_order(
    looks: list[dict[str, Any]], good_run: int, has_blue: bool, pauses: str, failure_limit: int
) -> None:
    """No order of observations comes to 100 % past a step, writes half a map, or goes on after a failure or an end."""
    rules = policy(on_inconclusive=pauses, failure_limit=failure_limit)
    state = RolloutState(green=GREEN, blue=BLUE, last_good={BLUE: 100}) if has_blue else first()
    good = {"weights": "asked", "green_metrics": GOOD, "blue_metrics": GOOD, "drift": SAME, "gap": None}
    now, gap, asked = NOON, 15.0, dict(state.last_good)
    doomed = False  # had as many failed looks in a step as it may, or was told to stop
    for look in [good] * good_run + looks:
        now += timedelta(seconds=gap if look["gap"] is None else look["gap"])
        before = state
        seen = observe(look, now, asked)
        done = advance(rules, state, seen)
        state, action = done.state, done.action
        assert state.phase in FOLLOWS[before.phase]
        gap = action.after_s
        if action.kind is ActionKind.SET_TRAFFIC:
            assert sum(action.weights.values()) == 100 and all(w >= 0 for w in action.weights.values())
            assert seen.green is DeploymentState.READY
            assert action.weights.keys() == ({GREEN, BLUE} if has_blue else {GREEN})
            assert not has_blue or seen.blue is DeploymentState.READY
            # More traffic than before only right behind the steps before it.
            assert action.weights[GREEN] == steps_of(rules, state)[len(state.passed)]
            assert not doomed
            asked = action.weights
        if action.kind is ActionKind.RESTORE:
            assert action.weights == before.last_good
            asked = action.weights
        check_passed(rules, before, state, seen)
        doomed = doomed or state.phase is Phase.RESTORING
        if state.fails >= failure_limit:
            assert state.is_over or state.phase is Phase.RESTORING
        assert not (doomed and state.phase in (Phase.SHIFTING, Phase.BAKING, Phase.PAUSED, Phase.COMMITTED))
        if state.is_over:
            with pytest.raises(ValueError):
                advance(rules, state, seen)
            break
    check_end(rules, state, now)


def check_passed(rules: RolloutPolicy, before: RolloutState, after: RolloutState, seen: Observation) -> None:
    """A step is passed one at a time, in order, with its own map read back, and judged good or let pass by a person."""
    steps = steps_of(rules, before)
    assert after.passed == steps[: len(after.passed)] and len(after.passed) - len(before.passed) in (0, 1)
    assert (after.phase is Phase.COMMITTED) == (after.passed == steps)
    if len(after.passed) > len(before.passed):
        weight = after.passed[-1]
        asked = {BLUE: 100 - weight, GREEN: weight} if before.blue else {GREEN: 100}
        assert seen.weights is not None and serving(seen.weights) == serving(asked)
        assert after.verdict is not None and after.verdict.ruling is not Ruling.FAIL
        if before.phase is Phase.PAUSED:
            assert seen.command is Command.APPROVE and seen.number == before.pauses
        else:
            assert after.verdict.ruling is Ruling.PASS
            assert before.last_look is not None and before.since is not None
            assert before.open_s > 0, "passed at the first look"


def check_end(rules: RolloutPolicy, state: RolloutState, now: datetime) -> None:
    """Left alone, with an endpoint that no longer answers, every rollout ends, and none of them live."""
    for _ in range(400):
        if state.is_over:
            return
        done = advance(rules, state, Observation(now=now))
        assert done.state.passed == state.passed
        state, now = done.state, now + timedelta(seconds=done.action.after_s)
    raise AssertionError(f"never ended: {state.phase}")


def test_every_phase_has_its_line_in_the_table_and_every_end_is_an_end() -> None:
    assert set(FOLLOWS) == set(Phase)
    ends = {phase for phase in Phase if not FOLLOWS[phase]}
    assert ends == {Phase.COMMITTED, Phase.RESTORED, Phase.FROZEN, Phase.FENCED}
    assert Phase.COMMITTED not in FOLLOWS[Phase.RESTORING] and Phase.COMMITTED not in FOLLOWS[Phase.SHIFTING]
