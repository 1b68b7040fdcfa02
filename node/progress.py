"""What a person can see of a job while it runs: one small blob, rewritten at least every 2 s."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from node.errors import NodeError, reason_of
from node.storage import Store
from node.ticker import Ticker

logger = logging.getLogger(__name__)
EVERY_S = 1.0  # the promise is 2 s; a write may be slow


@dataclass
class _Tally:
    items: int = 0
    quarantined: int = 0
    rows: int = 0


class Progress:
    """Counts, from any thread. A shard that is started again counts from zero again."""

    def __init__(self, job: str, shards: int, items: int) -> None:
        self._lock = threading.Lock()
        self._job, self._shards, self._items = job, shards, items
        self._tallies: dict[str, _Tally] = {}
        self._done: set[str] = set()
        self._failed: dict[str, str] = {}
        self._state = "running"
        self._exit_code: int | None = None
        self._error: dict[str, str] | None = None

    @property
    def failed(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._failed)

    def shard_started(self, shard: str) -> None:
        with self._lock:
            self._tallies[shard] = _Tally()

    def item_done(self, shard: str, status: str, rows: int) -> None:
        with self._lock:
            tally = self._tallies.setdefault(shard, _Tally())
            tally.items += 1
            tally.quarantined += status == "quarantined"
            tally.rows += rows

    def shard_done(self, shard: str, record: Mapping[str, Any]) -> None:
        """Count what the record says: it may be another writer's."""
        items, output = record["items"], record["output"]
        tally = _Tally(len(items), sum(item["status"] == "quarantined" for item in items), 0)
        tally.rows = output["rows"] if output else 0
        with self._lock:
            self._tallies[shard] = tally
            self._done.add(shard)

    def part_done(self, part: str, *, good: bool, rows: int = 0) -> None:
        """A trial, or whatever a job of another kind has for shards: one part with one input."""
        with self._lock:
            self._tallies[part] = _Tally(1, int(not good), rows)
            self._done.add(part)

    def shard_failed(self, shard: str, reason: str) -> None:
        with self._lock:
            self._tallies.pop(shard, None)
            self._failed[shard] = reason

    def finish(self, error: NodeError | None) -> None:
        with self._lock:
            self._state = "failed" if error else "succeeded"
            self._exit_code = error.exit_code if error else 0
            self._error = {"type": error.kind, "message": reason_of(error)} if error else None

    def document(self) -> dict[str, Any]:
        with self._lock:
            tallies = self._tallies.values()
            return {
                "job": self._job,
                "state": self._state,
                "shards_total": self._shards,
                "shards_done": len(self._done),
                "shards_failed": dict(self._failed),
                "items_total": self._items,
                "items_done": sum(tally.items for tally in tallies),
                "items_quarantined": sum(tally.quarantined for tally in tallies),
                "rows": sum(tally.rows for tally in tallies),
                "updated": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "exit_code": self._exit_code,
                "error": self._error,
            }


class Reporter:
    """Writes the progress from a thread of its own, so that it moves while the machine is busy."""

    def __init__(self, store: Store, container: str, blob: str, progress: Progress) -> None:
        self._store, self._container, self._blob, self._progress = store, container, blob, progress
        self._ticker = Ticker("progress", EVERY_S, self._try_to_write)

    def start(self) -> None:
        """The first write is made here: storage that refuses it refuses the job, before anything costs time."""
        self._write()
        self._ticker.start()

    def stop(self) -> None:
        """Write how it ended. Raises what storage says: an end that cannot be seen is no success."""
        self._ticker.stop()
        self._write()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except NodeError as error:
            logger.warning("progress not written: %s", error)

    def _write(self) -> None:
        self._store.replace(self._container, self._blob, json.dumps(self._progress.document()).encode())
