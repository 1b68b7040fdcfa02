"""Comparing our records with Azure: facts that Event Grid lost, and runs that ended without leaving a word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from shared.azure import event_ledger, ledger, ml_changes
from shared.config import settings
from shared.domain.ml_events import MlEvent, normalise
from shared.domain.retrain_decision import Ended
from shared.durable.client import Orchestrations
from shared.triggers.intake import Taken, take
from shared.triggers.start import is_unstarted
from shared.triggers.workloads import retrainings

logger = logging.getLogger(__name__)

# Event Grid tries for 24 hours, and a job is listed under times of its own, not under that of its event.
OVERLAP = timedelta(hours=25)
MAX_TRIES = 20
GRACE = timedelta(minutes=10)  # from a decision to its claim, and from a claim to its run


async def reconcile(client: Any, now: datetime) -> list[Taken]:
    """Take in what happened in Azure ML and never came, through the path that events take. Safe to repeat."""
    orchestrations = Orchestrations(client)
    await _settle_lost_runs(orchestrations, now)
    if not settings().ml_workspace_id:
        return []
    through, etag = await asyncio.to_thread(event_ledger.read_reconciled)
    since = min(through or now, now) - OVERLAP
    lost = await asyncio.to_thread(_missing, since, now)
    taken = [await take(orchestrations, event, origin="reconciled") for event in lost]
    await asyncio.to_thread(event_ledger.write_reconciled, now, etag)
    if lost:
        logger.warning("events found that never came", extra={"keys": [event.key for event in lost]})
    return taken


def _missing(since: datetime, now: datetime) -> list[MlEvent]:
    """Facts since then that are not in the ledger."""
    known = event_ledger.keys_of(_days(since - timedelta(days=1), now + timedelta(days=1)))
    found = (normalise(raw) for raw in ml_changes.events_since(since))
    return list({e.key: e for e in found if isinstance(e, MlEvent) and e.key not in known}.values())


def _days(first: datetime, last: datetime) -> Iterable[datetime]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


async def _settle_lost_runs(orchestrations: Orchestrations, now: datetime) -> None:
    """A run that was terminated left no outcome: without this, every event would be taken for its evidence for ever."""
    for workload in retrainings():
        state, _ = await asyncio.to_thread(event_ledger.read_state, workload)
        for active in state.active:
            if active.started and now < active.started + GRACE:
                continue
            if await _is_lost(orchestrations, active.run):
                await asyncio.to_thread(_settle, workload, active.run)
                logger.warning(
                    "run ended without an outcome", extra={"workload": workload, "run": active.run}
                )


async def _is_lost(orchestrations: Orchestrations, run: str) -> bool:
    """Whether it is over, or gone, with no outcome on record and nothing left to start it."""
    look = await orchestrations.look(run)
    if look is not None and not look.is_over:
        return False
    if await is_unstarted(run):
        return False
    return await asyncio.to_thread(ledger.read, f"runs/{run}/outcome.json") is None


def _settle(workload: str, run: str) -> None:
    for _ in range(MAX_TRIES):
        state, etag = event_ledger.read_state(workload)
        if event_ledger.write_state(workload, state.settled({run: Ended(state="Failed")}), etag):
            return
