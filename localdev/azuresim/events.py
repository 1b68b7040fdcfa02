"""What happened, in order: every request, every change of state, every rule a client broke.

An event is plain JSON with `seq`, `at` (virtual seconds since the epoch), `time` (the same, ISO 8601), `type`, and
the fields of its type. With a folder the log is also a file, one event a line, that outlives the simulator.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def iso(at: float) -> str:
    """ISO 8601 in UTC, to the microsecond, as ARM writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


class Events:
    """Append-only. Safe to read from any thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._path = path
        if path and path.exists():
            self._events = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]

    def add(self, type_: str, at: float, **fields: Any) -> Event:
        with self._lock:
            event = {"seq": len(self._events) + 1, "at": at, "time": iso(at), "type": type_, **fields}
            self._events.append(event)
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps(event) + "\n")
            return event

    def since(self, seq: int = 0, type_: str = "") -> list[Event]:
        """Events after number `seq`, oldest first."""
        with self._lock:
            return [event for event in self._events[seq:] if not type_ or event["type"] == type_]
