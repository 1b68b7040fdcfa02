"""Cron expressions of five fields, as times on a wall clock that never jumps. Zones are schedule.py's business.

cronsim reads the fields: minute, hour, day of month, month, day of week, with lists, ranges, steps, names, `L`, `#`.
It is given times without a zone: where clocks jump by half an hour (Australia/Lord_Howe) version 2.8 loses slots when it
minds the zone itself, `0 */3 * * *` its 03:00 and `* 3 * * *` its first 30 minutes of the night clocks go back.
"""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim, CronSimError

MAX_TEXT = 200
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a time on a wall has no zone


class BadCron(ValueError):
    """Not a cron expression, or one that never comes."""


def check_cron(text: str) -> str:
    """The expression with single spaces. Raises BadCron saying which field is wrong."""
    if len(text) > MAX_TEXT:
        raise BadCron(f"has {len(text)} characters; at most {MAX_TEXT} are read")
    fields = text.split()
    if len(fields) != 5:
        seconds = "; leave out the seconds" if len(fields) == 6 else ""
        raise BadCron(f"{text!r} has {len(fields)} fields instead of 5{seconds}")
    try:
        comes = wall_after(text, _SOME_DAY)
    except CronSimError as error:
        raise BadCron(f"{text!r}: {str(error).removeprefix('Bad ')} is not understood") from None
    if comes is None:
        raise BadCron(f"{text!r} never comes")
    return " ".join(fields)


def is_recurring(text: str) -> bool:
    """Whether it means "every so often" rather than "at these times of the day".

    Debian's rule, and cronsim's: minute or hour starts with a star.
    """
    minute, hour, *_ = text.split()
    return minute.startswith("*") or hour.startswith("*")


def wall_after(text: str, wall: datetime) -> datetime | None:
    """The first matching time after `wall`, which has no zone. None if there is none in 50 years."""
    return next(CronSim(text, wall), None)
