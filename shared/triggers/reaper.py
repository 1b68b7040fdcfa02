"""Starting the reaper: one pass at a time, told whose runs are over."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.azure import ledger
from shared.domain.upkeep import ReapRequest
from shared.durable import contracts
from shared.durable.client import Orchestrations

INSTANCE = "reap-leases"


async def start_pass(client: Any) -> None:
    """Start a pass, unless one is at work."""
    orchestrations = Orchestrations(client)
    running = await orchestrations.look(INSTANCE)
    if running and not running.is_over:
        return
    openings = await asyncio.to_thread(lambda: list(ledger.open_leases()))
    owners = sorted({opening.lease.owner for opening in openings})
    over = [look.id for look in await orchestrations.look_all(owners) if look.is_over]
    await orchestrations.start(contracts.REAP_LEASES, ReapRequest(owners_over=tuple(over)), INSTANCE)
