"""Taking a deployment back: after its commit, as long as blue is held; or out of a rollout that froze."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrators.rollout import Rolling, roll_out, tell
from orchestrators.runs import conclude
from shared.domain.deploy import (
    CommitRequest,
    DeploymentRef,
    DeployOutcome,
    DeployState,
    EndpointRecord,
    FreeRequest,
    HoldRequest,
    KeptDeployment,
    LastGood,
    RollBackRequest,
)
from shared.domain.deployment import Rollout
from shared.domain.errors import AppError, ConflictError
from shared.domain.names import deployment_name
from shared.domain.notices import Notice, NoticeKind
from shared.domain.rollout_state import Phase, RolloutPolicy, RolloutState
from shared.domain.serving import FENCED, DeploymentState, EndpointLook, EndpointQuery, serving
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

WITHIN = timedelta(hours=1)
KEEP = timedelta(minutes=30)  # what was taken back stays so long without traffic, for a look at it


def _failed(outcome: DeployOutcome) -> str | None:
    return outcome.reason if outcome.state in (DeployState.FAILED, DeployState.FROZEN) else None


@orchestrator(contracts.ROLL_BACK, fails=_failed)
def roll_back(flow: Flow, request: RollBackRequest) -> Steps[DeployOutcome]:
    """Give all traffic back to what had it before a deployment. May be asked again until it has worked.

    1. Hold the endpoint, from its frozen holder if there is one: from here on that one writes nothing.
    2. Write the map that was good, until it is read back twice; or freeze again, with what to type by hand.
    3. Put on record who is live.
    """
    asked = HoldRequest(
        endpoint=request.endpoint, platform=request.platform, workload="", run=request.run, at=flow.now,
        deadline=flow.now + WITHIN, resume=True,
    )  # fmt: skip
    flow.status("holding", waiting_for=f"endpoint {request.endpoint}")
    hold = yield from flow.call(contracts.HOLD_ENDPOINT, asked)
    record = hold.record
    # A roll back may be asked for again under the same id: each is a chain of its own, by the epoch it got.
    trail = AuditTrail(flow, who=request.started_by, chain=f"{request.run}-e{record.epoch}")
    started = flow.now
    if not hold.granted:
        reason = f"endpoint {request.endpoint}: {hold.reason}"
        return _outcome(request, record, DeployState.FAILED, reason, started, flow.now)
    yield from trail.write(
        "roll back started", request.endpoint, why=request.reason, before=record.held_for or "free",
        after=f"epoch {record.epoch}",
    )  # fmt: skip
    try:
        outcome = yield from _take_back(flow, trail, request, record, started)
    except AppError as error:
        outcome = _outcome(request, record, DeployState.FAILED, error.message, started, flow.now)
        if not (isinstance(error, ConflictError) and error.code == FENCED):
            yield from _free(flow, request, record)
    return (yield from conclude(flow, trail, outcome, contracts.RECORD_DEPLOYMENT))


def _take_back(
    flow: Flow, trail: AuditTrail, request: RollBackRequest, record: EndpointRecord, started: datetime
) -> Steps[DeployOutcome]:
    query = EndpointQuery(platform=request.platform, endpoint=request.endpoint)
    look = yield from flow.call(contracts.READ_ENDPOINT, query)
    if not look.exists:
        yield from _free(flow, request, record, forget_live=True)
        reason = f"endpoint {request.endpoint} is gone: there is nothing to give traffic to"
        return _outcome(request, record, DeployState.ROLLED_BACK, reason, started, flow.now)
    _check(request, record, look)
    rolling = _rolling(request, record, flow.now)
    yield from flow.call(
        contracts.SAVE_LAST_GOOD,
        LastGood(
            endpoint=request.endpoint, run=request.run, epoch=record.epoch, weights=rolling.state.last_good,
            keeps_previous=True,
        ),
    )  # fmt: skip
    yield from roll_out(flow, trail, rolling)
    match rolling.state.phase:
        case Phase.RESTORED:
            pass
        case Phase.FENCED:
            raise ConflictError(rolling.state.reason, code=FENCED)
        case _:
            frozen = yield from _free(flow, request, record, frozen=rolling.state.reason)
            outcome = _outcome(
                request, frozen, DeployState.FROZEN, rolling.state.reason, started, flow.now, rolling
            )
            yield from tell(flow, _notice(outcome, NoticeKind.FROZEN, flow.now))
            return outcome
    ended = yield from _record(flow, request, record)
    yield from trail.write(
        "rolled back",
        request.endpoint,
        why=request.reason,
        before=str(record.live or ""),
        after=str(ended.live or ""),
    )
    reason = f"{ended.live or 'nobody'} has all traffic again"
    outcome = _outcome(request, ended, DeployState.ROLLED_BACK, reason, started, flow.now, rolling)
    yield from tell(flow, _notice(outcome, NoticeKind.ROLLED_BACK, flow.now))
    return outcome


def _check(request: RollBackRequest, record: EndpointRecord, look: EndpointLook) -> None:
    """Whether there is something to go back to. Raises ConflictError, with the endpoint as it was."""
    if record.held_for:
        return
    live, previous = record.live, record.previous
    if live is None or live.run != request.deploy_run:
        raise ConflictError(
            f"{request.deploy_run} is not what is live on {request.endpoint}: {live or 'nobody'} is",
            code="NotLive",
        )
    if previous is None or look.of(previous.name).state is not DeploymentState.READY:
        raise ConflictError(
            f"{request.endpoint} has nothing to go back to: {previous or 'blue'} is not held any more; "
            "deploy the version that you want",
            code="NoPrevious",
        )


def _rolling(request: RollBackRequest, record: EndpointRecord, now: datetime) -> Rolling:
    """A rollout that is to be taken back: the state machine restores its last good map."""
    if record.held_for:
        green, last_good = deployment_name(record.held_for), serving(record.last_good)
    else:
        assert record.live is not None and record.previous is not None
        green, last_good = record.live.name, {record.previous.name: 100}
    rollout = Rollout()
    return Rolling(
        run=request.run, platform=request.platform, endpoint=request.endpoint, model="", version="",
        epoch=record.epoch, rollout=rollout,
        policy=RolloutPolicy(rollout=rollout, first_p95_ms=0, answer_within=WITHIN, deadline=now + WITHIN),
        state=RolloutState(
            green=green, blue=next(iter(last_good), ""), last_good=last_good, phase=Phase.SHIFTING, began=now
        ),
        take_back=request.reason or f"rolled back by {request.requested_by or request.started_by}",
    )  # fmt: skip


def _record(flow: Flow, request: RollBackRequest, record: EndpointRecord) -> Steps[EndpointRecord]:
    """Who is live now. What was taken back stays without traffic for a while."""
    if record.held_for:
        return (yield from _free(flow, request, record))
    assert record.live is not None and record.previous is not None
    kept = KeptDeployment(deployment=record.live, until=flow.now + KEEP, reason="rolled back")
    return (
        yield from flow.call(
            contracts.COMMIT_ROLLOUT,
            CommitRequest(
                endpoint=request.endpoint, run=request.run, epoch=record.epoch, live=record.previous, kept=(kept,),
                at=flow.now,
            ),
        )
    )  # fmt: skip


def _free(
    flow: Flow,
    request: RollBackRequest,
    record: EndpointRecord,
    *,
    frozen: str = "",
    forget_live: bool = False,
) -> Steps[EndpointRecord]:
    asked = FreeRequest(
        endpoint=request.endpoint, run=request.run, epoch=record.epoch, at=flow.now, frozen=frozen[:1000],
        forget_live=forget_live,
    )  # fmt: skip
    return (yield from flow.call(contracts.FREE_ENDPOINT, asked))


def _outcome(
    request: RollBackRequest,
    record: EndpointRecord,
    state: DeployState,
    reason: str,
    started: datetime,
    now: datetime,
    rolling: Rolling | None = None,
) -> DeployOutcome:
    live: DeploymentRef | None = record.live
    return DeployOutcome(
        run=request.run,
        workload=record.workload,
        state=state,
        reason=reason,
        commands=record.commands,
        endpoint=request.endpoint,
        platform=request.platform,
        model=live.model if live else "",
        model_sha256=live.sha256 if live else "",
        live=str(live or ""),
        weights=rolling.weights if rolling else {},
        cause=request.deploy_run,
        started=started,
        ended=now,
    )


def _notice(outcome: DeployOutcome, kind: NoticeKind, now: datetime) -> Notice:
    return Notice(
        kind=kind, run=outcome.run, endpoint=outcome.endpoint, workload=outcome.workload, model=outcome.model,
        reason=outcome.reason[:500], at=now, facts={"commands": list(outcome.commands)},
    )  # fmt: skip
