"""The HTTP API of deployments: ask for one, look at it, take it back. What people decide about it is in approvals.py."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import azure.functions as func

from shared.azure import approval_records, arm, endpoint_records, ledger
from shared.domain import names
from shared.domain.converting import convert_instance_id
from shared.domain.deploy import (
    FUNCTION_KEY,
    DeployOutcome,
    DeployRequest,
    DeployState,
    EndpointRecord,
    RollBackRequest,
)
from shared.domain.errors import ConflictError, Fault, NotFoundError
from shared.domain.report import InstanceLook, is_deployment, read_outcome, summary
from shared.durable import contracts
from shared.durable.client import Orchestrations
from shared.triggers import deploy_view
from shared.triggers.answers import MAX_LISTED, body_of, idempotency_key, json_answer, refused, run_of
from shared.triggers.deploy_body import read_request
from shared.triggers.deploy_checks import faults_of_model
from shared.triggers.principals import APPROVE, DEPLOY, Forbidden, Principal, principal_of, require
from shared.triggers.start import ASKED_BY_HTTP, Busy, KeyReused, is_claimed, start_once, withdraw

RETRY_AFTER_S = 15
_UNKNOWN = "no deployment {!r}; GET /api/deployments lists them"


async def post_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Ask for a deployment. The same Idempotency-Key gives the same answer; with another body it is refused.

    Of all that ask for one endpoint at a time one gets it, before it is answered; the others are told who.
    """
    who = principal_of(req)
    require(who, DEPLOY, to="deploy a model")
    asked = read_request(body_of(req))
    key = idempotency_key(req)
    slot = f"key-{_digest(asked.workload.name, who.id, key)}" if key else f"manual-{uuid.uuid4().hex[:16]}"
    request = DeployRequest(
        run=names.deploy_run_id(asked.workload.name, slot),
        slot=slot,
        workload=asked.workload,
        version=asked.version,
        started_by=f"{ASKED_BY_HTTP}{who}",
        requested_by=who.id or FUNCTION_KEY,
        reason=asked.reason or "asked for over HTTP",
    )
    bound = _Key(who, key, {"fingerprint": asked.fingerprint, "run": request.run}) if key else None
    if bound:
        await asyncio.to_thread(bound.check)
    if not await is_claimed(request.run):
        await asyncio.to_thread(_check, who, request)
        if bound:
            await asyncio.to_thread(bound.bind)
    try:
        await start_once(orchestrations, request, fingerprint=asked.fingerprint)
    except Busy:
        await asyncio.to_thread(withdraw, request.run)
        raise
    links = deploy_view.links(req, request.run)
    headers = {"Location": links["status"], "Retry-After": str(RETRY_AFTER_S)}
    body = {
        "id": request.run,
        "endpoint": request.endpoint,
        "model": str(request.workload.model.name),
        **links,
    }
    return json_answer(body, status=202, headers={**headers, **({"Idempotency-Key": key} if key else {})})


async def get_deployments(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """The newest deployments and roll backs, newest first."""
    looks = await orchestrations.list(contracts.DEPLOY_MODEL, contracts.ROLL_BACK)
    rows = await asyncio.to_thread(lambda: [_row(look) for look in looks[:MAX_LISTED]])
    return json_answer({"deployments": [{**row, **deploy_view.links(req, row["id"])} for row in rows]})


async def get_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """One deployment: weights, steps with metrics and verdicts, tests, spend, what it waits for, what is asked."""
    run = deployment_of(req, or_roll_back=True)
    look = await find_known(orchestrations, run)
    child = await orchestrations.look(convert_instance_id(run))
    body = await asyncio.to_thread(deploy_view.whole, look, child)
    return json_answer({**body, "urls": deploy_view.links(req, run)})


async def cancel_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Ask a deployment to stop: traffic goes back to the last good map, green is deleted. The record counts."""
    run, who = deployment_of(req), principal_of(req)
    require(who, DEPLOY, APPROVE, to="cancel a deployment")
    look = await find_known(orchestrations, run)
    if look.is_over:
        raise ConflictError(f"{run} is over ({state_of(look)}); there is nothing to cancel", code="RunIsOver")
    reason = _reason(req)
    await asyncio.to_thread(ledger.request_cancel, run, who=f"{ASKED_BY_HTTP}{who}", reason=reason)
    await orchestrations.wake_to_cancel(run, reason)
    await orchestrations.wake(run)
    return json_answer({"id": run, "cancelRequested": True, **deploy_view.links(req, run)}, status=202)


async def rollback_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Take a deployment back: under way, after its commit while the one before is held, or once more when frozen."""
    run, who = deployment_of(req), principal_of(req)
    require(who, DEPLOY, APPROVE, to="roll a deployment back")
    look = await find_known(orchestrations, run)
    reason = _reason(req)
    if not look.is_over:
        now = await asyncio.to_thread(arm.now)
        await asyncio.to_thread(
            approval_records.request_rollback, run, who=f"{ASKED_BY_HTTP}{who}", reason=reason, at=now
        )
        await orchestrations.wake(run)
        return json_answer({"id": run, "rollbackRequested": True, **deploy_view.links(req, run)}, status=202)
    request = await asyncio.to_thread(_roll_back_request, run, look, who, reason)
    before = await orchestrations.look(request.run)
    if before is not None and before.runtime == "Completed":
        raise ConflictError(f"{run} was rolled back by {request.run}", code="RolledBack", target=request.run)
    await orchestrations.start(contracts.ROLL_BACK, request, request.run)
    links = deploy_view.links(req, request.run)
    return json_answer(
        {"id": request.run, "of": run, **links}, status=202,
        headers={"Location": links["status"], "Retry-After": str(RETRY_AFTER_S)},
    )  # fmt: skip


def _reason(req: func.HttpRequest) -> str:
    return str(req.params.get("reason", ""))[:400] or "asked for over HTTP"


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Key:
    """An Idempotency-Key of one caller. It stands for a body from when that body was found good."""

    who: Principal
    key: str
    told: dict[str, str]

    @property
    def path(self) -> str:
        return f"deployments/keys/{hashlib.sha256(f'{self.who.id}|{self.key}'.encode()).hexdigest()}.json"

    def check(self) -> None:
        """Raises KeyReused if it stands for another body."""
        if ledger.read(self.path) not in (None, self.told):
            raise KeyReused("another deployment was asked for under this key", code="IdempotencyKeyReused")

    def bind(self) -> None:
        """Raises KeyReused."""
        if not ledger.claim(self.path, self.told):
            self.check()


def _check(who: Principal, request: DeployRequest) -> None:
    """What can be known before anything is promised. Raises Forbidden or SpecErrors."""
    workload = request.workload
    record = endpoint_records.read(request.endpoint)
    faults: list[Fault] = faults_of_model(workload.model.name, request.version)
    if record.platform and record.live and record.platform != request.platform:
        message = f"{request.endpoint} is served on {record.platform}; delete it there first"
        faults.append(Fault(path="target.platform", message=message, allowed=record.platform))
    if faults:
        raise refused(faults)
    needs_approval = workload.approval.required or record.live is None
    if needs_approval and workload.approval.four_eyes and not who.is_named:
        raise Forbidden(
            f"{workload.name} needs the approval of someone else than who asks, and nobody can tell who holds the "
            f"{FUNCTION_KEY}: ask signed in (platform authentication)"
        )


def _roll_back_request(run: str, look: InstanceLook, who: Principal, reason: str) -> RollBackRequest:
    """How a deployment that is over is taken back. Raises ConflictError where there is nothing to go back to."""
    outcome = look.outcome
    if not isinstance(outcome, DeployOutcome):
        raise ConflictError(
            f"{run} left no outcome; the endpoint's record says what is live", code="NoOutcome"
        )
    record = endpoint_records.read(outcome.endpoint)
    _refuse_without_way_back(run, outcome, record)
    return RollBackRequest(
        run=names.rollback_run_id(run), deploy_run=run, endpoint=outcome.endpoint, platform=outcome.platform,
        started_by=f"{ASKED_BY_HTTP}{who}", requested_by=who.id or FUNCTION_KEY, reason=reason,
    )  # fmt: skip


def _refuse_without_way_back(run: str, outcome: DeployOutcome, record: EndpointRecord) -> None:
    """Raises ConflictError, unless the run is live with something held back, or is what the endpoint is frozen for."""
    ours = (run, names.rollback_run_id(run))
    if record.frozen and (record.held_for or record.holder) in ours:
        return
    if outcome.state is not DeployState.COMPLETED:
        raise ConflictError(f"{run} ended {outcome.state}: it has no traffic", code="NotLive")
    if record.holder and record.holder not in ours:
        raise Busy(f"{outcome.endpoint} is held by {record.holder}", code="Busy", target=record.holder)
    if record.live is None or record.live.run != run:
        raise ConflictError(f"{run} is not live any more: {record.live or 'nobody'} is", code="NotLive")
    if record.previous is None:
        raise ConflictError(
            f"what {outcome.endpoint} served before {run} is deleted; deploy that version again",
            code="NothingBefore",
        )


def deployment_of(req: func.HttpRequest, *, or_roll_back: bool = False) -> str:
    """The deployment that the route names. Raises NotFoundError for what can be none, ConflictError for a roll back."""
    run = run_of(req)
    if not is_deployment(run):
        raise NotFoundError(_UNKNOWN.format(run), code="NoRun")
    if run.startswith("rollback-") and not or_roll_back:
        raise ConflictError(f"{run} is a roll back: it goes to its end", code="RollBack")
    return run


def _row(look: InstanceLook) -> dict[str, Any]:
    whole = _with_outcome(look.id, look) or look
    return {**summary(whole), **deploy_view.brief(whole)}


async def find_known(orchestrations: Orchestrations, run: str) -> InstanceLook:
    """The run as the hub knows it, with its outcome as it is on record. Raises NotFoundError."""
    look = await asyncio.to_thread(_with_outcome, run, await orchestrations.look(run))
    if look is None:
        raise NotFoundError(_UNKNOWN.format(run), code="NoRun")
    return look


def _with_outcome(run: str, look: InstanceLook | None) -> InstanceLook | None:
    """A failed instance says its reason and no outcome, a purged one nothing: how they ended is on record."""
    if look is not None and (not look.is_over or look.outcome):
        return look
    record = ledger.read(f"runs/{run}/outcome.json")
    outcome = read_outcome(run, record) if record else None
    if look is not None:
        return look.model_copy(update={"outcome": outcome})
    if outcome is None:
        return None
    return InstanceLook(
        id=run, runtime="Completed", created=outcome.started, as_of=outcome.ended, outcome=outcome
    )


def state_of(look: InstanceLook) -> str:
    return str(look.outcome.state) if look.outcome else look.runtime
