"""No order of observations brings green to 100 % past a step, or leaves the traffic where it should not be."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.judging import Command, Observation, Ruling
from shared.domain.predictions import PredictionDrift
from shared.domain.rollout import (
    FOLLOWS,
    ActionKind,
    Phase,
    RolloutPolicy,
    RolloutState,
    advance,
    steps_of,
)
from shared.domain.serving import DeploymentState, ServingMetrics, serving
from tests.support.rollout_rig import BLUE, GREEN, NOON, SAME, first, policy

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
SEEN_METRICS: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(),
    st.builds(
        dict,
        requests=COUNTS,
        errors_5xx=st.sampled_from([0.0, 0.0, 0.0, 1.0, 40.0]),
        p95_ms=st.sampled_from([None, 15.0, 20.0, 90.0, float("nan")]),
        age=st.sampled_from([-600, 0, 30, 60, 179, 181, 86_400]),
    ),
)
FINE = {"requests": 500.0, "errors_5xx": 0.0, "p95_ms": 20.0, "age": 60}
GOOD = {"weights": "asked", "green_metrics": FINE, "blue_metrics": FINE, "drift": SAME, "gap": None}
SILENT = {**GOOD, "green_metrics": None}
WILD = st.fixed_dictionaries(
    {
        "weights": WEIGHTS,
        "green_metrics": SEEN_METRICS,
        "blue_metrics": SEEN_METRICS,
        "drift": st.sampled_from(
            [None, SAME, SAME, PredictionDrift(distance=0.9, blue_rows=900, green_rows=900)]
        ),
        "gap": st.sampled_from([None, None, 0, 1, 60, 7200, -60, -7200]),
    },
    optional={
        "green": st.sampled_from([*[DeploymentState.READY] * 8, *DeploymentState]),
        "blue": st.sampled_from([*[DeploymentState.READY] * 8, *DeploymentState]),
        "command": st.sampled_from([*[Command.NONE] * 8, *Command]),
        "number": st.integers(0, 3),
        "endpoint_exists": st.sampled_from([True] * 19 + [False]),
        "fenced": st.sampled_from([False] * 19 + [True]),
    },
)
ANSWER = st.fixed_dictionaries(
    {
        "command": st.sampled_from([Command.APPROVE, Command.APPROVE, Command.REJECT]),
        "number": st.integers(1, 2),
    }
).map(lambda answer: {**SILENT, **answer})
# Good but for one thing, which must be enough.
ALMOST = st.sampled_from(
    [
        {**GOOD, "weights": None},
        {**GOOD, "weights": {BLUE: 50, GREEN: 50}},
        {**GOOD, "green": DeploymentState.CREATING},
        {**GOOD, "blue": DeploymentState.CREATING},
        {**GOOD, "green_metrics": {**FINE, "errors_5xx": 40.0}, "command": Command.APPROVE, "number": 1},
    ]
)
# Stretches of good looks and of silent ones, with answers and anything else between them.
STRETCH = st.one_of(
    st.tuples(st.just(GOOD), st.integers(1, 30)),
    st.tuples(st.just(SILENT), st.sampled_from([1, 5, 20])),
    st.tuples(ANSWER, st.just(1)),
    st.tuples(ALMOST, st.integers(1, 8)),
    st.tuples(WILD, st.integers(1, 2)),
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


@settings(max_examples=200)
@given(
    stretches=st.lists(STRETCH, max_size=12),
    has_blue=st.booleans(),
    pauses=st.sampled_from(["pause", "rollback"]),
    failure_limit=st.integers(1, 3),
)
def test_whatever_is_seen_in_whatever_order(
    stretches: list[tuple[dict[str, Any], int]], has_blue: bool, pauses: str, failure_limit: int
) -> None:
    """No order of observations comes to 100 % past a step, writes half a map, or goes on after a failure or an end."""
    rules = policy(on_inconclusive=pauses, failure_limit=failure_limit)
    state = RolloutState(green=GREEN, blue=BLUE, last_good={BLUE: 100}) if has_blue else first()
    now, gap, asked = NOON, 15.0, dict(state.last_good)
    doomed = False  # had as many failed looks in a step as it may, or was told to stop
    for look in (look for look, times in stretches for _ in range(times)):
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
