"""The record of a schedule accounts for every slot: started, waiting, or skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.schedule import (
    MAX_LISTED,
    MAX_QUEUED,
    SKIPPED_KEPT,
    ScheduleRecord,
    Slot,
    Stretch,
    due_slots,
    is_slot,
    preview,
)
from shared.domain.workload import Schedule

START = datetime(2026, 3, 1, tzinfo=UTC)
NEW = ScheduleRecord(first_seen=START, considered=START)
HOURLY = Schedule.model_validate({"cron": "0 * * * *"})


def moved(
    record: ScheduleRecord,
    *,
    queued: tuple[Slot, ...] = (),
    skipped: tuple[Slot, ...] = (),
    hours: float = 1,
    unlisted_until: datetime | None = None,
) -> ScheduleRecord:
    considered = record.considered + timedelta(hours=hours)
    return record.moved(
        considered=considered, last_run=None, queued=queued, skipped=skipped, unlisted_until=unlisted_until
    )


def test_a_month_of_outage_is_accounted_for_to_the_last_slot() -> None:
    now = START + timedelta(days=30)
    due = due_slots(HOURLY, START, now)
    record = moved(NEW, hours=30 * 24, skipped=due.skipped, unlisted_until=due.unlisted_until)
    (stretch,) = record.unlisted
    unlisted = [s for s in preview(HOURLY, stretch.after, 10_000) if s.at <= stretch.until]
    assert len(unlisted) + len(record.skipped) + len(due.run) == 30 * 24
    assert stretch == Stretch(after=START, until=unlisted[-1].at)
    assert record.skipped[0] > unlisted[-1].id


def test_the_newest_skipped_slots_are_kept() -> None:
    slots = preview(HOURLY, START, 3 * MAX_LISTED)
    record = NEW
    for first in range(0, len(slots), MAX_LISTED):
        record = moved(record, skipped=slots[first : first + MAX_LISTED])
    assert record.skipped == tuple(slot.id for slot in slots[-SKIPPED_KEPT:])


def test_of_too_many_that_wait_the_oldest_are_skipped_and_on_record() -> None:
    slots = preview(HOURLY, START, MAX_QUEUED + 2)
    record = moved(NEW, queued=slots)
    assert record.queued == slots[2:]
    assert record.skipped == (slots[0].id, slots[1].id)


def test_a_record_survives_its_own_json() -> None:
    slots = preview(HOURLY, START, 3)
    record = moved(NEW, queued=slots[:1], skipped=slots[1:], unlisted_until=START)
    assert ScheduleRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("at", "is_one"),
    [
        ("2026-03-01T01:00:00+00:00", True),
        ("2026-03-01T02:00:00+01:00", True),
        ("2026-03-01T01:00:01+00:00", False),
        ("2026-03-01T01:00:00.000001+00:00", False),
        ("2026-03-01T01:30:00+00:00", False),
    ],
)
def test_a_slot_is_a_moment_of_the_schedule(at: str, is_one: bool) -> None:
    assert is_slot(HOURLY, Slot(at=datetime.fromisoformat(at))) is is_one


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"cron": "0 * * * *", "misfire": "skip", "overlap": "queue"}, True),
        ({"cron": "5 * * * *"}, False),
        ({"cron": "0 * * * *", "timeZone": "Europe/Paris"}, False),
        ({"every": "PT1H", "anchor": "2026-01-01T00:00:00Z"}, False),
    ],
)
def test_a_rhythm_is_what_decides_about_the_slots(other: dict[str, str], same: bool) -> None:
    assert (Schedule.model_validate(other).rhythm == HOURLY.rhythm) is same
