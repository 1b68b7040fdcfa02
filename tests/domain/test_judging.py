"""Bad news counts at once, good news when there is enough of it, and silence is neither."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.judging import Ruling
from shared.domain.predictions import PredictionDrift
from shared.domain.rollout import (
    ActionKind,
    Phase,
)
from shared.domain.serving import DeploymentState
from tests.support.rollout_rig import BLUE, NOON, Rig, metrics, policy


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


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_so_many_failed_looks_in_a_step_are_allowed_as_declared(failures: int) -> None:
    rig = Rig(policy=policy(failure_limit=3))
    rig.to_step(1)
    for _ in range(failures):
        rig.look({"errors_5xx": 50.0})
    assert rig.run() is (Phase.RESTORED if failures == 3 else Phase.COMMITTED)


def test_the_failed_looks_of_one_step_are_not_held_against_the_next() -> None:
    rig = Rig(policy=policy(failure_limit=2))
    for step in (1, 2, 3, 4):
        rig.to_step(step)
        rig.look({"errors_5xx": 50.0})
    assert rig.run() is Phase.COMMITTED


def test_without_a_blue_that_serves_the_last_known_blue_is_compared_with() -> None:
    rig = Rig()
    rig.to_step(4)
    rig.look({"p95_ms": 40.0}, blue_metrics=metrics(rig.now, requests=0.0, p95_ms=None))
    assert rig.state.phase is Phase.RESTORING and "earlier step" in rig.state.reason


def test_the_last_known_blue_is_not_forgotten() -> None:
    rig = Rig()
    rig.to_step(4)
    nothing = metrics(rig.now, requests=0.0, p95_ms=None)
    rig.look(blue_metrics=nothing)
    assert rig.look({"p95_ms": 40.0}, blue_metrics=nothing).kind is ActionKind.RESTORE


def test_what_is_just_within_every_limit_passes() -> None:
    just = {"requests": 500.0, "errors_5xx": 5.0, "errors_4xx": 6.0, "p95_ms": 30.0}
    drift = PredictionDrift(distance=0.2, blue_rows=50, green_rows=50)
    rig = Rig()
    assert rig.run(just, drift=drift) is Phase.COMMITTED


def test_one_error_of_ten_is_not_held_against_a_green_that_needs_two_hundred_answers() -> None:
    rig = Rig(policy=policy(min_requests=200))
    rig.to_step(1)
    assert rig.look({"requests": 10.0, "errors_5xx": 1.0}).kind is ActionKind.LOOK


@pytest.mark.parametrize(
    ("green", "blue", "action"),
    [
        ((6.0, 5.0), (3.0, 0.0), ActionKind.LOOK),  # of a client's bad bodies green got most by chance
        ((60.0, 33.0), (50.0, 22.0), ActionKind.LOOK),
        ((60.0, 55.0), (50.0, 25.0), ActionKind.RESTORE),  # by no chance
        ((20.0, 20.0), (10.0, 0.0), ActionKind.RESTORE),
    ],
)
def test_bad_bodies_are_their_sender_s_fault_as_far_as_chance_shares_them_out(
    green: tuple[float, float], blue: tuple[float, float], action: ActionKind
) -> None:
    rig = Rig(policy=policy(min_requests=3))
    rig.to_step(1)
    of_blue = metrics(rig.now, requests=blue[0], errors_4xx=blue[1])
    assert rig.look({"requests": green[0], "errors_4xx": green[1]}, blue_metrics=of_blue).kind is action


def test_a_slow_answer_among_few_is_no_p95() -> None:
    rig = Rig()
    rig.to_step(1)
    assert rig.look({"requests": 10.0, "p95_ms": 900.0}).kind is ActionKind.LOOK


def test_a_few_milliseconds_are_no_regression() -> None:
    rig = Rig()
    rig.to_step(1)
    fast = metrics(rig.now, p95_ms=3.0)
    assert rig.look({"p95_ms": 12.9}, blue_metrics=fast).kind is ActionKind.LOOK
    assert rig.look({"p95_ms": 13.1}, blue_metrics=fast).kind is ActionKind.RESTORE
