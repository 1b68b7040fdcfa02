"""Starting the upkeep of endpoints: one pass at a time, told whose runs are over."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.azure import endpoint_records
from shared.domain.tending import TendRequest
from shared.durable import contracts
from shared.durable.client import Orchestrations

INSTANCE = "tend-endpoints"


async def start_pass(client: Any) -> None:
    """Start a pass, unless one is at work or no endpoint was ever held."""
    orchestrations = Orchestrations(client)
    running = await orchestrations.look(INSTANCE)
    if running and not running.is_over:
        return
    records = await asyncio.to_thread(endpoint_records.all_records)
    if not records:
        return
    holders = sorted({record.holder for record in records if record.holder})
    over = [look.id for look in await orchestrations.look_all(holders) if look.is_over]
    await orchestrations.start(contracts.TEND_ENDPOINTS, TendRequest(owners_over=tuple(over)), INSTANCE)
