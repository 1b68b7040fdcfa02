"""The runs that a task hub's file knows, for when no app is running: `--hub FILE`. The file is only read.

A local runner's hub is one SQLite file. What is read of it are a few columns of one table, of the version named here;
what stands in Blob Storage (progress, leases, the records of runs that were purged) is not in it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shared.domain.errors import AppError, NotFoundError
from shared.domain.report import OUTCOMES, InstanceLook, build_report, child_ids, read_look, summary

_APPLICATION_ID = 0x4D757374  # localdev/runner/hub/schema.py: whose file this is
_SCHEMA_VERSION = 1
_COLUMNS = "id, name, status, created, updated, custom_status, output, failure"
_RUNTIMES = (
    "Running",
    "Completed",
    "ContinuedAsNew",
    "Failed",
    "Canceled",
    "Terminated",
    "Pending",
    "Suspended",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_LISTED = 100


class HubFile:
    """One hub file, read as the API would answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def runs(self) -> dict[str, Any]:
        """The newest runs, newest first."""
        names = tuple(OUTCOMES)
        where = (
            f"WHERE name IN ({','.join('?' * len(names))}) ORDER BY created DESC, key DESC LIMIT {MAX_LISTED}"
        )
        return {"runs": [summary(look) for look in self._looks(where, names)]}

    def run(self, run: str) -> dict[str, Any]:
        """One run. Raises NotFoundError if the file knows none of that id."""
        root = next(iter(self._looks("WHERE id = ?", (run,))), None)
        if root is None:
            raise NotFoundError(f"{self._path} knows no run {run!r}", code="NoRun")
        ids = child_ids(run)
        children = self._looks(f"WHERE id IN ({','.join('?' * len(ids))})", tuple(ids))
        return build_report(root, children, ()).model_dump(mode="json")

    def _looks(self, where: str, values: tuple[str, ...]) -> list[InstanceLook]:
        with self._open() as hub:
            return [_look(*row) for row in hub.execute(f"SELECT {_COLUMNS} FROM instance {where}", values)]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Beside a runner that writes, or with none; in a folder that may be written to or not."""
        try:
            uri = self._path.resolve(strict=True).as_uri()
            with closing(sqlite3.connect(f"{uri}?mode=ro", uri=True)) as hub:
                application, version = (
                    hub.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version")
                )
                if application != _APPLICATION_ID:
                    raise AppError(f"{self._path} is no task hub")
                if version != _SCHEMA_VERSION:
                    raise AppError(
                        f"{self._path} has schema {version}, this program reads {_SCHEMA_VERSION}:"
                        " use the program that wrote it"
                    )
                yield hub
        except OSError as error:
            raise AppError(f"{self._path}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise AppError(f"{self._path} cannot be read as a task hub: {error}") from None


def _look(
    id_: str, name: str, status: int, created: int, updated: int, custom: str | None, output: str | None,
    failure: bytes | None,
) -> InstanceLook:  # fmt: skip
    return read_look(
        id_,
        name,
        runtime=_RUNTIMES[status],
        custom=json.loads(custom) if custom else None,
        output=_failure_message(failure) if failure else json.loads(output) if output else None,
        created=_moment(created),
        updated=_moment(updated),
    )


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _failure_message(data: bytes) -> str:
    """Field 2 of the durable protocol's TaskFailureDetails. Fields are (number << 3 | 2), length, bytes; or varints."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)
        if tag & 7 != 2:
            continue
        if tag >> 3 == 2:
            return data[at : at + size].decode(errors="replace")
        at += size
    return ""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
