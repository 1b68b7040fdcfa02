"""The HTTP API of deployments: ask for one, look at it, take it back. What people decide about it is in approvals.py."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import azure.functions as func

from shared.azure import approval_records, arm, endpoint_records, ledger
from shared.domain import names
from shared.domain.deploy import FUNCTION_KEY, DeployOutcome, DeployRequest, DeployState, RollBackRequest
from shared.domain.errors import ConflictError, Fault, NotFoundError
from shared.domain.report import InstanceLook, is_deployment, read_outcome, summary
from shared.durable import contracts
from shared.durable.client import Orchestrations
from shared.triggers import deploy_view
from shared.triggers.answers import MAX_LISTED, body_of, idempotency_key, json_answer, refused, run_of
from shared.triggers.deploy_body import Asked, read_request
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
    slot = f"key-{_digest(asked.workload.name, key)}" if key else f"manual-{uuid.uuid4().hex[:16]}"
    request = DeployRequest(
        run=names.deploy_run_id(asked.workload.name, slot),
        slot=slot,
        workload=asked.workload,
        version=asked.version,
        started_by=f"{ASKED_BY_HTTP}{who}",
        requested_by=who.id or FUNCTION_KEY,
        reason=asked.reason or "asked for over HTTP",
    )
    if key:
        await asyncio.to_thread(_bind_key, who, key, asked, request.run)
    if not await is_claimed(request.run):
        await asyncio.to_thread(_check, who, request)
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
    """The newest deployments and roll backs, newest first; with `endpoint`, those of one endpoint that are over."""
    looks = await orchestrations.list(contracts.DEPLOY_MODEL, contracts.ROLL_BACK)
    found = [
        {**summary(look), **deploy_view.brief(look), **deploy_view.links(req, look.id)} for look in looks
    ]
    return json_answer({"deployments": found[:MAX_LISTED]})


async def get_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """One deployment: weights, steps with metrics and verdicts, tests, spend, what it waits for, what is asked."""
    run = deployment_of(req)
    look = await find_known(orchestrations, run)
    body = await asyncio.to_thread(deploy_view.whole, look)
    return json_answer({**body, "urls": deploy_view.links(req, run)})


async def cancel_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Ask a deployment to stop: traffic goes back to the last good map, green is deleted. The record counts."""
    run, who = deployment_of(req), principal_of(req)
    require(who, DEPLOY, APPROVE, to="cancel a deployment")
    look = await find_known(orchestrations, run)
    if look.is_over:
        raise ConflictError(f"{run} is over ({state_of(look)}); there is nothing to cancel", code="RunIsOver")
    reason = req.params.get("reason", "") or "asked for over HTTP"
    await asyncio.to_thread(ledger.request_cancel, run, who=f"{ASKED_BY_HTTP}{who}", reason=reason)
    await orchestrations.wake_to_cancel(run, reason)
    await orchestrations.wake(run)
    return json_answer({"id": run, "cancelRequested": True, **deploy_view.links(req, run)}, status=202)


async def rollback_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Take a deployment back: under way, after its commit while the one before is held, or once more when frozen."""
    run, who = deployment_of(req), principal_of(req)
    require(who, DEPLOY, APPROVE, to="roll a deployment back")
    look = await find_known(orchestrations, run)
    reason = req.params.get("reason", "") or "asked for over HTTP"
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


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _bind_key(who: Principal, key: str, asked: Asked, run: str) -> None:
    """The key stands for this body from now on. Raises KeyReused if it stands for another."""
    path = f"deployments/keys/{hashlib.sha256(f'{who.id}|{key}'.encode()).hexdigest()}.json"
    told = {"fingerprint": asked.fingerprint, "run": run}
    if not ledger.claim(path, told) and ledger.read(path) != told:
        raise KeyReused("another deployment was asked for under this key", code="IdempotencyKeyReused")


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
    if outcome.state is not DeployState.FROZEN and not record.frozen:
        if outcome.state is not DeployState.COMPLETED:
            raise ConflictError(f"{run} ended {outcome.state}: it has no traffic", code="NotLive")
        if record.holder:
            raise Busy(f"{outcome.endpoint} is held by {record.holder}", code="Busy", target=record.holder)
        if record.live is None or record.live.run != run:
            raise ConflictError(f"{run} is not live any more: {record.live} is", code="NotLive")
        if record.previous is None:
            raise ConflictError(
                f"what {outcome.endpoint} served before {run} is deleted; deploy that version again",
                code="NothingBefore",
            )
    return RollBackRequest(
        run=names.rollback_run_id(run), deploy_run=run, endpoint=outcome.endpoint, platform=outcome.platform,
        started_by=f"{ASKED_BY_HTTP}{who}", requested_by=who.id or FUNCTION_KEY, reason=reason,
    )  # fmt: skip


def deployment_of(req: func.HttpRequest) -> str:
    """The deployment that the route names. Raises NotFoundError for what can be none."""
    run = run_of(req)
    if not is_deployment(run):
        raise NotFoundError(_UNKNOWN.format(run), code="NoRun")
    return run


async def find_known(orchestrations: Orchestrations, run: str) -> InstanceLook:
    """The run as the hub knows it, with its outcome as it is on record. Raises NotFoundError."""
    look = await orchestrations.look(run)
    if look is not None and (not look.is_over or look.outcome):
        return look
    record = await asyncio.to_thread(ledger.read, f"runs/{run}/outcome.json")
    outcome = read_outcome(run, record) if record else None
    if look is not None:
        return look.model_copy(update={"outcome": outcome})
    if outcome is None:
        raise NotFoundError(_UNKNOWN.format(run), code="NoRun")
    return InstanceLook(
        id=run, runtime="Completed", created=outcome.started, as_of=outcome.ended, outcome=outcome
    )


def state_of(look: InstanceLook) -> str:
    return str(look.outcome.state) if look.outcome else look.runtime
