"""Starting what is due: each slot of each workload once."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

from shared.azure import ledger
from shared.domain import names
from shared.domain.errors import AppError
from shared.domain.schedule import Slot, due_slots
from shared.domain.scoring import ScoreRequest
from shared.domain.workload import BatchScoring
from shared.durable.client import Orchestrations
from shared.triggers.start import start_forgotten, start_once
from shared.triggers.workloads import load_workloads

logger = logging.getLogger(__name__)

SKIPPED_KEPT = 50


async def start_due_slots(client: Any, now: datetime) -> None:
    """Start every slot that is due at `now`, once, however often or late this is called."""
    orchestrations = Orchestrations(client)
    workloads, faults = load_workloads()
    for fault in faults:
        logger.error("workload refused", extra={"faults": str(fault)})
    for workload in workloads.values():
        try:
            await start_due(orchestrations, workload, now)
        except AppError as error:  # one workload's trouble is not the others'
            logger.error("slot not started", extra={"workload": workload.name, "error": str(error)})
    await start_forgotten(orchestrations)


async def start_due(orchestrations: Orchestrations, workload: BatchScoring, now: datetime) -> None:
    """Start the workload's due slot and move its schedule record on.

    The record only saves work and remembers what was skipped: that a slot runs once is the claim's doing. A workload
    seen for the first time starts counting now; nothing fires because a schedule was switched on.
    """
    if workload.schedule is None:
        return
    record, etag = await asyncio.to_thread(ledger.read_schedule, workload.name)
    if record is None:
        await asyncio.to_thread(ledger.write_schedule, workload.name, _fresh_record(now), "")
        return
    since = datetime.fromisoformat(record["considered"])
    due = due_slots(workload.schedule, since=since, now=now)
    if not due.run and not due.skipped:
        return
    skipped = [slot.id for slot in due.skipped]
    considered = now
    for slot in due.run:
        if await _is_busy(orchestrations, record["last_run"]):
            if workload.schedule.overlap == "queue":
                # Asked again at the next tick: the slot stays due until the run before it is over.
                considered = slot.at - timedelta(microseconds=1)
                break
            skipped.append(slot.id)
            logger.warning(
                "slot skipped", extra={"workload": workload.name, "slot": slot.id, "busy": record["last_run"]}
            )
            continue
        request = slot_request(workload, slot, started_by="timer")
        await start_once(orchestrations, request)
        record["last_run"] = request.run
    record["considered"] = considered.isoformat()
    record["skipped"] = [*record["skipped"], *skipped][-SKIPPED_KEPT:]
    await asyncio.to_thread(ledger.write_schedule, workload.name, record, etag)


def slot_request(workload: BatchScoring, slot: Slot, *, started_by: str, reason: str = "") -> ScoreRequest:
    """The run of one slot: its id says what and when, so the same slot is the same run whoever starts it."""
    return ScoreRequest(
        run=names.score_run_id(workload.name, slot.id),
        slot=slot.id,
        workload=workload,
        started_by=started_by,
        reason=reason or f"slot {slot.id}",
    )


def _fresh_record(now: datetime) -> dict[str, Any]:
    return {"first_seen": now.isoformat(), "considered": now.isoformat(), "last_run": None, "skipped": []}


async def _is_busy(orchestrations: Orchestrations, run: str | None) -> bool:
    look = await orchestrations.look(run) if run else None
    return look is not None and not look.is_over
