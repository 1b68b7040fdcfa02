"""Starting what is due: each slot of each workload once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.azure import ledger
from shared.domain.errors import AppError
from shared.domain.schedule import ScheduleRecord, Slot, due_slots
from shared.domain.workload import Schedule, Workload
from shared.durable.client import Orchestrations
from shared.triggers.intake import consider_forgotten
from shared.triggers.start import (
    RunRequest,
    find_at_work,
    is_claimed,
    request_for,
    run_id_of,
    start_forgotten,
    start_once,
)
from shared.triggers.workloads import load_workloads

logger = logging.getLogger(__name__)


async def start_due_slots(client: Any, now: datetime) -> None:
    """Start every slot that is due at `now`, once, however often or late this is called."""
    orchestrations = Orchestrations(client)
    workloads, faults = load_workloads()
    for fault in faults:
        logger.error("workload refused", extra={"faults": str(fault)})
    for workload in workloads.values():
        try:
            await _start_due(orchestrations, workload, now)
        except AppError as error:  # one workload's trouble is not the others'
            logger.error("slot not started", extra={"workload": workload.name, "error": str(error)})


async def start_forgotten_runs(client: Any) -> None:
    """Start what is claimed and not started: by a decision about an event, or by a crash. Consider forgotten events."""
    orchestrations = Orchestrations(client)
    for key in await consider_forgotten(orchestrations):
        logger.warning("forgotten event considered", extra={"event": key})
    for run in await start_forgotten(orchestrations):
        logger.info("claimed run started", extra={"run": run})


def slot_request(workload: Workload, slot: Slot, *, started_by: str, reason: str = "") -> RunRequest:
    """The run of one slot: its id says what and when, so the same slot is the same run whoever starts it."""
    return request_for(workload, slot.id, started_by=started_by, reason=reason or f"slot {slot.id}")


async def _start_due(orchestrations: Orchestrations, workload: Workload, now: datetime) -> None:
    """Decide about the workload's slots up to `now`, and move its schedule record on.

    That a slot runs once is the claim's doing; the record says how far slots were decided about, which of them wait and
    which were skipped. Nothing fires because a schedule is new or was changed: its slots count from now on.
    """
    schedule = workload.schedule
    if schedule is None:
        return
    found, etag = await asyncio.to_thread(ledger.read_schedule, workload.name)
    if found is None:
        fresh = ScheduleRecord(first_seen=now, considered=now, rhythm=schedule.rhythm)
        await asyncio.to_thread(ledger.write_schedule, workload.name, fresh, etag)
        return
    record = ScheduleRecord.model_validate(found)
    moved = await _decide(orchestrations, workload, schedule, record, now)
    if moved != record:
        await asyncio.to_thread(ledger.write_schedule, workload.name, moved, etag)


async def _decide(
    orchestrations: Orchestrations,
    workload: Workload,
    schedule: Schedule,
    record: ScheduleRecord,
    now: datetime,
) -> ScheduleRecord:
    """Start, queue or skip each slot that waits or is due. Gives the record of it."""
    if record.rhythm not in ("", schedule.rhythm):  # it was changed since
        record = record.model_copy(
            update={"rhythm": schedule.rhythm, "considered": max(now, record.considered)}
        )
    due = due_slots(schedule, since=record.considered, now=now)
    skipped, queued, last_run = list(due.skipped), list[Slot](), record.last_run
    for slot in (*record.queued, *due.run):
        request = slot_request(workload, slot, started_by="timer")
        if await is_claimed(request.run):
            continue  # over HTTP, or by a tick that could not write the record
        if queued:  # the run at work may end between two slots; the later one still waits for its turn
            queued.append(slot)
            continue
        busy = await find_at_work(orchestrations, workload.name)
        if busy is None:
            await start_once(orchestrations, request)
            last_run = request.run
        elif schedule.overlap == "queue":
            queued.append(slot)
        else:
            skipped.append(slot)
    if not (due.run or skipped or due.unlisted_until) and tuple(queued) == record.queued:
        return record
    return record.moved(
        considered=max(now, record.considered),
        last_run=last_run,
        queued=queued,
        skipped=await _never_claimed(workload, skipped),
        unlisted_until=due.unlisted_until,
    )


async def _never_claimed(workload: Workload, slots: Sequence[Slot]) -> list[Slot]:
    """Without the slots that somebody started over HTTP in the meantime."""
    never = [slot for slot in slots if not await is_claimed(run_id_of(workload, slot.id))]
    if never:
        logger.warning(
            "slots skipped", extra={"workload": workload.name, "slots": [slot.id for slot in never]}
        )
    return never
