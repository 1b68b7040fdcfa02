"""The times in a declaration: durations, moments, zones and cron expressions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from shared.domain.cron import BadCron, check_cron
from shared.domain.fields import refusal

_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>[0-9]{1,4})W)?(?:(?P<days>[0-9]{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,8})M)?(?:(?P<seconds>[0-9]{1,9})S)?)?"
)
_DURATIONS = "an ISO 8601 duration: PT90S, PT15M, PT3H, P1D"


def _read_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise refusal(f"{value!r} has no unit", allowed=_DURATIONS, hint=_duration_hint(value))
    found = _DURATION.fullmatch(value)
    if found is None:
        raise refusal(f"{value[:60]!r} is not a duration", allowed=_DURATIONS, hint=_duration_hint(value))
    return timedelta(**{unit: int(count) for unit, count in found.groupdict().items() if count})


def _duration_hint(value: object) -> str:
    text = str(value).strip().upper()
    if text.isdecimal() and len(text) < 6:
        return f"For {text} minutes write PT{text}M"
    if found := re.fullmatch(r"([0-9]{1,5})\s*([SMHD])[A-Z]*", text):
        count, unit = found.groups()
        return f"Write P{count}D" if unit == "D" else f"Write PT{count}{unit}"
    if re.fullmatch(r"P.*[0-9][YM].*", text.split("T")[0]):
        return "Months and years differ in length: give days"
    return ""


def duration_text(value: timedelta) -> str:
    """`duration_text(timedelta(hours=26)) -> "P1DT2H"`. Whole seconds."""
    seconds = int(value.total_seconds())
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = "".join(
        f"{count}{unit}" for count, unit in ((hours, "H"), (rest // 60, "M"), (rest % 60, "S")) if count
    )
    date = f"{days}D" if days else ""
    return f"P{date}{'T' if parts or not date else ''}{parts or ('' if date else '0S')}"


_DURATION_SCHEMA = WithJsonSchema(
    {
        "type": "string",
        "format": "duration",
        "pattern": r"^P([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?$",
    }
)


def _between(least: timedelta, most: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            raise refusal(
                f"{duration_text(value)} is out of range",
                allowed=f"{duration_text(least)} to {duration_text(most)}",
            )
        return value

    return AfterValidator(check)


_READ = BeforeValidator(_read_duration)
_WRITE = PlainSerializer(duration_text, return_type=str, when_used="json")

SettleTime = Annotated[timedelta, _READ, _between(timedelta(0), timedelta(days=1)), _WRITE, _DURATION_SCHEMA]
Interval = Annotated[
    timedelta, _READ, _between(timedelta(minutes=1), timedelta(days=366)), _WRITE, _DURATION_SCHEMA
]
Deadline = Annotated[
    timedelta, _READ, _between(timedelta(minutes=5), timedelta(days=7)), _WRITE, _DURATION_SCHEMA
]
LeaseTime = Annotated[
    timedelta, _READ, _between(timedelta(minutes=5), timedelta(days=8)), _WRITE, _DURATION_SCHEMA
]


_MOMENT = re.compile(
    r"20[0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:[0-9][0-9](:[0-9][0-9])?(Z|[+-][0-9][0-9]:[0-9][0-9])"
)


def _read_moment(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC)
    allowed = "a time with its offset from UTC, from 2000 to 2099: 2026-03-01T00:00:00Z"
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        zoned = isinstance(value, str) and _MOMENT.fullmatch(f"{value}Z")
        raise refusal(
            f"{str(value)[:60]!r} is not allowed", allowed=allowed, hint=f"Write {value}Z" if zoned else ""
        )
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError as error:
        raise refusal(f"{value!r} is not allowed: {error}", allowed=allowed) from None


Moment = Annotated[
    datetime, BeforeValidator(_read_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]

_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}")


def _check_zone(text: str) -> str:
    try:
        if not _ZONE.fullmatch(text) or text in ("localtime", "posixrules", "Factory"):
            raise ZoneInfoNotFoundError(text)
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, OSError):  # OSError: a folder of zones, such as Europe
        raise refusal(
            f"{text[:60]!r} is not a time zone", allowed="an IANA name, such as Europe/Paris or UTC"
        ) from None
    return text


ZoneName = Annotated[str, AfterValidator(_check_zone)]


def _check_cron(text: str) -> str:
    try:
        return check_cron(text)
    except BadCron as error:
        raise refusal(
            str(error),
            allowed="minute hour day-of-month month day-of-week, such as 0 2 * * * (daily at 02:00)",
        ) from None


Cron = Annotated[str, AfterValidator(_check_cron)]
