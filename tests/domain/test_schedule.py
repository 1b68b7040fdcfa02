"""A slot is due exactly once, whatever the ticks, the zone and the season do."""

from __future__ import annotations

import cProfile
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.cron import is_recurring
from shared.domain.schedule import (
    MAX_LISTED,
    MISFIRE_TOLERANCE,
    DueSlots,
    Slot,
    due_slots,
    next_slot,
    preview,
)
from shared.domain.workload import Schedule

MINUTE = timedelta(minutes=1)
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def cron(text: str, zone: str = "UTC", misfire: str = "run_once") -> Schedule:
    return Schedule.model_validate({"cron": text, "timeZone": zone, "misfire": misfire})


def every(interval: str, anchor: str, misfire: str = "run_once") -> Schedule:
    return Schedule.model_validate({"every": interval, "anchor": anchor, "misfire": misfire})


def local_times(schedule: Schedule, after: str, n: int) -> list[str]:
    zone = ZoneInfo(schedule.time_zone)
    return [slot.at.astimezone(zone).strftime("%d %H:%M%z") for slot in preview(schedule, moment(after), n)]


def slots_between(schedule: Schedule, since: datetime, now: datetime) -> list[datetime]:
    found: list[datetime] = []
    at = since
    while (slot := next_slot(schedule, at)) and slot.at <= now:
        found.append(at := slot.at)
    return found


SPRING_AND_AUTUMN = [
    # once a day, in the gap: once, at the first instant after it
    ("30 2 * * *", "Europe/Paris", "2026-03-28T00:00Z", ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
    ("30 2 * * *", "America/New_York", "2026-03-07T00:00Z", ["07 02:30-0500", "08 03:00-0400", "09 02:30-0400"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00Z", ["04 02:30+1100", "05 02:15+1100"]),
    ("30 2 * * *", "UTC", "2026-03-28T00:00Z", ["28 02:30+0000", "29 02:30+0000"]),
    # several in one gap and one at its end: one slot
    ("0,30 2,3 * * *", "Europe/Paris", "2026-03-29T00:00Z", ["29 03:00+0200", "29 03:30+0200", "30 02:00+0200"]),
    # once a day, in the hour that comes twice: the first time only
    ("30 2 * * *", "Europe/Paris", "2026-10-24T12:00Z", ["25 02:30+0200", "26 02:30+0100"]),
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00Z", ["01 01:30-0400", "02 01:30-0500"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00Z", ["05 01:45+1100", "06 01:45+1030"]),
    # every so often: through both passes of the hour, evenly
    ("*/30 * * * *", "Europe/Paris", "2026-10-24T23:30Z",
     ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100", "25 03:00+0100"]),
    ("0 * * * *", "America/New_York", "2026-11-01T04:30Z", ["01 01:00-0400", "01 01:00-0500", "01 02:00-0500"]),
    ("*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:15Z",
     ["05 01:30+1100", "05 01:45+1100", "05 01:30+1030", "05 01:45+1030", "05 02:00+1030"]),
    # every so often, over the gap
    ("*/30 * * * *", "Europe/Paris", "2026-03-29T00:15Z", ["29 01:30+0100", "29 03:00+0200", "29 03:30+0200"]),
    ("0 * * * *", "Australia/Lord_Howe", "2026-10-03T14:15Z", ["04 01:00+1030", "04 02:30+1100", "04 03:00+1100"]),
    ("0 */2 * * *", "Europe/Paris", "2026-03-28T22:30Z", ["29 00:00+0100", "29 03:00+0200", "29 04:00+0200"]),
    # what cronsim 2.8 loses by itself: the whole 03:00, and the first half hour after 03:00
    ("0 */3 * * *", "Australia/Lord_Howe", "2026-04-04T12:30Z", ["05 00:00+1100", "05 03:00+1030", "05 06:00+1030"]),
    ("* 3 * * *", "Australia/Lord_Howe", "2026-04-04T13:30Z", ["05 03:00+1030", "05 03:01+1030"]),
    # the gap is at midnight, the day has no 00:00
    ("0 0 * * *", "Africa/Cairo", "2026-04-23T00:00Z", ["24 01:00+0300", "25 00:00+0300"]),
    # a whole day was left out
    ("0 6 * * *", "Pacific/Apia", "2011-12-29T12:00Z", ["29 06:00-1000", "31 00:00+1400", "31 06:00+1400"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "zone", "after", "expected"), SPRING_AND_AUTUMN)
def test_a_clock_change_neither_loses_nor_doubles_a_slot(
    text: str, zone: str, after: str, expected: list[str]
) -> None:
    assert local_times(cron(text, zone), after, len(expected)) == expected


def test_a_slot_of_the_first_pass_is_not_due_again_in_the_second() -> None:
    schedule = cron("45 1 * * *", "America/New_York")
    in_second_pass = moment("2026-11-01T06:30Z")
    assert due_slots(schedule, in_second_pass, in_second_pass + timedelta(hours=1)) == DueSlots()


def test_every_counts_elapsed_time_through_a_clock_change() -> None:
    schedule = every("PT10H", "2026-03-28T20:00:00+01:00")
    first, *rest = preview(schedule, moment("2026-01-01T00:00Z"), 4)
    assert first.at == moment("2026-03-28T19:00Z")
    assert [slot.at - first.at for slot in rest] == [n * timedelta(hours=10) for n in (1, 2, 3)]


def test_a_slot_is_named_in_utc() -> None:
    assert Slot(at=moment("2013-02-28T21:00:00-05:00")).id == "20130301T020000Z"


def test_nothing_is_due_because_a_schedule_was_switched_on() -> None:
    seen = moment("2026-03-01T02:00Z")
    schedule = cron("0 2 * * *")
    assert due_slots(schedule, seen, seen) == DueSlots()
    assert due_slots(schedule, seen, seen + timedelta(hours=23)) == DueSlots()
    assert due_slots(schedule, seen, seen + timedelta(hours=24)).run == (
        Slot(at=moment("2026-03-02T02:00Z")),
    )


def test_a_late_tick_runs_the_newest_slot_and_records_the_others() -> None:
    due = due_slots(cron("0 * * * *"), moment("2026-03-01T00:30Z"), moment("2026-03-01T03:10Z"))
    assert [slot.id for slot in due.run] == ["20260301T030000Z"]
    assert [slot.id for slot in due.skipped] == ["20260301T010000Z", "20260301T020000Z"]


def test_skip_runs_only_what_is_hardly_late() -> None:
    schedule = cron("0 * * * *", misfire="skip")
    since = moment("2026-03-01T00:30Z")
    in_time = due_slots(schedule, since, moment("2026-03-01T02:00Z") + MISFIRE_TOLERANCE)
    assert ([s.id for s in in_time.run], [s.id for s in in_time.skipped]) == (
        ["20260301T020000Z"],
        ["20260301T010000Z"],
    )
    too_late = due_slots(
        schedule, since, moment("2026-03-01T02:00Z") + MISFIRE_TOLERANCE + timedelta(seconds=1)
    )
    assert (too_late.run, len(too_late.skipped)) == ((), 2)


def test_a_clock_set_back_makes_nothing_due() -> None:
    assert (
        due_slots(cron("* * * * *"), moment("2026-03-01T02:00Z"), moment("2026-03-01T01:00Z")) == DueSlots()
    )


@pytest.mark.parametrize("outage", [timedelta(days=30), timedelta(days=730), timedelta(days=20_000)])
@pytest.mark.parametrize("zone", ZONES)
def test_the_answer_after_a_long_outage_is_short_and_says_where_it_stops(
    outage: timedelta, zone: str
) -> None:
    now = moment("2026-03-01T00:00:30Z")
    due = due_slots(cron("* * * * *", zone), now - outage, now)
    assert [slot.id for slot in due.run] == ["20260301T000000Z"]
    assert len(due.skipped) == MAX_LISTED
    assert due.skipped[-1].at - due.skipped[0].at == (MAX_LISTED - 1) * MINUTE
    assert due.unlisted_until == due.skipped[0].at - MINUTE


@pytest.mark.parametrize("text", ["* * * * *", "0 2 * * *", "* * * 1 *", "0 0 29 2 *"])
def test_the_work_after_an_outage_is_bounded(text: str) -> None:
    now = moment("2026-03-01T00:00:30Z")
    profile = cProfile.Profile()
    profile.runcall(due_slots, cron(text, "Europe/Paris"), now - timedelta(days=7300), now)
    # 20 years have 10 million minutes and 7,300 nights.
    assert sum(entry.callcount for entry in profile.getstats()) < 1_000_000


def test_a_schedule_that_comes_rarely_is_found() -> None:
    assert [s.id for s in preview(cron("0 12 29 2 *"), moment("2026-01-01T00:00Z"), 2)] == [
        "20280229T120000Z",
        "20320229T120000Z",
    ]


CRONS = st.sampled_from(
    [
        "* * * * *", "*/5 * * * *", "*/7 * * * *", "0 * * * *", "17 */2 * * *", "0 2 * * *", "30 1 * * *", "59 1 * * *",
        "15,45 1-3 * * *", "*/20 2 * * *", "* 3 * * *", "0 */3 * * *", "0 0 * * *", "30 2 * * SUN", "0 3 1 * *",
        "*/10 0 * * 6", "0 12 L * *", "5 4 * * MON#2",
    ]
)  # fmt: skip
SCHEDULES = st.one_of(
    st.builds(cron, CRONS, st.sampled_from(ZONES), st.sampled_from(["run_once", "skip"])),
    st.builds(
        every,
        st.sampled_from(["PT1M", "PT90S", "PT10H", "P1D", "PT7M"]),
        st.sampled_from(["2026-03-01T00:00:00Z", "2026-03-29T00:30:07Z", "2025-01-01T00:00:00+05:45"]),
        st.sampled_from(["run_once", "skip"]),
    ),
)
# Around the nights on which the zones above change their clocks, in 2026.
NIGHTS = st.sampled_from(
    ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-04", "2026-10-03", "2026-06-10"]
)
STARTS = st.builds(
    lambda night, seconds: moment(f"{night}T00:00Z") + timedelta(seconds=seconds),
    NIGHTS,
    st.integers(-90_000, 90_000),
)
GAPS = st.lists(
    st.one_of(
        st.just(60.0),
        st.floats(0, 200),
        st.integers(0, 7200),
        st.sampled_from([0, 0.000001, 59.999999, 86_400]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, STARTS, GAPS)
def test_each_slot_is_run_or_skipped_exactly_once_however_ticks_come(
    schedule: Schedule, first_seen: datetime, gaps: list[float]
) -> None:
    decided: list[datetime] = []
    unlisted: list[tuple[datetime, datetime]] = []
    since = now = first_seen
    for gap in gaps:
        now = since + timedelta(seconds=gap)
        due = due_slots(schedule, since, now)
        assert due_slots(schedule, since, now) == due
        if due.unlisted_until:
            unlisted.append((since, due.unlisted_until))
        decided += [slot.at for slot in (*due.skipped, *due.run)]
        since = now
    expected = slots_between(schedule, first_seen, now)
    listed = [at for at in expected if not any(start < at <= until for start, until in unlisted)]
    assert decided == listed
    assert all(until in expected for _, until in unlisted)


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, STARTS, st.integers(1, 400))
def test_the_last_decided_slot_serves_as_well_as_the_last_tick(
    schedule: Schedule, since: datetime, minutes: int
) -> None:
    now = since + minutes * MINUTE
    decided = due_slots(schedule, since, now)
    slots = (*decided.skipped, *decided.run)
    if slots:
        later = now + timedelta(hours=5)
        assert due_slots(schedule, slots[-1].at, later) == due_slots(schedule, now, later)


@settings(max_examples=200, deadline=None)
@given(CRONS, st.sampled_from(["UTC", "Europe/Paris", "America/New_York"]), STARTS)
def test_where_clocks_jump_by_an_hour_cronsim_agrees(text: str, zone: str, start: datetime) -> None:
    """cronsim minds the zone right there, but for three things: it shifts no recurring slot out of a gap, it gives the
    first pass's slots again when asked from within the second, and it counts those that share an instant twice."""
    schedule = cron(text, zone)
    until = start + timedelta(days=2)
    theirs: set[datetime] = set()
    for at in CronSim(text, start.astimezone(ZoneInfo(zone))):
        if (instant := at.astimezone(UTC)) > until:
            break
        if instant > start:
            theirs.add(instant)
    ours = set(slots_between(schedule, start, until))
    shifted = {at for at in ours - theirs if is_recurring(text) and _is_first_after_a_gap(at, zone)}
    assert ours - shifted == theirs


def _is_first_after_a_gap(at: datetime, zone: str) -> bool:
    def offset(instant: datetime) -> timedelta | None:
        return instant.astimezone(ZoneInfo(zone)).utcoffset()

    return offset(at) != offset(at - timedelta(seconds=1))
