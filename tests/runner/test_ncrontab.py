"""NCRONTAB as NCrontab and the timer extension read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localdev.runner.ncrontab import ScheduleError, parse_schedule

PACIFIC = ZoneInfo("America/Los_Angeles")


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 */5 * * * *", "2026-03-01T10:02:30", "2026-03-01T10:05:00"),
        ("0 */5 * * * *", "2026-03-01T10:05:00", "2026-03-01T10:10:00"),
        ("*/5 * * * *", "2026-03-01T10:02:30", "2026-03-01T10:05:00"),
        ("0 30 9 * * Mon-Fri", "2026-03-06T09:30:00", "2026-03-09T09:30:00"),
        ("0 0 0 * * 0", "2026-03-02T00:00:00", "2026-03-08T00:00:00"),
        ("0 0 0 1 Jan *", "2026-03-02T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 0 29 2 *", "2026-03-02T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 13 * Friday", "2026-03-14T00:00:00", "2026-11-13T00:00:00"),
        ("5,8,10 * * * * *", "2026-03-01T10:02:06", "2026-03-01T10:02:08"),
        ("0 5/20 * * * *", "2026-03-01T10:26:00", "2026-03-01T10:45:00"),
        ("0 0 9-17/4 * * *", "2026-03-01T13:00:00", "2026-03-01T17:00:00"),
        ("0 0 17-9/4 * * *", "2026-03-01T13:00:00", "2026-03-01T17:00:00"),
        ("0 59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
        ("00:20:00", "2026-03-01T10:02:06", "2026-03-01T10:22:06"),
        ("1.00:00:30", "2026-03-01T10:02:06", "2026-03-02T10:02:36"),
    ],
)
def test_the_next_occurrence(expression: str, after: str, expected: str) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = parse_schedule(expression).next_after(moment)
    assert found.replace(tzinfo=None).isoformat() == expected


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "5 or 6 fields"),
        ("* * *", "5 or 6 fields"),
        ("60 * * * * *", "second"),
        ("0 0 24 * * *", "hour"),
        ("0 0 0 0 * *", "day"),
        ("0 0 0 * 13 *", "month"),
        ("0 0 0 * * 7", "day-of-week"),
        ("0 0 0 * Foo *", "month"),
        ("0 */0 * * * *", "minute"),
        ("0 1- * * * *", "minute"),
        ("00:00:00", "longer than nothing"),
    ],
)
def test_a_bad_expression_is_refused_with_its_field(expression: str, why: str) -> None:
    with pytest.raises(ScheduleError, match=why):
        parse_schedule(expression)


def test_a_date_that_never_comes_is_refused() -> None:
    with pytest.raises(ScheduleError, match="never comes"):
        parse_schedule("0 0 0 31 2 *").next_after(datetime(2026, 1, 1, tzinfo=UTC))


def occurrences(expression: str, after: datetime, count: int) -> list[str]:
    schedule, moment, found = parse_schedule(expression, PACIFIC), after, []
    for _ in range(count):
        moment = schedule.next_after(moment)
        found.append(moment.astimezone(PACIFIC).strftime("%d %H:%M%z"))
    return found


def test_a_fixed_time_runs_once_in_the_hour_that_comes_twice() -> None:
    before = datetime(2018, 11, 2, 12, tzinfo=UTC)
    assert occurrences("0 30 1 * * *", before, 3) == ["03 01:30-0700", "04 01:30-0700", "05 01:30-0800"]


def test_an_interval_keeps_running_through_the_hour_that_comes_twice() -> None:
    before = datetime(2018, 11, 4, 0, 45, tzinfo=PACIFIC)
    expected = ["04 01:00-0700", "04 01:30-0700", "04 01:00-0800", "04 01:30-0800", "04 02:00-0800"]
    assert occurrences("0 */30 * * * *", before, 5) == expected


def test_a_time_that_the_clock_skips_runs_after_the_jump() -> None:
    before = datetime(2018, 3, 10, 12, tzinfo=PACIFIC)
    assert occurrences("0 30 2 * * *", before, 2) == ["11 03:30-0700", "12 02:30-0700"]
    assert occurrences("0 0 1-23/2 * * *", datetime(2018, 3, 11, 0, 30, tzinfo=PACIFIC), 2) == [
        "11 01:00-0800",
        "11 03:00-0700",
    ]


_field = st.one_of(st.just("*"), st.integers(0, 59).map(str), st.integers(1, 59).map(lambda n: f"*/{n}"))


@given(
    second=_field,
    minute=_field,
    moment=st.datetimes(datetime(2018, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from([UTC, PACIFIC, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")]),
)
def test_an_occurrence_is_always_later_and_within_an_hour(
    second: str, minute: str, moment: datetime, zone: ZoneInfo
) -> None:
    found = parse_schedule(f"{second} {minute} * * * *", zone).next_after(moment)
    assert moment < found <= moment + timedelta(hours=2)
