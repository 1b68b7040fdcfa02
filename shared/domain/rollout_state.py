"""Where a rollout stands, what may follow that, and what is to be done: the values of the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import Field

from shared.domain.deployment import Deployment, Rollout
from shared.domain.judging import Observation, StepEvidence, StepVerdict
from shared.domain.wire import Wire

Ending = Literal[
    "", "fail", "inconclusive", "reject", "cancel", "rollback", "deadline", "health", "stray", "unset"
]


class RolloutPolicy(Wire):
    """The declared policy, and what it needs from outside its section.

    `first_p95_ms` bounds green's p95 where there is no blue to compare with. From `deadline` on nothing is promoted.
    """

    rollout: Rollout
    first_p95_ms: float
    answer_within: timedelta
    deadline: datetime

    @classmethod
    def of(cls, workload: Deployment, deadline: datetime) -> RolloutPolicy:
        return cls(
            rollout=workload.rollout,
            first_p95_ms=workload.tests.load.p95 / timedelta(milliseconds=1),
            answer_within=workload.approval.timeout,
            deadline=deadline,
        )


class Phase(StrEnum):
    NEW = "new"
    SHIFTING = "shifting"  # a map was asked for and not read back yet
    BAKING = "baking"  # it was read back: the step is judged
    PAUSED = "paused"  # a person was asked
    RESTORING = "restoring"  # the last good map was asked for and not read back yet
    COMMITTED = "committed"
    RESTORED = "restored"
    FROZEN = "frozen"
    FENCED = "fenced"  # another run has the endpoint: not one write more


_ENDS = frozenset({Phase.RESTORING, Phase.FROZEN, Phase.FENCED})
FOLLOWS: Mapping[Phase, frozenset[Phase]] = {
    Phase.NEW: frozenset({Phase.NEW, Phase.SHIFTING, Phase.RESTORED, Phase.FROZEN, Phase.FENCED}),
    Phase.SHIFTING: _ENDS | {Phase.SHIFTING, Phase.BAKING},
    Phase.BAKING: _ENDS | {Phase.BAKING, Phase.SHIFTING, Phase.PAUSED, Phase.COMMITTED},
    Phase.PAUSED: _ENDS | {Phase.PAUSED, Phase.SHIFTING, Phase.COMMITTED},
    Phase.RESTORING: _ENDS | {Phase.RESTORED},
    Phase.COMMITTED: frozenset(),
    Phase.RESTORED: frozenset(),
    Phase.FROZEN: frozenset(),
    Phase.FENCED: frozenset(),
}


class ActionKind(StrEnum):
    SET_TRAFFIC = "set_traffic"  # write `weights`, then look after `after_s`
    LOOK = "look"
    ASK = "ask"  # a person, in pause `number`; then look
    COMMIT = "commit"  # green is live: the end
    RESTORE = "restore"  # write `weights`, the last good map, then look; empty: there was none, take all away
    STOP = "stop"  # the last good map is back, or another has the endpoint: the end
    FREEZE = "freeze"  # it cannot be confirmed: the end, the endpoint stays held


class Action(Wire):
    kind: ActionKind
    weights: dict[str, int] = {}
    after_s: float = 0.0
    number: int = 0
    reason: str = ""


class RolloutState(Wire):
    """Where a rollout stands. `step` counts from 0; `passed` holds the percentages passed, in order.

    `last_good` is empty where the endpoint was never live. A fresh state needs `green`, `blue` and `last_good` alone.
    """

    green: str
    blue: str = ""
    last_good: dict[str, int] = Field(default_factory=dict)
    phase: Phase = Phase.NEW
    step: int = 0
    passed: tuple[int, ...] = ()
    began: datetime | None = None  # the rollout
    since: datetime | None = None  # the phase; in a pause still the step, whose metrics go on
    paused: datetime | None = None
    last_look: datetime | None = None
    furthest: datetime | None = None  # the latest time of any look
    newest: datetime | None = None  # the newest point of green's metrics in this step
    open_s: float = 0.0  # how long the phase has lasted, as far as looks tell
    watched_s: float = 0.0  # how long of it metrics were fresh
    fails: int = 0
    looks: int = 0
    writes: int = 0  # of the map that is asked for
    confirmed: int = 0
    strays: int = 0
    pauses: int = 0
    blue_p95_ms: float | None = None  # blue's last that was worth comparing with
    verdict: StepVerdict | None = None
    reason: str = ""
    ended_by: Ending = ""

    @property
    def is_over(self) -> bool:
        return not FOLLOWS[self.phase]

    @property
    def baked(self) -> timedelta:
        """How long metrics were seen in this step: by our looks and by their own times, whichever is less."""
        if self.newest is None or self.since is None:
            return timedelta(0)
        covered = max(timedelta(0), self.newest - self.since)
        return min(covered, timedelta(seconds=self.watched_s))


class Advance(Wire):
    state: RolloutState
    action: Action


def weights_of(policy: RolloutPolicy, state: RolloutState) -> dict[str, int]:
    """The whole map of the state's step. Without blue green has it all: a map must sum to 100."""
    if not state.blue:
        return {state.green: 100}
    weight = policy.rollout.steps[state.step]
    return {state.blue: 100 - weight, state.green: weight}


def steps_of(policy: RolloutPolicy, state: RolloutState) -> tuple[int, ...]:
    """The first deployment of an endpoint has one step: there is nobody to share the traffic with."""
    return policy.rollout.steps if state.blue else (100,)


def evidence_of(
    run: str, policy: RolloutPolicy, before: RolloutState, after: RolloutState, seen: Observation
) -> StepEvidence | None:
    """What the step that ended with this look has shown; None if none did."""
    judged = (Phase.BAKING, Phase.PAUSED)
    if before.phase not in judged or after.phase in judged:
        return None
    outcome: str = after.ended_by or after.phase
    if len(after.passed) > len(before.passed):
        outcome = "approved" if before.phase is Phase.PAUSED else "passed"
    return StepEvidence(
        run=run,
        number=before.step + 1,
        weight=steps_of(policy, before)[before.step],
        outcome=outcome,
        by=seen.by,
        began=before.since,
        ended=seen.now,
        looks=before.looks + 1,
        weights=weights_of(policy, before),
        green=seen.green_metrics,
        blue=seen.blue_metrics,
        drift=seen.drift,
        verdict=after.verdict,
    )
