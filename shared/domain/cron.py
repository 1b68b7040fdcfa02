"""Cron expressions of five fields, as times on a wall: no zone, no daylight saving (see schedule.py for those).

The fields are cronsim's: minute, hour, day of month, month, day of week, with lists, ranges, steps, names, `L` and `#`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

MAX_TEXT = 200
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a time on a wall has no zone


class BadCron(ValueError):
    """Not a cron expression, or one that never comes."""


def check_cron(text: str) -> str:
    """The expression with single spaces. Raises BadCron saying which field is wrong."""
    fields = text.split()
    if len(text) > MAX_TEXT:
        raise BadCron(f"has {len(text)} characters; at most {MAX_TEXT} are read")
    if len(fields) != 5:
        seconds = "; leave out the seconds" if len(fields) == 6 else ""
        raise BadCron(f"{text!r} has {len(fields)} fields instead of 5{seconds}")
    try:
        next(CronSim(text, _SOME_DAY))
    except CronSimError as error:
        raise BadCron(f"{text!r}: {str(error).removeprefix('Bad ')} is not understood") from None
    except StopIteration:
        raise BadCron(f"{text!r} never comes") from None
    return " ".join(fields)


def is_recurring(text: str) -> bool:
    """Whether the expression means "every so often" rather than "at these times of the day".

    Debian's rule: the minute or the hour starts with a star. The former follow elapsed time through a clock change,
    the latter happen once each day that has them.
    """
    minute, hour, *_ = text.split()
    return minute.startswith("*") or hour.startswith("*")


def walls_after(text: str, wall: datetime) -> Iterator[datetime]:
    """The matching times after `wall`, which has no zone, ascending."""
    yield from CronSim(text, wall.replace(microsecond=0))


def first_wall_from(text: str, wall: datetime) -> datetime | None:
    """The first matching time not before `wall`, or None within 50 years."""
    before = wall - timedelta(microseconds=1)
    return next(walls_after(text, before), None)
