"""An endpoint that obeys, for a rollout to be driven over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.deployment import Rollout
from shared.domain.judging import Observation
from shared.domain.predictions import PredictionDrift
from shared.domain.rollout import (
    Action,
    ActionKind,
    Phase,
    RolloutPolicy,
    RolloutState,
    advance,
)
from shared.domain.serving import ServingMetrics

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
