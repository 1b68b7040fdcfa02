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
        raise refusal(f"{value!r:.60} has no unit", allowed=_DURATIONS, hint=_duration_hint(value))
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


def _duration(least: timedelta, most: timedelta) -> tuple[object, ...]:
    """A duration from `least` to `most`: read from ISO 8601, written in it."""

    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            allowed = f"{duration_text(least)} to {duration_text(most)}"
            raise refusal(f"{duration_text(value)} is out of range", allowed=allowed)
        return value

    pattern = r"^P([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?$"
    return (
        BeforeValidator(_read_duration),
        AfterValidator(check),
        PlainSerializer(duration_text, return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "format": "duration", "pattern": pattern}),
    )


_SETTLE = _duration(timedelta(0), timedelta(days=1))
_INTERVAL = _duration(timedelta(minutes=1), timedelta(days=366))
_DEADLINE = _duration(timedelta(minutes=5), timedelta(days=7))
_LEASE = _duration(timedelta(minutes=5), timedelta(days=8))
_WAIT = _duration(timedelta(0), timedelta(days=30))
_COOL_DOWN = _duration(timedelta(0), timedelta(days=366))
_READY = _duration(timedelta(0), timedelta(days=30))
_TRIAL = _duration(timedelta(seconds=10), timedelta(days=7))
SettleTime = Annotated[timedelta, *_SETTLE]
Interval = Annotated[timedelta, *_INTERVAL]
Deadline = Annotated[timedelta, *_DEADLINE]
LeaseTime = Annotated[timedelta, *_LEASE]
Wait = Annotated[timedelta, *_WAIT]
CoolDown = Annotated[timedelta, *_COOL_DOWN]
ReadyTime = Annotated[timedelta, *_READY]
TrialTime = Annotated[timedelta, *_TRIAL]

_BAKE = _duration(timedelta(minutes=1), timedelta(days=1))
_STAGE = _duration(timedelta(minutes=1), timedelta(days=1))
_PATIENCE = _duration(timedelta(minutes=1), timedelta(days=2))
BakeTime = Annotated[timedelta, *_BAKE]
StageTime = Annotated[timedelta, *_STAGE]
Patience = Annotated[timedelta, *_PATIENCE]
ProfileTime = Annotated[timedelta, *_STAGE]

_SECONDS = re.compile(r"PT(?P<seconds>[0-9]{1,3}(?:\.[0-9]{1,3})?)S")
MAX_LATENCY = timedelta(seconds=180)  # Azure ML's longest requestTimeout


def _read_latency(value: object) -> timedelta:
    """Seconds with up to three decimals, which no other duration here has."""
    found = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    if found is None and isinstance(value, int | float) and not isinstance(value, bool):
        raise refusal(f"{value!r} has no unit", allowed=_LATENCIES, hint=f"For seconds write PT{value:g}S")
    latency = timedelta(seconds=float(found["seconds"])) if found else value
    if not isinstance(latency, timedelta):
        raise refusal(f"{value!r:.60} is not a latency", allowed=_LATENCIES)
    if not timedelta(0) < latency <= MAX_LATENCY:
        raise refusal(f"{value!s:.60} is out of range", allowed=_LATENCIES)
    return latency


_LATENCIES = "seconds from PT0.001S to PT180S, such as PT0.25S"


def latency_text(value: timedelta) -> str:
    """`latency_text(timedelta(milliseconds=250)) -> "PT0.25S"`."""
    return f"PT{value.total_seconds():.3f}".rstrip("0").rstrip(".") + "S"


Latency = Annotated[
    timedelta,
    BeforeValidator(_read_latency),
    PlainSerializer(latency_text, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "format": "duration", "pattern": _SECONDS.pattern.replace("?P<seconds>", "")}
    ),
]


_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})")
_MOMENTS = "a time with its offset from UTC, from 2000 to 2099: 2026-03-01T00:00:00Z"


def _read_moment(value: object) -> datetime:
    """The moment in UTC. From 2000 to 2099, so that sums of times stay within what a calendar holds."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC)
    text = value if isinstance(value, str) else ""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC) if _MOMENT.fullmatch(text) else None
    except (ValueError, OverflowError) as error:
        raise refusal(f"{text!r} is not allowed: {error}", allowed=_MOMENTS) from None
    if moment is None or not 2000 <= moment.year < 2100:
        hint = f"Write {text}Z" if _MOMENT.fullmatch(f"{text}Z") else ""
        raise refusal(f"{str(value)[:60]!r} is not allowed", allowed=_MOMENTS, hint=hint)
    return moment


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
