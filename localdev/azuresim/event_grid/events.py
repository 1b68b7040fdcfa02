"""One event, whichever schema it came in, and the forms in which it is delivered.

Sources: learn event-grid/event-schema, event-grid/cloud-event-schema; CloudEvents 1.0.2 JSON format. Microsoft's own
samples spell data fields both ways (runId, RunId), so an event may be told to be delivered in either.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from localdev.azuresim.events import iso

Casing = Literal["camel", "pascal"]
EVENT_GRID, CLOUD_EVENTS = "EventGridSchema", "CloudEventSchemaV1_0"
_CLOUD_ATTRIBUTES = {"id", "source", "type", "subject", "time", "specversion", "data", "data_base64"}


class NotAnEvent(ValueError):
    """It lacks what its schema requires; the message names it."""


@dataclass(frozen=True)
class GridEvent:
    """`schema` is the one it was published in: a CloudEvent can only be delivered as one."""

    id: str
    type: str
    topic: str
    subject: str
    time: str
    data: Any
    data_version: str = ""
    schema: str = EVENT_GRID
    extensions: dict[str, Any] = field(default_factory=dict)  # of a CloudEvent

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def delivered(self, schema: str) -> dict[str, Any]:
        return self._as_cloud_event() if schema == CLOUD_EVENTS else self._as_event_grid_event()

    def _as_event_grid_event(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "subject": self.subject,
            "eventType": self.type,
            "eventTime": self.time,
            "id": self.id,
            "data": self.data,
            "dataVersion": self.data_version,
            "metadataVersion": "1",
        }

    def _as_cloud_event(self) -> dict[str, Any]:
        body: dict[str, Any] = {"id": self.id, "source": self.topic, "specversion": "1.0", "type": self.type}
        if self.subject:
            body["subject"] = self.subject
        body |= {"time": self.time, **self.extensions}
        if "data_base64" not in self.extensions:
            body["data"] = self.data
        return body


def system_event(type_: str, topic: str, subject: str, data: Any, at: float) -> GridEvent:
    """An event of an Azure service about its own resource."""
    return GridEvent(str(uuid.uuid4()), type_, topic, subject, zulu(at), data)


def from_event_grid(body: Any, topic: str) -> GridEvent:
    """An event as a publisher posts it; `topic` is the service's to fill in. Raises NotAnEvent."""
    event = _object(body, ("id", "subject", "eventType", "eventTime", "data", "dataVersion"))
    claimed = str(event.get("topic") or topic)
    if claimed.casefold() != topic.casefold():
        raise NotAnEvent("the topic of an event must be empty or that of the resource it is published to")
    return GridEvent(
        str(event["id"]),
        str(event["eventType"]),
        topic,
        str(event["subject"]),
        str(event["eventTime"]),
        event["data"],
        str(event["dataVersion"]),
    )


def from_cloud_event(body: Any) -> GridEvent:
    """Raises NotAnEvent."""
    event = _object(body, ("id", "source", "specversion", "type"))
    if event["specversion"] != "1.0":
        raise NotAnEvent(f"specversion {event['specversion']!r} is not 1.0")
    extensions = {name: value for name, value in event.items() if name not in _CLOUD_ATTRIBUTES}
    if event.get("data_base64") is not None:
        extensions["data_base64"] = event["data_base64"]
    return GridEvent(
        str(event["id"]),
        str(event["type"]),
        str(event["source"]),
        str(event.get("subject") or ""),
        str(event.get("time") or ""),
        event.get("data"),
        schema=CLOUD_EVENTS,
        extensions=extensions,
    )


def spelled(data: Any, casing: str) -> Any:
    """The data's own fields in another casing; what is inside tags and properties is the user's and stays.

    Where the samples are in PascalCase they also write a model's version as a number.
    """
    if casing != "pascal" or not isinstance(data, Mapping):
        return data
    respelled = {name[:1].upper() + name[1:]: value for name, value in data.items()}
    version = respelled.get("ModelVersion")
    if isinstance(version, str) and version.isdigit():
        respelled["ModelVersion"] = int(version)
    return respelled


def zulu(at: float) -> str:
    """2026-03-01T02:00:00.000000Z"""
    return iso(at).replace("+00:00", "Z")


def _object(body: Any, required: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise NotAnEvent("an event is a JSON object")
    missing = [name for name in required if name not in body or (body[name] is None and name != "data")]
    if missing:
        raise NotAnEvent(f"an event needs {', '.join(missing)}")
    return body
