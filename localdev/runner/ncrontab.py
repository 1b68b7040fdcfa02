"""NCRONTAB, the schedule language of timer triggers, with the meaning NCrontab and the timer extension give it.

Six fields `{second} {minute} {hour} {day} {month} {day-of-week}` or five without seconds. Unlike Unix cron, day and
day-of-week must both match, Sunday is only 0, and `5/15` means from 5 to the end in steps of 15.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day-of-week", 0, 6, _DAYS),
)
_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}))?")
_SEARCH_YEARS = 9  # 29 February may be eight years away (1896-1904, 2096-2104)


class ScheduleError(ValueError):
    """The expression is neither NCRONTAB nor a time span; the message names the field."""


class Schedule(Protocol):
    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment`, in UTC."""
        ...


def parse_schedule(expression: str, zone: tzinfo = UTC) -> Schedule:
    """`0 */5 * * * *`, `*/5 * * * *` or `hh:mm:ss` (a constant interval)."""
    expression = expression.strip()
    if match := _TIMESPAN.fullmatch(expression):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        interval = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if interval <= timedelta():
            raise ScheduleError(f"{expression!r}: the interval must be longer than nothing")
        return Interval(interval)
    return Cron.parse(expression, zone)


@dataclass(frozen=True)
class Interval:
    """Every `step` after the previous run, whatever the time of day."""

    step: timedelta

    def next_after(self, moment: datetime) -> datetime:
        return moment.astimezone(UTC) + self.step


@dataclass(frozen=True)
class Cron:
    """Sets of allowed values per field, evaluated on the wall clock of `zone`."""

    expression: str
    fields: tuple[tuple[int, ...], ...]
    zone: tzinfo

    @classmethod
    def parse(cls, expression: str, zone: tzinfo) -> Cron:
        parts = expression.split()
        if len(parts) == 5:
            parts.insert(0, "0")
        if len(parts) != len(_FIELDS):
            raise ScheduleError(
                f"{expression!r} was not recognized as a valid cron expression or timespan string: "
                f"5 or 6 fields are needed, found {len(parts)}"
            )
        fields = tuple(_parse_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True))
        return cls(expression, fields, zone)

    def next_after(self, moment: datetime) -> datetime:
        """Daylight saving as the timer extension has it (CronSchedule.TryAdjustAmbiguousTime).

        A time that the clock skips runs when the clock has jumped; in the hour that comes twice, a schedule with a
        fixed time of day runs once, one that repeats within the day keeps repeating.
        """
        local = moment.astimezone(self.zone)
        naive = self._next_on_wall_clock(local.replace(tzinfo=None))
        found = naive.replace(tzinfo=self.zone)
        if self._repeats_within_a_day():
            offset = local.utcoffset() or timedelta()
            if offset != found.utcoffset() and (_comes_twice(found) or _comes_twice(local)):
                return (naive - offset).replace(tzinfo=UTC)
            return found.astimezone(UTC)
        while found.astimezone(UTC) <= moment:
            naive = self._next_on_wall_clock(naive)
            found = naive.replace(tzinfo=self.zone)
        return found.astimezone(UTC)

    def _repeats_within_a_day(self) -> bool:
        return any(sign in part for part in self.expression.split()[:-3] for sign in "*/-")

    def _next_on_wall_clock(self, naive: datetime) -> datetime:
        seconds, minutes, hours, days, months, weekdays = self.fields
        at = naive.replace(microsecond=0) + timedelta(seconds=1)
        last_year = at.year + _SEARCH_YEARS
        while at.year <= last_year:
            if at.month not in months:
                at = _first_of_next_month(at)
            elif at.day not in days or (at.weekday() + 1) % 7 not in weekdays:
                at = at.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            elif at.hour not in hours:
                at = at.replace(minute=0, second=0) + timedelta(hours=1)
            elif at.minute not in minutes:
                at = at.replace(second=0) + timedelta(minutes=1)
            elif at.second not in seconds:
                at += timedelta(seconds=1)
            else:
                return at
        raise ScheduleError(f"{self.expression!r} never comes: no such date in {_SEARCH_YEARS} years")


def _comes_twice(local: datetime) -> bool:
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return first is not None and second is not None and first > second


def _first_of_next_month(at: datetime) -> datetime:
    year, month = divmod(at.year * 12 + at.month, 12)
    return at.replace(year=year, month=month + 1, day=1, hour=0, minute=0, second=0)


def _parse_field(text: str, name: str, low: int, high: int, names: list[str]) -> tuple[int, ...]:
    allowed: set[int] = set()
    for item in text.split(","):
        span, _, step_text = item.partition("/")
        step = _number(step_text, name, 1, 10**6, []) if "/" in item else 1
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = sorted(_number(end, name, low, high, names) for end in span.split("-", 1))
        else:
            first = _number(span, name, low, high, names)
            last = high if "/" in item and step > 1 else first
        allowed.update(range(first, last + 1, step))
    return tuple(sorted(allowed))


def _number(text: str, name: str, low: int, high: int, names: list[str]) -> int:
    if text.isdecimal() and low <= int(text) <= high:
        return int(text)
    matches = [index for index, word in enumerate(names) if len(text) >= 3 and word.startswith(text.lower())]
    if matches:
        return matches[0] + low
    raise ScheduleError(f"{text!r} is not a valid {name}: {low} to {high}")
