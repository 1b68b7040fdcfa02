"""The rollout as a state machine: what was seen in, the next state and the next action out. No I/O, no clock.

Green comes to 100 % only through every step in order, each passed by the judge or, where the judge could not tell, by a
person. What goes wrong ends in Restore, and a Restore that is not read back in Freeze.
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.deployment import LEAST_LOOK
from shared.domain.judging import (
    Baseline,
    Command,
    Observation,
    Ruling,
    StepVerdict,
    comparable_p95,
    is_fresh,
    judge,
)
from shared.domain.rollout_state import (
    FOLLOWS,
    Action,
    ActionKind,
    Advance,
    Ending,
    Phase,
    RolloutPolicy,
    RolloutState,
    evidence_of,
    steps_of,
    weights_of,
)
from shared.domain.serving import DeploymentState, serving

__all__ = [
    "FOLLOWS",
    "Action",
    "ActionKind",
    "Advance",
    "Phase",
    "RolloutPolicy",
    "RolloutState",
    "advance",
    "evidence_of",
    "steps_of",
    "weights_of",
]

READ_BACK_S = 15.0
LOOKS_PER_WRITE = 4  # reads lag writes: so many looks before the same map is written again
MAX_WRITES = 5
MAX_LOOKS = MAX_WRITES * LOOKS_PER_WRITE  # for a map that does not come, or a deployment not ready for one
CONFIRMATIONS = 2  # a lagging read may show the map from before the shift: restored is what was read twice
STRAYS = 2  # looks in a row at a map that nobody asked for; one may be a lagging read
SLOW_LOOKS = 40  # of a step that lasts on and on, and of a pause: each look is a few events of the history


def advance(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> Advance:
    """What follows from one look. Raises ValueError after the end: nothing follows that.

    A map that was written and not read back is written again, so that an observation after a failed write is as good as
    any other. Time is only believed in the steps that looks make: a jump adds at most two intervals between looks.
    """
    if state.is_over:
        raise ValueError(f"the rollout of {state.green} is {state.phase}: nothing follows")
    state = _timed(policy, state, seen)
    if seen.fenced:
        return _to(state, Phase.FENCED, _end(ActionKind.STOP, "another run has taken the endpoint"))
    if not seen.endpoint_exists:
        return _freeze(state, "the endpoint is gone")
    if state.phase is Phase.RESTORING:
        return _restoring(state, seen)
    if stopped := _stopped(policy, state, seen):
        return stopped
    match state.phase:
        case Phase.NEW:
            return _begin(policy, state, seen)
        case Phase.SHIFTING:
            return _shifting(policy, state, seen)
        case _:
            return _judged(policy, state, seen)


def _timed(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> RolloutState:
    """A look more. What the clock jumps adds no more than the looks that were made could.

    For the bake only time beyond the furthest that was seen counts, so that a clock that swings bakes nothing twice; how
    long the phase is open goes on from the last look, so that one clock too far ahead does not stop the patience.
    """
    most = 2 * _interval_s(policy, state)
    furthest = max(filter(None, (seen.now, state.furthest)))
    passed = _seconds(state.last_look or seen.now, seen.now, most)
    changes: dict[str, object] = {
        "last_look": seen.now,
        "furthest": furthest,
        "open_s": state.open_s + passed,
    }
    metrics = seen.green_metrics
    if state.phase in (Phase.BAKING, Phase.PAUSED) and metrics is not None and is_fresh(metrics, seen.now):
        changes["watched_s"] = state.watched_s + _seconds(state.furthest or seen.now, furthest, most)
        changes["newest"] = max(filter(None, (metrics.newest, state.newest)))
    return state.model_copy(update={**changes, "looks": state.looks + 1})


def _seconds(since: datetime, until: datetime, most: float) -> float:
    return min(max(0.0, (until - since).total_seconds()), most)


def _interval_s(policy: RolloutPolicy, state: RolloutState) -> float:
    """Seconds to the next look: a fifth of the bake, and fewer looks where a step or a pause lasts on."""
    if state.phase not in (Phase.BAKING, Phase.PAUSED):
        return READ_BACK_S
    rules = policy.rollout
    every = rules.look_every
    if state.phase is Phase.PAUSED:
        every = max(every, policy.answer_within / (2 * SLOW_LOOKS))
    elif state.open_s > 2 * rules.bake.total_seconds():
        every = max(every, rules.inconclusive_after / SLOW_LOOKS)
    return max(every, LEAST_LOOK).total_seconds()


def _stopped(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> Advance | None:
    """What ends a rollout in any phase, whatever the metrics say."""
    by = f" by {seen.by}" if seen.by else ""
    if state.blue and seen.blue not in (DeploymentState.READY, DeploymentState.CREATING):
        return _freeze(
            state, f"blue, {state.blue}, is {seen.blue}: the last good map names what cannot serve"
        )
    if seen.command is Command.CANCEL:
        return _restore(state, "cancel", f"cancelled{by}")
    if seen.command is Command.ROLL_BACK:
        return _restore(state, "rollback", f"rolled back{by}")
    if seen.command is Command.REJECT and _answers(state, seen):
        return _restore(state, "reject", f"rejected{by} in pause {state.pauses}")
    if seen.green not in (DeploymentState.READY, DeploymentState.CREATING):
        return _restore(state, "health", f"green, {state.green}, is {seen.green}")
    if seen.now >= policy.deadline:
        return _restore(state, "deadline", f"limits.deadline passed in step {state.step + 1}")
    return None


def _is_ready(state: RolloutState, seen: Observation) -> bool:
    """Whether a map may name both: Azure takes none with a deployment that is being updated."""
    return seen.green is DeploymentState.READY and (not state.blue or seen.blue is DeploymentState.READY)


def _answers(state: RolloutState, seen: Observation) -> bool:
    """Whether the command is about the pause that the rollout is in."""
    return state.phase is Phase.PAUSED and seen.number == state.pauses


def _begin(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> Advance:
    if state.looks >= MAX_LOOKS:
        return _restore(state, "health", f"not ready to begin: {state.reason}")
    if seen.weights is None or not _is_ready(state, seen):
        return _wait(policy, state, f"map {seen.weights}, green {seen.green}, blue {seen.blue}")
    if serving(seen.weights) != serving(state.last_good):
        return _restore(
            state, "stray", f"the map is {seen.weights}, not {state.last_good} as when it was read"
        )
    return _shift(policy, state.model_copy(update={"began": seen.now}), 0)


def _shift(policy: RolloutPolicy, state: RolloutState, step: int) -> Advance:
    state = _fresh(state, step=step, writes=1)
    weights = weights_of(policy, state)
    action = Action(kind=ActionKind.SET_TRAFFIC, weights=weights, after_s=READ_BACK_S)
    return _to(state, Phase.SHIFTING, action)


def _shifting(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> Advance:
    weights = weights_of(policy, state)
    if seen.weights is not None and serving(seen.weights) == serving(weights):
        baking = _fresh(state, since=seen.now, last_look=seen.now)
        first = _interval_s(policy, baking.model_copy(update={"phase": Phase.BAKING}))
        return _to(baking, Phase.BAKING, Action(kind=ActionKind.LOOK, after_s=first))
    if state.looks >= MAX_LOOKS:
        return _restore(state, "unset", f"{weights} was written {state.writes} times and never read back")
    if state.looks % LOOKS_PER_WRITE or not _is_ready(state, seen):
        return _wait(policy, state, f"{weights} was not read back yet")
    written = state.model_copy(update={"writes": state.writes + 1})
    return _to(
        written, state.phase, Action(kind=ActionKind.SET_TRAFFIC, weights=weights, after_s=READ_BACK_S)
    )


def _judged(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> Advance:
    """A look at a step, baking or paused. Only a map that was read back in this look can be promoted from."""
    weights = weights_of(policy, state)
    is_read_back = seen.weights is not None and serving(seen.weights) == serving(weights)
    strays = 0 if is_read_back or seen.weights is None else state.strays + 1
    if strays >= STRAYS:
        return _restore(state, "stray", f"somebody set the map to {seen.weights}, not {weights}")
    verdict = judge(policy.rollout, seen, _baseline(policy, state), baked=state.baked)
    theirs = comparable_p95(seen.blue_metrics, policy.rollout)
    state = state.model_copy(
        update={"verdict": verdict, "strays": strays, "blue_p95_ms": theirs or state.blue_p95_ms}
    )
    if verdict.ruling is Ruling.FAIL:
        return _failed(policy, state, verdict)
    may_pass = is_read_back and _is_ready(state, seen)
    if state.phase is Phase.PAUSED:
        return _paused(policy, state, seen, may_pass)
    if verdict.ruling is Ruling.PASS and may_pass:
        return _pass(policy, state)
    if state.open_s < policy.rollout.inconclusive_after.total_seconds():
        return _wait(policy, state, verdict.reason)
    return _inconclusive(policy, state, seen)


def _baseline(policy: RolloutPolicy, state: RolloutState) -> Baseline:
    return Baseline(
        has_blue=bool(state.blue),
        has_traffic=weights_of(policy, state).get(state.blue, 0) > 0,
        p95_ms=state.blue_p95_ms,
        first_p95_ms=policy.first_p95_ms,
    )


def _failed(policy: RolloutPolicy, state: RolloutState, verdict: StepVerdict) -> Advance:
    fails = state.fails + 1
    state = state.model_copy(update={"fails": fails})
    if fails >= policy.rollout.failure_limit:
        return _restore(state, "fail", verdict.reason)
    return _wait(policy, state, f"failed look {fails} of {policy.rollout.failure_limit}: {verdict.reason}")


def _pass(policy: RolloutPolicy, state: RolloutState) -> Advance:
    """The step is passed: on to the next, or after the last to the commit."""
    steps = steps_of(policy, state)
    passed = state.model_copy(update={"passed": (*state.passed, steps[state.step])})
    if passed.passed == steps:
        return _to(passed, Phase.COMMITTED, _end(ActionKind.COMMIT, "every step was passed"))
    return _shift(policy, passed, state.step + 1)


def _inconclusive(policy: RolloutPolicy, state: RolloutState, seen: Observation) -> Advance:
    why = state.verdict.reason if state.verdict else ""
    if policy.rollout.on_inconclusive == "rollback":
        return _restore(state, "inconclusive", why)
    state = state.model_copy(update={"pauses": state.pauses + 1, "paused": seen.now})
    after_s = _interval_s(policy, state.model_copy(update={"phase": Phase.PAUSED}))
    ask = Action(kind=ActionKind.ASK, number=state.pauses, after_s=after_s, reason=why)
    return _to(state, Phase.PAUSED, ask)


def _paused(policy: RolloutPolicy, state: RolloutState, seen: Observation, may_pass: bool) -> Advance:
    """A person decides, also where metrics have come back meanwhile; what fails is taken back without asking."""
    if seen.command is Command.APPROVE and _answers(state, seen) and may_pass:
        return _pass(policy, state)
    if state.paused is not None and seen.now >= state.paused + policy.answer_within:
        return _restore(
            state, "inconclusive", f"nobody answered pause {state.pauses} in time: {state.reason}"
        )
    return _wait(policy, state, state.reason)


def _restore(state: RolloutState, ended_by: Ending, why: str) -> Advance:
    state = _fresh(state, ended_by=ended_by, reason=why[:1000], writes=1)
    if state.phase is Phase.NEW:  # nothing was written: nothing is to be put back
        return _to(state, Phase.RESTORED, _end(ActionKind.STOP, why))
    return _to(state, Phase.RESTORING, _put_back(state))


def _put_back(state: RolloutState) -> Action:
    return Action(kind=ActionKind.RESTORE, weights=state.last_good, after_s=READ_BACK_S, reason=state.reason)


def _restoring(state: RolloutState, seen: Observation) -> Advance:
    """Read back twice is restored. Until then it is written again and again, and in the end a person is called."""
    if seen.weights is not None and serving(seen.weights) == serving(state.last_good):
        state = state.model_copy(update={"confirmed": state.confirmed + 1})
        if state.confirmed >= CONFIRMATIONS:
            return _to(state, Phase.RESTORED, _end(ActionKind.STOP, state.reason))
        return _to(state, state.phase, Action(kind=ActionKind.LOOK, after_s=READ_BACK_S))
    state = state.model_copy(update={"confirmed": 0})
    if state.blue and seen.blue not in (DeploymentState.READY, DeploymentState.CREATING):
        return _freeze(state, f"blue, {state.blue}, is {seen.blue}: {state.last_good} cannot be restored")
    if state.looks >= MAX_LOOKS:
        return _freeze(state, f"{state.last_good} was written {state.writes} times and not read back")
    if state.looks % LOOKS_PER_WRITE:
        return _to(state, state.phase, Action(kind=ActionKind.LOOK, after_s=READ_BACK_S))
    return _to(state.model_copy(update={"writes": state.writes + 1}), state.phase, _put_back(state))


def _freeze(state: RolloutState, why: str) -> Advance:
    reason = f"{why}; {state.reason}" if state.reason else why
    return _to(state, Phase.FROZEN, _end(ActionKind.FREEZE, reason))


def _fresh(state: RolloutState, **changes: object) -> RolloutState:
    """The state at the beginning of a phase: nothing seen in it yet."""
    blank = {
        "open_s": 0.0,
        "watched_s": 0.0,
        "newest": None,
        "fails": 0,
        "looks": 0,
        "confirmed": 0,
        "strays": 0,
    }
    return state.model_copy(update={**blank, **changes})


def _wait(policy: RolloutPolicy, state: RolloutState, why: str) -> Advance:
    look = Action(kind=ActionKind.LOOK, after_s=_interval_s(policy, state), reason=why)
    return _to(state, state.phase, look)


def _end(kind: ActionKind, why: str) -> Action:
    return Action(kind=kind, reason=why[:1000])


def _to(state: RolloutState, phase: Phase, action: Action) -> Advance:
    """The only way from phase to phase."""
    if phase not in FOLLOWS[state.phase]:
        raise AssertionError(f"{phase} does not follow {state.phase}")
    reason = action.reason or state.reason
    return Advance(state=state.model_copy(update={"phase": phase, "reason": reason}), action=action)
