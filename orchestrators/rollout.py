"""Traffic shifted step by step: the state machine of shared/domain/rollout.py says what, this does it and looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.deploy import ApprovalRequest
from shared.domain.deployment import Rollout
from shared.domain.errors import AppError, ConflictError, TransientError
from shared.domain.judging import Command, Observation, RuleRow, StepQuery
from shared.domain.notices import Notice, NoticeKind
from shared.domain.rollout import advance
from shared.domain.rollout_state import (
    Action,
    ActionKind,
    Advance,
    Phase,
    RolloutPolicy,
    RolloutState,
    evidence_of,
    steps_of,
)
from shared.domain.serving import FENCED, DeploymentState, TrafficChange, serving
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import DEFAULT_RETRY_AFTER_S, Flow, Steps

MAX_LOOKS = 240  # a history holds some two thousand events; from here on looks are few
MAX_LINES = 24
_TAKE_BACK = Command.ROLL_BACK
_WRITES = (ActionKind.SET_TRAFFIC, ActionKind.RESTORE)
_UNSEEN = {"green": DeploymentState.READY, "blue": DeploymentState.READY}


@dataclass
class Rolling:
    """A rollout: what is fixed about it, and how far it has come. `asked` makes what a person is asked in a pause.

    `weights` were read back last. `take_back` ends it with the last good map, whatever is seen.
    """

    run: str
    platform: str
    endpoint: str
    model: str
    version: str
    epoch: int
    rollout: Rollout
    policy: RolloutPolicy
    state: RolloutState
    asked: Callable[[RolloutState, str, datetime], ApprovalRequest] | None = None
    take_back: str = ""
    lines: list[str] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    looks: int = 0
    gone: int = 0  # looks in a row that found no endpoint

    def query(self, now: datetime) -> StepQuery:
        state = self.state
        return StepQuery(
            run=self.run, platform=self.platform, endpoint=self.endpoint, blue=state.blue, green=state.green,
            model=self.model, version=self.version, rollout=self.rollout, since=state.since or now,
            began=state.began or now, epoch=self.epoch,
            number=state.pauses if state.phase is Phase.PAUSED else 0,
            baking=self.rollout.max_prediction_drift is not None and state.phase in (Phase.BAKING, Phase.PAUSED),
        )  # fmt: skip


def roll_out(flow: Flow, trail: AuditTrail, rolling: Rolling) -> Steps[RolloutState]:
    """Drive the rollout to its end: committed, restored, frozen or fenced. Whatever breaks on the way restores.

    Raises what broke, after the restore; what is read from the state counts also then.
    """
    try:
        yield from _drive(flow, trail, rolling)
    except Exception as error:
        if rolling.state.is_over:
            raise
        flow.note("rollout broken, restoring", endpoint=rolling.endpoint, error=str(error))
        rolling.take_back = f"{type(error).__name__}: {error}"
        yield from _drive(flow, None, rolling)
        raise
    return rolling.state


def _drive(flow: Flow, trail: AuditTrail | None, rolling: Rolling) -> Steps[None]:
    """Look, advance, act. Without a trail nothing can break it but a bug: what fails is looked at again."""
    while not rolling.state.is_over:
        seen = yield from _look(flow, rolling)
        before = rolling.state
        advanced = advance(rolling.policy, before, seen)
        rolling.state = advanced.state
        rolling.weights = rolling.weights if seen.weights is None else serving(seen.weights)
        yield from _record(flow, trail, rolling, before, seen)
        delay_s = yield from _act(flow, trail, rolling, advanced)
        if not rolling.state.is_over:
            _show(flow, rolling, advanced.action, delay_s)
            if advanced.action.kind in _WRITES:
                yield from flow.sleep(delay_s)  # Azure named that time, whoever would wake us
            else:
                yield from flow.nap(delay_s)


def _look(flow: Flow, rolling: Rolling) -> Steps[Observation]:
    """One look. What keeps us from looking is an observation that saw nothing. Gone means gone in two looks."""
    rolling.looks += 1
    try:
        seen = yield from flow.call(contracts.READ_STEP, rolling.query(flow.now), tries=1)
    except AppError as error:
        flow.note("step not seen", endpoint=rolling.endpoint, error=str(error))
        seen = Observation(now=flow.now)
    rolling.gone = 0 if seen.endpoint_exists else rolling.gone + 1
    if rolling.gone == 1:
        seen = seen.model_copy(update={"endpoint_exists": True, "weights": None, **_UNSEEN})
    if rolling.take_back:
        return seen.model_copy(update={"command": _TAKE_BACK, "by": ""})
    return seen


def _act(flow: Flow, trail: AuditTrail | None, rolling: Rolling, advanced: Advance) -> Steps[float]:
    """Do what the state machine asks. Gives in how many seconds to look."""
    action = advanced.action
    delay_s = action.after_s
    if rolling.looks > MAX_LOOKS and action.kind is ActionKind.LOOK:
        delay_s = max(delay_s, (rolling.policy.deadline - flow.now).total_seconds() / 20)
    match action.kind:
        case kind if kind in _WRITES:
            waited_s = yield from _write(flow, trail, rolling, action)
            return max(delay_s, waited_s)
        case ActionKind.ASK:
            yield from _ask(flow, trail, rolling, action)
    return delay_s


def _write(flow: Flow, trail: AuditTrail | None, rolling: Rolling, action: Action) -> Steps[float]:
    """Write the map once; where the endpoint is at work on another change, once more after the time it names.

    Whether it was taken is seen by reading it back, not here. Gives how long Azure wants to be left alone.
    """
    before, refused = rolling.weights, ""
    change = TrafficChange(
        platform=rolling.platform, endpoint=rolling.endpoint, weights=action.weights, epoch=rolling.epoch,
        run=rolling.run, clears=not any(action.weights.values()),
    )  # fmt: skip
    delay_s = 0.0
    flow.status(
        "restoring" if action.kind is ActionKind.RESTORE else "shifting",
        waiting_for=f"{rolling.endpoint} to take {_map(action.weights)}",
    )
    for attempt in (1, 2):
        try:
            yield from flow.call(contracts.SET_TRAFFIC, change, tries=1)
            refused, delay_s = "", 0.0
            break
        except TransientError as error:
            refused, delay_s = str(error), error.retry_after_s or DEFAULT_RETRY_AFTER_S
            if attempt == 1:
                yield from flow.sleep(delay_s)
        except AppError as error:
            refused = str(error)
            if isinstance(error, ConflictError) and error.code == FENCED:
                flow.note("fenced", endpoint=rolling.endpoint, error=refused)
            break
    if trail is not None:
        what = "traffic refused" if refused else "traffic written"
        yield from trail.write(
            what, rolling.endpoint, why=(refused or _why(rolling, action))[:1000], before=_map(before),
            after=_map(action.weights),
        )  # fmt: skip
    return delay_s


def _why(rolling: Rolling, action: Action) -> str:
    if action.kind is ActionKind.RESTORE:
        return f"restore: {rolling.take_back or rolling.state.reason}"
    steps = steps_of(rolling.policy, rolling.state)
    return f"step {rolling.state.step + 1} of {len(steps)}"


def _ask(flow: Flow, trail: AuditTrail | None, rolling: Rolling, action: Action) -> Steps[None]:
    """Ask a person to decide a pause. One that cannot be asked does not answer, and the pause ends by itself."""
    if rolling.asked is None:
        return
    request = rolling.asked(rolling.state, action.reason, flow.now)
    yield from flow.call(contracts.ASK_APPROVAL, request)
    if trail is not None:
        yield from trail.write("approval asked", rolling.endpoint, why=action.reason, after=request.digest)
    notice = Notice(
        kind=NoticeKind.AWAITING_APPROVAL, run=rolling.run, endpoint=rolling.endpoint, model=request.model,
        reason=action.reason, about=request.digest, at=flow.now,
    )  # fmt: skip
    yield from tell(flow, notice)


def tell(flow: Flow, notice: Notice) -> Steps[None]:
    """Publish a notice. Nothing depends on whether anybody hears of it."""
    try:
        yield from flow.call(contracts.PUBLISH_NOTICE, notice, tries=2)
    except AppError as error:
        flow.note("notice not published", type=notice.type, error=str(error))


def _record(
    flow: Flow, trail: AuditTrail | None, rolling: Rolling, before: RolloutState, seen: Observation
) -> Steps[None]:
    """Put on record what a step has shown, when it ends."""
    evidence = evidence_of(rolling.run, rolling.policy, before, rolling.state, seen)
    if evidence is None:
        return
    rows = evidence.verdict.rows if evidence.verdict else ()
    told = "; ".join(_row(row) for row in rows[:8])
    by = f" by {evidence.by}" if evidence.by else ""
    rolling.lines.append(
        f"{evidence.weight} %: {evidence.outcome}{by} after {evidence.looks} looks: {told}"[:400]
    )
    del rolling.lines[:-MAX_LINES]
    try:
        yield from flow.call(contracts.RECORD_STEP, evidence)
    except AppError as error:
        if trail is not None:
            raise
        flow.note("step not recorded", endpoint=rolling.endpoint, error=str(error))
    if trail is not None:
        yield from trail.write(
            "step judged", rolling.endpoint, why=(rolling.state.reason or told)[:1000],
            before=f"{evidence.weight} %", after=evidence.outcome, who=evidence.by,
        )  # fmt: skip


def _row(row: RuleRow) -> str:
    return f"{row.rule} {row.value or '-'} ({row.ruling})"


def _show(flow: Flow, rolling: Rolling, action: Action, delay_s: float) -> None:
    state, steps = rolling.state, steps_of(rolling.policy, rolling.state)
    rows = (
        tuple(f"now: {_row(row)} limit {row.limit}"[:160] for row in state.verdict.rows)
        if state.verdict
        else ()
    )
    waiting = action.reason or f"step {min(state.step + 1, len(steps))} of {len(steps)} to bake"
    if state.phase is Phase.PAUSED:
        waiting = f"a person to decide pause {state.pauses}: {waiting}"
    flow.status(
        str(state.phase),
        waiting_for=waiting[:400],
        next_look_s=delay_s,
        percent=40 + 60 * len(state.passed) // len(steps),
        weights=rolling.weights,
        rows=(*rolling.lines, *rows)[-MAX_LINES:],
    )


def _map(weights: dict[str, int]) -> str:
    return " ".join(f"{name}={weight}" for name, weight in sorted(weights.items())) or "no traffic"
