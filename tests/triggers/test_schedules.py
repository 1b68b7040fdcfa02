"""What one tick decides when a run ends under its eyes. That moment is too short to be met at the running app."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

from shared.domain.schedule import ScheduleRecord, Slot
from shared.domain.workload import BatchScoring
from shared.triggers import schedules
from tests.e2e.timed import at, timed


def test_no_slot_overtakes_one_that_waits() -> None:
    """The run at work ends between the look for the first waiting slot and the look for the second."""
    rhythm = {"cron": "5,10 10 24 3 *", "overlap": "queue"}
    workload = BatchScoring.model_validate(timed("nightly", rhythm))
    schedule = workload.schedule
    assert schedule is not None
    waiting = (Slot(at=at(24, 10, 5)), Slot(at=at(24, 10, 10)))
    now = at(24, 10, 12)
    before = ScheduleRecord(first_seen=at(24, 9), considered=now, rhythm=schedule.rhythm, queued=waiting)
    looks, started = iter(["score-nightly-before"]), list[str]()

    async def find_at_work(*_: Any) -> str | None:
        return next(looks, None)

    async def is_claimed(run: str) -> bool:
        return run in started

    async def start_once(_: Any, request: Any) -> None:
        started.append(request.slot)

    with mock.patch.multiple(
        schedules, find_at_work=find_at_work, is_claimed=is_claimed, start_once=start_once
    ):
        after = asyncio.run(schedules._decide(mock.sentinel.orchestrations, workload, schedule, before, now))

    assert started == []
    assert after.queued == waiting
