"""Making the protocol's messages: history events with the hub's time on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf import timestamp_pb2, wrappers_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def timestamp(moment: int) -> Any:
    return timestamp_pb2.Timestamp(seconds=moment // 1_000_000, nanos=moment % 1_000_000 * 1000)


def microseconds(stamp: Any) -> int:
    """A protobuf timestamp, rounded up, so that what is due then is never early."""
    return int(stamp.seconds) * 1_000_000 - (-int(stamp.nanos) // 1000)


def to_microseconds(moment: datetime) -> int:
    """Naive datetimes are UTC, as everywhere in the SDK."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def to_datetime(moment: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)


def text(value: str | None) -> Any:
    return None if value is None else wrappers_pb2.StringValue(value=value)


def value_of(message: Any, field: str) -> str | None:
    """The string inside an optional StringValue field, or None if it is absent (an empty string is not absent)."""
    return getattr(message, field).value if message.HasField(field) else None


def event(now: int, event_id: int = -1, /, **content: Any) -> Any:
    """A history event; `content` is its one kind, e.g. timerFired=pb.TimerFiredEvent(...)."""
    return pb.HistoryEvent(eventId=event_id, timestamp=timestamp(now), **content)


def failure(kind: str, message: str, *, retriable: bool = True) -> Any:
    return pb.TaskFailureDetails(errorType=kind, errorMessage=message, isNonRetriable=not retriable)
