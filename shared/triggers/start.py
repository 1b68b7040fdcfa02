"""Starting a run exactly once, of whatever kind: the claim is a create-only blob, the instance id alone is no lock."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.azure import arm, endpoint_records, event_ledger, ledger
from shared.domain import fence, names
from shared.domain.deploy import DeployOutcome, DeployRequest, DeployState, EndpointRecord, HoldRequest
from shared.domain.drift import DriftRequest
from shared.domain.errors import AppError, ConflictError
from shared.domain.retrain import RetrainRequest
from shared.domain.scoring import ScoreRequest
from shared.domain.workload import BatchScoring, Deployment, DriftMonitor, Retraining, Workload
from shared.durable import contracts
from shared.durable.client import Orchestrations
from shared.durable.contracts import Step
from shared.triggers.deploy_checks import overtaken_by

logger = logging.getLogger(__name__)

type RunRequest = ScoreRequest | RetrainRequest | DriftRequest | DeployRequest

# By the kind of workload. What was claimed before there were kinds is scoring.
ROOTS: dict[str, Step[Any, Any]] = {
    "BatchScoring": contracts.SCORE_BATCH,
    "Retraining": contracts.RETRAIN,
    "DriftMonitor": contracts.MEASURE_DRIFT,
    "Deployment": contracts.DEPLOY_MODEL,
}
ASKED_BY_HTTP = "http:"  # what `started_by` begins with then
MAX_TRIES = 20
# A run counts its deadline from its own start, and has minutes after it to restore by itself; then it counts as lost.
HOLD_GRACE = timedelta(minutes=10)


def run_id_of(workload: Workload, slot: str) -> str:
    """A run's id says what and when: the same slot is the same run whoever starts it."""
    match workload:
        case BatchScoring():
            return names.score_run_id(workload.name, slot)
        case Retraining():
            return names.train_run_id(workload.name, slot)
        case DriftMonitor():
            return names.drift_run_id(workload.name, slot)
        case Deployment():
            return names.deploy_run_id(workload.name, slot)


def request_for(workload: Workload, slot: str, *, started_by: str, reason: str) -> RunRequest:
    """The run of one slot of a workload of any kind."""
    run = run_id_of(workload, slot)
    match workload:
        case BatchScoring():
            return ScoreRequest(run=run, slot=slot, workload=workload, started_by=started_by, reason=reason)
        case Retraining():
            return RetrainRequest(run=run, slot=slot, workload=workload, started_by=started_by, reason=reason)
        case DriftMonitor():
            return DriftRequest(run=run, slot=slot, workload=workload, started_by=started_by, reason=reason)
        case Deployment():
            return DeployRequest(
                run=run, slot=slot, workload=workload, version=workload.model.version, started_by=started_by,
                reason=reason,
            )  # fmt: skip


@dataclass(frozen=True)
class Started:
    """`fresh` is True for the one caller whose claim it is, not for a redelivery, a second timer, or the same key."""

    run: str
    fresh: bool


class KeyReused(ConflictError):
    """The same idempotency key came with another request."""


class Busy(ConflictError):
    """Somebody else holds what the run needs to begin."""


class Overtaken(ConflictError):
    """What an event asked for is not needed any more."""


async def start_once(
    orchestrations: Orchestrations, request: RunRequest, *, fingerprint: str = ""
) -> Started:
    """Start `request.run` if nobody has. Safe to repeat at any point, also after a crash between claim and start.

    A claim without its marker was started, whatever the task hub remembers of it. Raises KeyReused when the run was
    claimed for a request with another fingerprint, and Busy when a deployment cannot have its endpoint now: the claim
    is left, and the next tick tries again.
    """
    fresh = await asyncio.to_thread(claim, request, fingerprint)
    claimed = request if fresh else await asyncio.to_thread(_claimed_request, request, fingerprint)
    if not await is_unstarted(request.run):
        return Started(run=request.run, fresh=False)
    if not await _has_run(orchestrations, request.run):
        await asyncio.to_thread(_prepare, claimed)
        await orchestrations.start(ROOTS[claimed.workload.kind], claimed, request.run)
    try:
        await asyncio.to_thread(ledger.delete, _unstarted(request.run))
    except (
        AppError
    ) as error:  # it is started: who asked without a key and is told otherwise would start another
        logger.warning("%s was started, its marker stays for the next tick: %s", request.run, error)
    return Started(run=request.run, fresh=fresh)


async def start_forgotten(orchestrations: Orchestrations) -> list[str]:
    """Start every claim that a crash left without its run; gives the runs. Two may look at the same claim at once."""
    started = []
    for path in await asyncio.to_thread(ledger.list_paths, "claims/unstarted/"):
        found = await asyncio.to_thread(ledger.read, f"claims/{path.rsplit('/', 1)[-1]}")
        if found is None:
            continue  # the crash was before the claim, or somebody is about to make it: nobody was promised anything
        request = _request_of(found)
        try:
            await start_once(orchestrations, request, fingerprint=found["fingerprint"])
        except Busy:
            if request.started_by.startswith(
                ASKED_BY_HTTP
            ):  # nobody was promised anything; who asked asks again
                await asyncio.to_thread(withdraw, request.run)
            continue
        except Overtaken as error:
            await asyncio.to_thread(_drop, request, str(error))
            continue
        started.append(request.run)
    return started


def _drop(request: RunRequest, reason: str) -> None:
    """Say for good why a claimed deployment was not started. The outcome first: after it nobody starts the run."""
    if isinstance(request, DeployRequest):
        now = arm.now()
        outcome = DeployOutcome(
            run=request.run, workload=request.workload.name, slot=request.slot, state=DeployState.REJECTED,
            reason=f"not started: {reason}", endpoint=request.endpoint, platform=request.platform,
            model=f"{request.model.name}:{request.version}", cause=request.cause, evidence=request.evidence,
            started=now, ended=now,
        )  # fmt: skip
        ledger.claim(f"runs/{request.run}/outcome.json", outcome)
    ledger.delete(_unstarted(request.run))


def withdraw(run: str) -> None:
    """Take a claim back that was not started. The claim first: without it, its marker starts nothing."""
    ledger.delete(_path(run))
    ledger.delete(_unstarted(run))


async def is_claimed(run: str) -> bool:
    """Whether the run was started or, after a crash, is `start_forgotten`'s to start."""
    return await asyncio.to_thread(ledger.exists, _path(run))


async def is_unstarted(run: str) -> bool:
    """Whether it is claimed and about to be started."""
    return await asyncio.to_thread(ledger.exists, _unstarted(run))


async def find_at_work(orchestrations: Orchestrations, workload: str) -> str | None:
    """A run of the workload that is not over, however it was started."""
    looks = await orchestrations.list_at_work(*ROOTS.values())
    return next((look.id for look in looks if names.is_run_of(look.id, workload)), None)


def fingerprint_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _path(run: str) -> str:
    return f"claims/{run}.json"


def _unstarted(run: str) -> str:
    return f"claims/unstarted/{run}.json"


def claim(request: RunRequest, fingerprint: str = "") -> bool:
    """Claim a run that the next tick, or the caller, starts. True for the one caller whose claim it is.

    The marker first: at no moment is there a claim that was not started and has none.
    """
    if ledger.exists(_path(request.run)):
        return False
    ledger.claim(_unstarted(request.run), {"run": request.run})
    return ledger.claim(
        _path(request.run),
        {
            "kind": request.workload.kind,
            "request": request.model_dump(mode="json"),
            "fingerprint": fingerprint,
        },
    )


def _claimed_request(request: RunRequest, fingerprint: str) -> RunRequest:
    found = ledger.read(_path(request.run))
    if found is None:
        return request
    if found["fingerprint"] != fingerprint:
        raise KeyReused(
            f"{request.run} was started by another request under the same key", code="IdempotencyKeyReused"
        )
    return _request_of(found)


def _request_of(claim: dict[str, Any]) -> RunRequest:
    request: RunRequest = ROOTS[claim.get("kind", "BatchScoring")].input.model_validate(claim["request"])
    return request


def _prepare(request: RunRequest) -> None:
    """What must be so before the run begins. Safe to repeat."""
    match request:
        case RetrainRequest():
            _note(request)
        case DeployRequest():
            _take_endpoint(request)


def _take_endpoint(request: DeployRequest) -> None:
    """Of all that ask for an endpoint at one moment one gets it, and the others are told who.

    Raises Busy, and Overtaken for what an event asked for while a newer version came to be live.
    """
    now = arm.now()
    deadline = now + request.workload.limits.deadline + HOLD_GRACE
    asked = HoldRequest(
        endpoint=request.endpoint, platform=request.platform, workload=request.workload.name, run=request.run,
        at=now, deadline=deadline,
    )  # fmt: skip

    def take(record: EndpointRecord) -> EndpointRecord:
        hold = fence.hold(record, asked)
        if not hold.granted:
            said = f"endpoint {request.endpoint} is not free: {hold.reason}"
            raise Busy(said, code="Busy", target=hold.holder or None)
        if record.holder is None and (reason := overtaken_by(request, record)):
            raise Overtaken(reason, code="Overtaken")
        return hold.record

    endpoint_records.update(request.endpoint, take)


def _note(request: RetrainRequest) -> None:
    """Let the decisions about events know that a retraining is at work, whoever asked for it."""
    for _ in range(MAX_TRIES):
        state, etag = event_ledger.read_state(request.workload.name)
        moved = state.started(request.run)
        if moved == state or event_ledger.write_state(request.workload.name, moved, etag):
            return


async def _has_run(orchestrations: Orchestrations, run: str) -> bool:
    """Whether the run exists or is over: a finished run that was purged from the hub must not run again."""
    if await orchestrations.look(run) is not None:
        return True
    return await asyncio.to_thread(ledger.exists, f"runs/{run}/outcome.json")
