"""Deployment: green is made and tested without traffic, agreed to, given traffic step by step, and taken back if bad."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrators.conversion import convert
from orchestrators.deploying import MAX_ROWS, RESTORE_WITHIN, Deploying, Rejected, rest
from orchestrators.green import (
    await_target,
    delete,
    fix_model,
    make_green,
    prove_green,
    retire_others,
    take_endpoint,
)
from orchestrators.profiling import profile_sizes
from orchestrators.rollout import Rolling, roll_out, tell
from orchestrators.runs import conclude
from shared.domain.deploy import (
    ApprovalRequest,
    CommitRequest,
    DeploymentRef,
    DeployOutcome,
    DeployRequest,
    DeployState,
    EndpointRecord,
    FreeRequest,
    HoldRequest,
    KeptDeployment,
    LastGood,
    policy_digest,
)
from shared.domain.errors import AppError, Cancelled, ConflictError, RolloutAborted
from shared.domain.lease import TAG_OWNER
from shared.domain.notices import Notice, NoticeKind
from shared.domain.rollout_state import Phase, RolloutPolicy, RolloutState
from shared.domain.serving import FENCED, TAG_MODEL, TAG_MODEL_SHA256, EndpointLook, serving
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

APPROVAL_LOOK = timedelta(minutes=5)
APPROVAL_LOOKS = 60  # at most, however long the approval may take
_KEPT_ENDINGS = (
    "fail",
    "inconclusive",
    "health",
    "rollback",
    "stray",
)  # under traffic: worth a look by a person
_STATES: dict[type[Exception], DeployState] = {
    Cancelled: DeployState.CANCELLED,
    Rejected: DeployState.REJECTED,
    RolloutAborted: DeployState.ROLLED_BACK,
}


class Frozen(AppError):
    """The last good map could not be confirmed: the endpoint stays held until a person has looked."""


def _failed(outcome: DeployOutcome) -> str | None:
    return outcome.reason if outcome.state in (DeployState.FAILED, DeployState.FROZEN) else None


@orchestrator(contracts.DEPLOY_MODEL, fails=_failed)
def deploy_model(flow: Flow, request: DeployRequest) -> Steps[DeployOutcome]:
    """Deploy a model version once.

    1. Hold the endpoint: one run at a time, under an epoch that every write carries. Fix the model by its digest.
    2. Put the map that is live on record. Make green at 0 %; test it; ask a person where policy says so.
    3. Shift traffic in steps that the judge passes. Anything else restores the map, read back.
    4. Commit: green is live, blue is held back. From here on upkeep has what is left.
    5. Record the outcome and the cost, whatever happened.
    """
    trail = AuditTrail(flow, who=request.started_by)
    run = Deploying(request, started=flow.now)
    yield from trail.write("run started", request.run, why=request.reason)
    try:
        outcome = yield from _deploy(flow, trail, run)
    except Exception as error:  # noqa: BLE001  # a step that died of a bug must not leave green behind
        flow.note("deployment failed", error=str(error))
        outcome = yield from _give_up(flow, trail, run, error)
    yield from _tell_end(flow, outcome)
    return (yield from conclude(flow, trail, outcome, contracts.RECORD_DEPLOYMENT))


def _deploy(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[DeployOutcome]:
    record = yield from _hold(flow, trail, run)
    yield from fix_model(flow, run)
    yield from convert(flow, trail, run)
    yield from await_target(flow, run)
    look = yield from take_endpoint(flow, trail, run)
    yield from _save_last_good(flow, trail, run, record, look)
    yield from retire_others(flow, trail, run, look)
    yield from profile_sizes(flow, trail, run)
    yield from make_green(flow, trail, run)
    yield from prove_green(flow, trail, run)
    yield from _approve(flow, trail, run)
    yield from _shift(flow, trail, run)
    return (yield from _commit(flow, trail, run))


def _hold(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[EndpointRecord]:
    """Take the endpoint. Raises ConflictError, code EndpointBusy, naming who has it."""
    request = run.request
    flow.status("holding", waiting_for=f"endpoint {request.endpoint}")
    asked = HoldRequest(
        endpoint=request.endpoint, platform=request.platform, workload=request.workload.name, run=request.run,
        at=flow.now, deadline=run.deadline + RESTORE_WITHIN,
    )  # fmt: skip
    hold = yield from flow.call(contracts.HOLD_ENDPOINT, asked)
    if not hold.granted:
        raise ConflictError(
            f"endpoint {request.endpoint}: {hold.reason}", code="EndpointBusy", target=hold.holder
        )
    run.epoch = hold.record.epoch
    run.live, run.previous = hold.record.live, hold.record.previous
    yield from trail.write("endpoint held", request.endpoint, before="free", after=f"epoch {run.epoch}")
    return hold.record


def _save_last_good(
    flow: Flow, trail: AuditTrail, run: Deploying, record: EndpointRecord, look: EndpointLook
) -> Steps[None]:
    """Put on record what comes back if anything goes wrong. Raises ConflictError if that is no one deployment's map."""
    weights = serving(look.traffic)
    if len(weights) > 1 or sum(weights.values()) not in (0, 100):
        raise ConflictError(
            f"the traffic of {run.request.endpoint} is {weights}: give one deployment all of it first",
            code="SplitTraffic",
            target=run.request.endpoint,
        )
    run.last_good = weights
    run.blue = _blue(record, look, next(iter(weights), ""))
    run.live, run.previous, run.weights = run.blue, None, weights
    yield from flow.call(
        contracts.SAVE_LAST_GOOD,
        LastGood(endpoint=run.request.endpoint, run=run.request.run, epoch=run.epoch, weights=weights),
    )
    yield from trail.write("last good map saved", run.request.endpoint, after=str(weights or "no traffic"))


def _blue(record: EndpointRecord, look: EndpointLook, name: str) -> DeploymentRef | None:
    """Who serves now: as the record says, or as its tags say if somebody else gave it the traffic."""
    if not name:
        return None
    if record.live and record.live.name == name:
        return record.live
    tags = look.of(name).tags
    return DeploymentRef(
        name=name,
        model=tags.get(TAG_MODEL, ""),
        sha256=tags.get(TAG_MODEL_SHA256, ""),
        run=tags.get(TAG_OWNER, ""),
    )


def _approve(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[None]:
    """Wait for a person where policy says so, and always where there is no blue. Raises Rejected."""
    policy = run.request.workload.approval
    if not policy.required and run.blue is not None:
        return
    reason = (
        "policy" if policy.required else "the first deployment of an endpoint: there is no blue to go back to"
    )
    expires = min(flow.now + policy.timeout, run.deadline)
    asked = _question(run, number=0, now=flow.now, expires=expires, reason=reason)
    yield from flow.call(contracts.ASK_APPROVAL, asked)
    yield from trail.write("approval asked", run.request.green, why=reason, after=asked.digest)
    yield from tell(flow, _notice(run, NoticeKind.AWAITING_APPROVAL, reason, asked.digest, flow.now))
    every_s = max(APPROVAL_LOOK, policy.timeout / APPROVAL_LOOKS).total_seconds()
    while flow.now < expires:
        look_s = min(every_s, (expires - flow.now).total_seconds())
        waiting = f"a person to approve {run.green} until {expires.isoformat()}"
        flow.status("awaiting approval", waiting_for=waiting, next_look_s=look_s, percent=35, rows=run.rows)
        look = yield from rest(flow, run, look_s)
        if approval := look.approval:
            who = approval.name or approval.by
            yield from trail.write(
                "approval given" if approval.decision == "approve" else "approval refused", run.request.green,
                why=approval.note, after=approval.digest, who=who,
            )  # fmt: skip
            if approval.decision == "reject":
                raise Rejected(f"rejected by {who}: {approval.note or 'no reason given'}")
            run.approved_by = who
            return
    raise Rejected(f"nobody approved by {expires.isoformat()}")


def _question(
    run: Deploying, *, number: int, now: datetime, expires: datetime, reason: str, step: int | None = None
) -> ApprovalRequest:
    assert run.plan is not None
    request, plan = run.request, run.plan.plan
    return ApprovalRequest(
        run=request.run,
        number=number,
        endpoint=request.endpoint,
        platform=request.platform,
        deployment=plan.name,
        model=str(plan.model),
        model_sha256=plan.model.sha256,
        environment=plan.digest,
        blue=str(run.blue or ""),
        steps=request.workload.rollout.steps,
        policy_sha256=policy_digest(request.workload),
        step=step,
        asked=now,
        expires=expires,
        requested_by=request.requested_by,
        four_eyes=request.workload.approval.four_eyes,
        reason=reason[:1000],
        rows=run.rows,
    )


def _shift(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[None]:
    """The rollout. Raises what ended it, after the last good map was read back, or Frozen if it could not be."""
    request, workload = run.request, run.request.workload
    assert run.model is not None
    policy = RolloutPolicy.of(workload, run.deadline)

    def asked(state: RolloutState, reason: str, now: datetime) -> ApprovalRequest:
        return _question(
            run, number=state.pauses, now=now, expires=now + policy.answer_within, reason=reason,
            step=state.step + 1,
        )  # fmt: skip

    rolling = Rolling(
        run=request.run, platform=request.platform, endpoint=request.endpoint, model=run.model.name,
        version=run.model.version, epoch=run.epoch, rollout=workload.rollout, policy=policy,
        state=RolloutState(
            green=request.green, blue=run.blue.name if run.blue else "", last_good=run.last_good
        ),
        asked=asked, lines=run.lines, weights=run.weights,
    )  # fmt: skip
    run.rolling = rolling
    try:
        yield from roll_out(flow, trail, rolling)
    except Exception as error:
        _settle(run, rolling, flow.now, cause=error)
        raise
    _settle(run, rolling, flow.now)
    _raise_unless_committed(rolling.state)


def _settle(run: Deploying, rolling: Rolling, now: datetime, *, cause: Exception | None = None) -> None:
    """Take over what the rollout has come to. Raises Frozen if its map could not be confirmed."""
    run.weights, run.lines = rolling.weights, rolling.lines[-MAX_ROWS:]
    run.kept = _kept(run, rolling.state, now)
    if rolling.state.phase is Phase.FROZEN:
        raise Frozen(rolling.state.reason) from cause


def _kept(run: Deploying, state: RolloutState, now: datetime) -> tuple[KeptDeployment, ...]:
    """Green, if it failed under traffic and policy keeps it for a while."""
    keep = run.request.workload.rollout.keep_failed
    if (
        state.phase is not Phase.RESTORED
        or state.ended_by not in _KEPT_ENDINGS
        or state.began is None
        or not keep
    ):
        return ()
    return (KeptDeployment(deployment=run.green, until=now + keep, reason=state.reason[:300]),)


def _raise_unless_committed(state: RolloutState) -> None:
    match state.phase:
        case Phase.COMMITTED:
            return
        case Phase.FENCED:
            raise ConflictError(state.reason, code=FENCED)
        case _:
            pass
    if state.ended_by == "cancel":
        raise Cancelled(state.reason)
    if state.ended_by == "reject":
        raise Rejected(state.reason)
    raise RolloutAborted(state.reason)


def _commit(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[DeployOutcome]:
    rollout = run.request.workload.rollout
    hold_until = flow.now + rollout.hold if run.blue else None
    flow.status("committing", waiting_for=f"{run.green} to be on record as live", percent=99)
    yield from flow.call(
        contracts.COMMIT_ROLLOUT,
        CommitRequest(
            endpoint=run.request.endpoint, run=run.request.run, epoch=run.epoch, live=run.green,
            previous=run.blue, hold_until=hold_until, at=flow.now,
        ),
    )  # fmt: skip
    yield from trail.write(
        "rollout committed", run.request.endpoint, before=str(run.blue or ""), after=str(run.green)
    )
    run.live, run.previous, run.hold_until = run.green, run.blue, hold_until
    held = f"; {run.blue} is held back until {hold_until.isoformat()}" if run.blue and hold_until else ""
    return run.outcome(DeployState.COMPLETED, f"{run.green} has all traffic{held}", flow.now)


def _give_up(flow: Flow, trail: AuditTrail, run: Deploying, error: Exception) -> Steps[DeployOutcome]:
    """Remove green, or keep it for debugging, and let the endpoint go. A fenced run touches nothing more."""
    reason = error.message if isinstance(error, AppError) else f"{type(error).__name__}: {error}"
    if run.epoch == 0:
        return run.outcome(DeployState.FAILED, reason, flow.now)
    if isinstance(error, ConflictError) and error.code == FENCED:
        return run.outcome(DeployState.FAILED, f"{reason}; upkeep or a roll back has taken over", flow.now)
    if isinstance(error, Frozen):
        yield from _free(flow, trail, run, frozen=reason)
        return run.outcome(DeployState.FROZEN, reason, flow.now)
    if run.rolling is not None and run.rolling.state.phase is not Phase.RESTORED:
        # Green may have traffic, and we do not get through. The endpoint stays held by a run that is over: upkeep's.
        return run.outcome(DeployState.FAILED, f"{reason}; upkeep restores the last good map", flow.now)
    if run.begun is not None and not run.kept:
        is_gone = yield from delete(
            flow, trail, run, run.request.green, owner=run.request.run, why=reason[:300]
        )
        if is_gone:
            run.stopped = flow.now
            flow.status(billing_since=None, usd_per_hour=0.0)
    yield from _free(flow, trail, run)
    return run.outcome(_STATES.get(type(error), DeployState.FAILED), reason, flow.now)


def _free(flow: Flow, trail: AuditTrail, run: Deploying, *, frozen: str = "") -> Steps[None]:
    """Let the endpoint go, or freeze it. If that fails, upkeep finds a run that is over and holds it still."""
    asked = FreeRequest(
        endpoint=run.request.endpoint, run=run.request.run, epoch=run.epoch, at=flow.now, frozen=frozen[:1000],
        kept=run.kept,
    )  # fmt: skip
    try:
        record = yield from flow.call(contracts.FREE_ENDPOINT, asked)
    except AppError as error:
        flow.note("endpoint not freed", endpoint=asked.endpoint, error=str(error))
        return
    run.commands = record.commands
    what = "endpoint frozen" if frozen else "endpoint freed"
    kept = f"kept: {run.kept[0].deployment} until {run.kept[0].until.isoformat()}" if run.kept else ""
    yield from trail.write(what, asked.endpoint, why=frozen or kept, before=f"epoch {run.epoch}")


def _tell_end(flow: Flow, outcome: DeployOutcome) -> Steps[None]:
    kinds = {
        DeployState.COMPLETED: NoticeKind.COMPLETED,
        DeployState.ROLLED_BACK: NoticeKind.ROLLED_BACK,
        DeployState.FROZEN: NoticeKind.FROZEN,
    }
    if kind := kinds.get(outcome.state):
        yield from tell(
            flow,
            Notice(
                kind=kind, run=outcome.run, endpoint=outcome.endpoint, workload=outcome.workload,
                model=outcome.model, reason=outcome.reason[:500], at=flow.now,
                facts={"live": outcome.live, "previous": outcome.previous, "commands": list(outcome.commands)},
            ),
        )  # fmt: skip


def _notice(run: Deploying, kind: NoticeKind, reason: str, about: str, now: datetime) -> Notice:
    return Notice(
        kind=kind, run=run.request.run, endpoint=run.request.endpoint, workload=run.request.workload.name,
        model=str(run.model or ""), reason=reason, about=about, at=now,
    )  # fmt: skip
