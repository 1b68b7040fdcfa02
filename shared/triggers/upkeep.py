"""Starting upkeep: of machines and of endpoints, one pass of each at a time, told whose runs are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from shared.azure import endpoint_records, ledger
from shared.domain.fence import TENDER
from shared.domain.tending import TendRequest
from shared.domain.upkeep import ReapRequest
from shared.durable import contracts
from shared.durable.client import Orchestrations

REAPER = "reap-leases"


async def reap(client: Any) -> None:
    """Start a pass over machines, unless one is at work. Without an open lease too: what is tagged may still be there."""
    orchestrations = Orchestrations(client)
    if not await _at_work(orchestrations, REAPER):
        over = await _over(orchestrations, lambda: [opening.lease.owner for opening in ledger.open_leases()])
        await orchestrations.start(contracts.REAP_LEASES, ReapRequest(owners_over=over), REAPER)


async def tend(client: Any) -> None:
    """Start a pass over endpoints, unless one is at work or no endpoint was ever held."""
    orchestrations = Orchestrations(client)
    if await _at_work(orchestrations, TENDER):
        return
    records = await asyncio.to_thread(endpoint_records.all_records)
    if records:
        over = await _over(orchestrations, lambda: [record.holder for record in records if record.holder])
        await orchestrations.start(contracts.TEND_ENDPOINTS, TendRequest(owners_over=over), TENDER)


async def _at_work(orchestrations: Orchestrations, instance: str) -> bool:
    look = await orchestrations.look(instance)
    return look is not None and not look.is_over


async def _over(orchestrations: Orchestrations, owners: Callable[[], list[str]]) -> tuple[str, ...]:
    """Which of these runs are known to have ended."""
    asked = sorted(set(await asyncio.to_thread(owners)))
    return tuple(look.id for look in await orchestrations.look_all(asked) if look.is_over)
