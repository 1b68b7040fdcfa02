"""The HTTP API: start, list, look at and cancel runs; see the leases. The routes are in http.py."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field

from shared.azure import ledger
from shared.domain.errors import AppError, ConflictError, NotFoundError
from shared.domain.report import (
    InstanceLook,
    RunReport,
    build_report,
    child_ids,
    is_deployment,
    is_retraining,
    read_outcome,
    summary,
)
from shared.domain.schedule import Slot, is_slot, preview
from shared.domain.workload import Deployment, Workload
from shared.durable import contracts
from shared.durable.client import Orchestrations
from shared.triggers import approvals, decisions, deployments
from shared.triggers.answers import (
    MAX_LISTED,
    idempotency_key,
    iso,
    json_answer,
    read_body,
    run_of,
    wrong,
)
from shared.triggers.principals import principal_of
from shared.triggers.problems import problem
from shared.triggers.schedules import slot_request
from shared.triggers.start import (
    ROOTS,
    RunRequest,
    find_at_work,
    fingerprint_of,
    is_claimed,
    request_for,
    start_once,
)
from shared.triggers.workloads import find_workload, load_workloads

_UNKNOWN = "no run {!r}; GET /api/runs lists them"

type Handler = Callable[[func.HttpRequest, Orchestrations], Awaitable[func.HttpResponse]]


class StartRun(BaseModel):
    """The body of POST /api/runs. With `slot` the run is that slot's, the same one the timer would start."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    workload: str = Field(min_length=1, max_length=64)
    slot: str | None = Field(default=None, max_length=40)
    reason: str = Field(default="", max_length=400)


async def answer(name: str, req: func.HttpRequest, client: Any) -> func.HttpResponse:
    """What the handler called `name` answers; what we raise on purpose becomes problem details."""
    try:
        return await HANDLERS[name](req, Orchestrations(client))
    except AppError as error:
        return problem(error)


async def post_run(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Start a run of a workload. The same Idempotency-Key gives the same run; with another body it is refused."""
    body = read_body(req, StartRun)
    workload = find_workload(body.workload)
    if isinstance(workload, Deployment):
        raise wrong("workload", f"{workload.name} is a Deployment: POST /api/deployments (muster deploy)")
    key = idempotency_key(req) or str(uuid.uuid4())
    who = f"http:{principal_of(req)}"
    if body.slot:
        request = slot_request(workload, _slot(workload, body.slot), started_by=who, reason=body.reason)
        fingerprint = ""
    else:
        digest = hashlib.sha256(f"{workload.name}|{key}".encode()).hexdigest()[:16]
        slot = f"manual-{digest}"
        reason = body.reason or "asked for over HTTP"
        request = request_for(workload, slot, started_by=who, reason=reason)
        fingerprint = fingerprint_of(body.model_dump_json().encode())
    await _refuse_if_busy(orchestrations, request)
    started = await start_once(orchestrations, request, fingerprint=fingerprint)
    links = _links(req, started.run)
    return json_answer(
        {"id": started.run, "fresh": started.fresh, **links},
        status=202,
        headers={"Location": links["status"], "Retry-After": "5", "Idempotency-Key": key},
    )


async def get_runs(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """The newest runs, newest first."""
    looks = await orchestrations.list(*ROOTS.values(), contracts.ROLL_BACK)
    return json_answer({"runs": [{**summary(look), **_links(req, look.id)} for look in looks[:MAX_LISTED]]})


async def get_run(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """One run: phase, percent, machines, spend so far, what it waits for and since when, when it looks next."""
    report = await _report(orchestrations, run_of(req))
    return json_answer({**report.model_dump(mode="json"), **_links(req, report.id)})


async def cancel_run(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Ask a run to stop: its jobs are cancelled and its machines released. What is on record counts, not the event."""
    run = run_of(req)
    if is_deployment(run):
        return await deployments.cancel_deployment(req, orchestrations)
    look = await _known(orchestrations, run)
    if look.is_over:
        raise ConflictError(f"{run} is over ({look.runtime}); there is nothing to cancel", code="RunIsOver")
    reason = req.params.get("reason", "") or "asked for over HTTP"
    await asyncio.to_thread(ledger.request_cancel, run, who=f"http:{principal_of(req)}", reason=reason)
    await orchestrations.wake_to_cancel(run, reason)
    return json_answer({"id": run, "cancelRequested": True, **_links(req, run)}, status=202)


async def get_leases(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Every lease that is open: owner, machine, price, deadline. None at rest."""
    openings = await asyncio.to_thread(lambda: list(ledger.open_leases()))
    leases = [
        {
            "id": o.lease.id, "owner": o.lease.owner, "epoch": o.lease.epoch, "platform": o.lease.platform,
            "machine": str(o.lease.offer), "usdPerHour": o.lease.offer.usd_per_hour * o.lease.nodes,
            "since": iso(o.at), "deadline": iso(o.lease.deadline),
        }
        for o in openings
    ]  # fmt: skip
    return json_answer({"leases": leases})


async def get_health(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Whether the app can work: declarations read, storage reached. 503 names what is wrong."""
    workloads: list[str] = []
    problems: list[str] = []
    try:
        found, faults = load_workloads()
        workloads, problems = sorted(found), [str(fault) for fault in faults]
        await asyncio.to_thread(ledger.storage_now)
    except AppError as error:
        problems.append(str(error))
    body = {"healthy": not problems, "workloads": workloads, "problems": problems}
    return json_answer(body, status=503 if problems else 200)


HANDLERS: dict[str, Handler] = {
    handler.__name__: handler
    for handler in (
        post_run, get_runs, get_run, cancel_run, decisions.get_decisions, decisions.get_decision, get_leases, get_health,
        deployments.post_deployment, deployments.get_deployments, deployments.get_deployment,
        deployments.cancel_deployment, deployments.rollback_deployment, approvals.approve_deployment,
        approvals.reject_deployment,
    )
}  # fmt: skip


def _slot(workload: Workload, text: str) -> Slot:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise wrong("slot", f"{text!r} is not a time with a zone; for example 2026-03-01T02:00:00Z")
    if workload.schedule is None:
        raise wrong("slot", f"{workload.name} has no schedule; leave `slot` out")
    slot = Slot(at=at)
    if not is_slot(workload.schedule, slot):
        near = ", ".join(s.at.isoformat() for s in preview(workload.schedule, at, 3))
        raise wrong("slot", f"{text!r} is no slot of {workload.name}; the next ones are {near}")
    return slot


async def _refuse_if_busy(orchestrations: Orchestrations, request: RunRequest) -> None:
    """Two runs of one workload at a time would list the same inputs; the one that has begun is named."""
    if await is_claimed(request.run):
        return
    if busy := await find_at_work(orchestrations, request.workload.name):
        raise ConflictError(
            f"{busy} of workload {request.workload.name} is at work; wait for it or cancel it", code="Busy"
        )


async def _known(orchestrations: Orchestrations, run: str) -> InstanceLook:
    look = await orchestrations.look(run)
    if look is None:
        raise NotFoundError(_UNKNOWN.format(run), code="NoRun")
    return look


async def _report(orchestrations: Orchestrations, run: str) -> RunReport:
    """What the hub and the run's own records say. A failed run answers with an error, and a purged one not at all: how
    they ended is on record."""
    root = await orchestrations.look(run)
    if root is None or (root.is_over and root.outcome is None):
        root = _with_outcome(run, root, await asyncio.to_thread(ledger.read, f"runs/{run}/outcome.json"))
    batches = await orchestrations.look_all(child_ids(run))
    read_progress = ledger.read_trials_progress if is_retraining(run) else ledger.read_all_progress
    progress = await asyncio.to_thread(read_progress, run)
    return build_report(root, batches, progress)


def _with_outcome(run: str, root: InstanceLook | None, record: Any | None) -> InstanceLook:
    outcome = read_outcome(run, record) if record else None
    if root is not None:
        return root.model_copy(update={"outcome": outcome})
    if outcome is None:
        raise NotFoundError(_UNKNOWN.format(run), code="NoRun")
    return InstanceLook(
        id=run, runtime="Completed", created=outcome.started, as_of=outcome.ended, outcome=outcome
    )


def _links(req: func.HttpRequest, run: str) -> dict[str, str]:
    base = req.url.split("?", 1)[0].split("/runs", 1)[0]
    return {"status": f"{base}/runs/{run}", "cancel": f"{base}/runs/{run}/cancel"}
