"""Who holds a hub file: one process at a time, by an advisory lock that dies with it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from .errors import HubLocked


class Holder:
    """The right to use one hub file, held until `release` or the end of the process (the kernel drops it)."""

    def __init__(self, path: Path) -> None:
        """Raises HubLocked, naming the process that has it."""
        self._path = path.with_name(path.name + ".lock")
        self._file: TextIOWrapper = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with self._file:
                raise HubLocked(f"{path} is in use by {self._describe_holder()}") from None
        self._file.truncate(0)
        self._file.write(json.dumps(_describe_self()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()

    def _describe_holder(self) -> str:
        self._file.seek(0)
        try:
            who = json.loads(self._file.read())
            return f"pid {who['pid']} on {who['host']} ({who['command']}), since {who['since']}"
        except (ValueError, KeyError, TypeError):
            return "another process"


def _describe_self() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(" ".join(sys.orig_argv).split())[:200],
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
