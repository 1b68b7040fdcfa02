"""Starting upkeep: of machines and of endpoints, a pass of each after the other, told whose runs are over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from shared.azure import endpoint_records, ledger
from shared.domain.fence import TENDER
from shared.domain.tending import TendRequest
from shared.domain.upkeep import REAPER, ReapRequest
from shared.durable import contracts
from shared.durable.client import Orchestrations

logger = logging.getLogger(__name__)

STUCK = timedelta(minutes=2)  # a pass makes a step every few seconds; one that made none for so long may hang
MOST_PASSES = 3  # at once: where all of these hang, it is not the passes that are ill


async def reap(client: Any, now: datetime) -> None:
    """Start a pass over machines, unless one is at work. Without an open lease too: what is tagged may still be there."""
    orchestrations = Orchestrations(client)
    if (free := await _free_id(orchestrations, REAPER, now)) is not None:
        over = await _over(orchestrations, lambda: [opening.lease.owner for opening in ledger.open_leases()])
        await orchestrations.start(contracts.REAP_LEASES, ReapRequest(owners_over=over), free)


async def tend(client: Any, now: datetime) -> None:
    """Start a pass over endpoints, unless one is at work or no endpoint was ever held."""
    orchestrations = Orchestrations(client)
    if (free := await _free_id(orchestrations, TENDER, now)) is None:
        return
    records = await asyncio.to_thread(endpoint_records.all_records)
    if records:
        over = await _over(orchestrations, lambda: [record.holder for record in records if record.holder])
        await orchestrations.start(contracts.TEND_ENDPOINTS, TendRequest(owners_over=over), free)


async def _free_id(orchestrations: Orchestrations, instance: str, now: datetime) -> str | None:
    """The instance id for a pass that starts now; None while one is at work that makes steps.

    One whose activity hangs, or which the task hub has lost, must not keep the others: the next starts beside it. Two
    at work do each other no harm: what a pass does is asked for under an epoch or an etag.
    """
    for free in (instance, *(f"{instance}-{n}" for n in range(2, MOST_PASSES + 1))):
        look = await orchestrations.look(free)
        if look is None or look.is_over:
            return free
        if look.as_of is None or now - look.as_of < STUCK:
            return None
        logger.warning("%s has made no step since %s: upkeep goes on beside it", free, look.as_of.isoformat())
    return None


async def _over(orchestrations: Orchestrations, owners: Callable[[], list[str]]) -> tuple[str, ...]:
    """Which of these runs are known to have ended."""
    asked = sorted(set(await asyncio.to_thread(owners)))
    return tuple(look.id for look in await orchestrations.look_all(asked) if look.is_over)
