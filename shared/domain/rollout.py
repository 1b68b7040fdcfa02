"""The rollout as a state machine: what was seen in, the next state and the next action out. No I/O, no clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.deployment import Deployment, Rollout
from shared.domain.judging import StepVerdict
from shared.domain.wire import Wire


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

    `last_good` is empty where the endpoint was never live.
    """

    green: str
    blue: str = ""
    last_good: dict[str, int] = {}
    phase: Phase = Phase.NEW
    step: int = 0
    passed: tuple[int, ...] = ()
    began: datetime | None = None  # the rollout
    since: datetime | None = None  # the phase
    last_look: datetime | None = None
    newest: datetime | None = None  # the newest metric point that counted
    baked_s: float = 0.0
    fails: int = 0
    looks: int = 0
    writes: int = 0  # of the map that is asked for
    strays: int = 0  # looks in a row that read another map
    pauses: int = 0
    blue_p95_ms: float | None = None  # blue's last that was worth comparing with
    verdict: StepVerdict | None = None
    reason: str = ""
    ended_by: str = ""  # fail | inconclusive | reject | cancel | rollback | deadline | health | stray

    @property
    def is_over(self) -> bool:
        return self.phase in (Phase.COMMITTED, Phase.RESTORED, Phase.FROZEN, Phase.FENCED)


class Advance(Wire):
    state: RolloutState
    action: Action
