"""Starting a run exactly once: the claim is a create-only blob, the instance id alone is no lock."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from shared.azure import ledger
from shared.domain import names
from shared.domain.errors import ConflictError
from shared.domain.scoring import ScoreRequest
from shared.durable import contracts
from shared.durable.client import Orchestrations


@dataclass(frozen=True)
class Started:
    """`fresh` is True for the one caller whose claim it is, not for a redelivery, a second timer, or the same key."""

    run: str
    fresh: bool


class KeyReused(ConflictError):
    """The same idempotency key came with another request."""


async def start_once(
    orchestrations: Orchestrations, request: ScoreRequest, *, fingerprint: str = ""
) -> Started:
    """Start `request.run` if nobody has. Safe to repeat at any point, also after a crash between claim and start.

    A claim without its marker was started, whatever the task hub remembers of it. Raises KeyReused when the run was
    claimed for a request with another fingerprint.
    """
    fresh = await asyncio.to_thread(_claim, request, fingerprint)
    claimed = request if fresh else await asyncio.to_thread(_claimed_request, request, fingerprint)
    if not await asyncio.to_thread(ledger.exists, _unstarted(request.run)):
        return Started(run=request.run, fresh=False)
    if not await _has_run(orchestrations, request.run):
        await orchestrations.start(contracts.SCORE_BATCH, claimed, request.run)
    await asyncio.to_thread(ledger.delete, _unstarted(request.run))
    return Started(run=request.run, fresh=fresh)


async def start_forgotten(orchestrations: Orchestrations) -> list[str]:
    """Start every claim that a crash left without its run; gives the runs. Two may look at the same claim at once."""
    started = []
    for path in await asyncio.to_thread(ledger.list_paths, "claims/unstarted/"):
        claim = await asyncio.to_thread(ledger.read, f"claims/{path.rsplit('/', 1)[-1]}")
        if claim is None:
            continue  # the crash was before the claim, or somebody is about to make it: nobody was promised anything
        request = ScoreRequest.model_validate(claim["request"])
        await start_once(orchestrations, request, fingerprint=claim["fingerprint"])
        started.append(request.run)
    return started


async def is_claimed(run: str) -> bool:
    """Whether the run was started or, after a crash, is `start_forgotten`'s to start."""
    return await asyncio.to_thread(ledger.exists, _path(run))


async def find_at_work(orchestrations: Orchestrations, workload: str) -> str | None:
    """A run of the workload that is not over, however it was started."""
    looks = await orchestrations.list_at_work(contracts.SCORE_BATCH)
    return next((look.id for look in looks if names.is_run_of(look.id, workload)), None)


def fingerprint_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _path(run: str) -> str:
    return f"claims/{run}.json"


def _unstarted(run: str) -> str:
    return f"claims/unstarted/{run}.json"


def _claim(request: ScoreRequest, fingerprint: str) -> bool:
    """The marker first: at no moment is there a claim that was not started and has none."""
    if ledger.exists(_path(request.run)):
        return False
    ledger.claim(_unstarted(request.run), {"run": request.run})
    return ledger.claim(
        _path(request.run), {"request": request.model_dump(mode="json"), "fingerprint": fingerprint}
    )


def _claimed_request(request: ScoreRequest, fingerprint: str) -> ScoreRequest:
    claim = ledger.read(_path(request.run))
    if claim is None:
        return request
    if claim["fingerprint"] != fingerprint:
        raise KeyReused(
            f"{request.run} was started by another request under the same key", code="IdempotencyKeyReused"
        )
    return ScoreRequest.model_validate(claim["request"])


async def _has_run(orchestrations: Orchestrations, run: str) -> bool:
    """Whether the run exists or is over: a finished run that was purged from the hub must not run again."""
    if await orchestrations.look(run) is not None:
        return True
    return await asyncio.to_thread(ledger.exists, f"runs/{run}/outcome.json")
