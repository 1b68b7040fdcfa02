"""What was asked and what was answered, collected in append blobs, so that drift can be measured and a canary replayed.

`{sub}/{rg}/{workspace}/{service}/{model}/{version}/{inputs|predictions}/{y}/{m}/{d}/data.csv`, days in UTC. A row begins
with request_id (ours, one for each request), client_request_id (the client's own word for it), time, deployment, row.

Collecting never fails a request and never makes one wait: rows wait in a bounded queue, and where storage is away they
are dropped and counted. A block whose answer is lost is written again: readers tell twins by (request_id, row).
"""

from __future__ import annotations

import csv
import io
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from node.errors import JobSpecError, NodeError, reason_of
from node.fields import CONTAINER, is_safe_name, storage_url
from node.models import ModelCard
from node.serving.requests import Rows

logger = logging.getLogger(__name__)

LEAD = ("request_id", "client_request_id", "time", "deployment", "row")
PROBE = "muster-probe-"  # a client request id that begins so is a test's: it is answered and not collected
EVERY_S = 5.0
MOST_WAITING_BYTES = 4 * 1024 * 1024  # of request bodies; in memory they are some ten times larger
FULL_BYTES = 1024 * 1024  # so much is written at once, without waiting
BLOCK_BYTES = 2 * 1024 * 1024
_SETTINGS = ("MUSTER_WORKSPACE", "MUSTER_SERVICE", "MUSTER_MODEL", "MUSTER_VERSION")


@dataclass(frozen=True)
class _Block:
    blob: str
    header: bytes
    data: bytes
    rows: int


@dataclass(frozen=True)
class Served:
    request: str
    client_request: str
    at: datetime
    rows: Rows
    predictions: Sequence[Any]
    size: int  # of the request's body: what it costs to keep


class Appender(Protocol):
    def append(self, name: str, header: bytes, rows: bytes) -> None:
        """Add rows to a blob that begins with `header`. Raises NodeError."""


class Collector:
    """A queue, and a thread that empties it. The thread begins with the first request: forks do not keep threads."""

    def __init__(
        self, appender: Appender, folder: str, deployment: str, card: ModelCard, *, every_s: float = EVERY_S
    ) -> None:
        self._appender, self._folder, self._deployment, self._card = appender, folder, deployment, card
        self._every_s = every_s
        self._waiting: deque[Served] = deque()
        self._bytes = 0  # of what waits and of what is being written
        self._writing: deque[_Block] = deque()
        self._held = 0  # bytes of the batch that is being written
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._closing = False
        self.dropped = 0
        self.collected = 0

    def offer(self, served: Served) -> None:
        """Keep it for the next flush, or drop it if too much waits. Returns at once."""
        if served.client_request.startswith(PROBE):
            return
        with self._changed:
            if self._closing or self._bytes + served.size > MOST_WAITING_BYTES:
                self.dropped += served.rows.count
                return
            self._waiting.append(served)
            self._bytes += served.size
            if self._thread is None or self._process != os.getpid():
                self._process = os.getpid()
                self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
                self._thread.start()
            if self._bytes >= FULL_BYTES:
                self._changed.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, once, and take no more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._process == os.getpid():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        is_written, told = True, 0
        while not self._closing:
            with self._changed:
                # Storage that is away is not hurried, however much waits.
                hurry = FULL_BYTES if is_written else 2 * MOST_WAITING_BYTES
                self._changed.wait_for(partial(self._is_due, hurry), self._every_s)
            is_written = self._flush()
            if self.dropped > told:
                logger.warning("collecting: %d rows were dropped so far", self.dropped)
                told = self.dropped
        if not self._flush():
            logger.warning("collecting: %d rows are lost", sum(block.rows for block in self._writing))

    def _is_due(self, hurry: int) -> bool:
        return self._closing or self._bytes >= hurry

    def _flush(self) -> bool:
        """Write all that waits, block by block; what cannot be written is tried again. The queue's bound ends that."""
        try:
            while self._writing or self._take():
                block = self._writing[0]
                self._appender.append(block.blob, block.header, block.data)
                self._writing.popleft()
                self.collected += block.rows
        except NodeError as error:
            logger.warning("collecting failed: %s", reason_of(error))
            return False
        except Exception:  # whatever it is, the thread must live: requests go on
            logger.exception("collecting failed; what waits is dropped")
            self.dropped += sum(block.rows for block in self._writing)
            self._writing.clear()
        return True

    def _take(self) -> bool:
        """Make blocks of what waits. False if nothing does."""
        with self._changed:
            batch = list(self._waiting)
            self._waiting.clear()
            self._bytes -= self._held  # the batch before is written
            self._held = sum(served.size for served in batch)
        by_day: dict[str, list[Served]] = {}
        for served in batch:
            by_day.setdefault(served.at.strftime("%Y/%m/%d"), []).append(served)
        for day, served_then in by_day.items():
            self._writing += self._blocks(day, served_then)
        return bool(batch)

    def _blocks(self, day: str, batch: Sequence[Served]) -> Iterator[_Block]:
        inputs = [column.name for column in self._card.inputs]
        yield from self._columns(
            day, "predictions", [self._card.output.name], batch, lambda each: [each.predictions]
        )
        yield from self._columns(
            day, "inputs", inputs, batch, lambda each: [each.rows.columns[name] for name in inputs]
        )

    def _columns(
        self,
        day: str,
        designation: str,
        names: Sequence[str],
        batch: Sequence[Served],
        columns: Callable[[Served], Sequence[Sequence[Any]]],
    ) -> Iterator[_Block]:
        blob, header = f"{self._folder}/{designation}/{day}/data.csv", _csv([[*LEAD, *names]])
        data, rows = bytearray(), 0
        for served in batch:
            lead = (served.request, served.client_request, _stamp(served.at), self._deployment)
            values = zip(*columns(served), strict=True)
            data += _csv([*lead, number, *row] for number, row in enumerate(values))
            rows += served.rows.count
            if len(data) >= BLOCK_BYTES:
                yield _Block(blob, header, bytes(data), rows)
                data, rows = bytearray(), 0
        if data:
            yield _Block(blob, header, bytes(data), rows)


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def collector_of(environment: Mapping[str, str], card: ModelCard) -> Collector | None:
    """The collector that the deployment asks for, or None. A setting that is wrong is said, and collects nothing."""
    if not environment.get("MUSTER_COLLECT"):
        return None
    try:
        account, container = _place(environment["MUSTER_COLLECT"])
        folder = _folder(environment)
    except JobSpecError as error:
        logger.warning("nothing is collected: %s", error)
        return None
    from node.serving.append_blobs import AppendBlobs

    client_id = environment.get("MUSTER_COLLECT_CLIENT_ID") or None
    return Collector(
        AppendBlobs(account, container, client_id),
        folder,
        environment.get("MUSTER_DEPLOYMENT", ""),
        card,
        every_s=float(environment.get("MUSTER_COLLECT_EVERY_S") or EVERY_S),
    )


def _place(url: str) -> tuple[str, str]:
    account, _, container = url.rstrip("/").rpartition("/")
    if not CONTAINER.fullmatch(container):
        raise JobSpecError(f"MUSTER_COLLECT: {url!r} is not the address of a container")
    return storage_url(account, "MUSTER_COLLECT"), container


def _folder(environment: Mapping[str, str]) -> str:
    """`{sub}/{rg}/{workspace}/{service}/{model}/{version}` of the workspace's ARM id and the deployment's settings."""
    workspace, *rest = (environment.get(name, "") for name in _SETTINGS)
    parts = workspace.strip("/").split("/")
    if len(parts) != 8 or not all(rest):
        raise JobSpecError(f"{', '.join(_SETTINGS)} are not all there")
    folder = "/".join([parts[1], parts[3], parts[7], *rest])
    if not is_safe_name(folder) or folder.count("/") != 5:
        raise JobSpecError(f"{folder!r} is not a folder's name")
    return folder
