"""A child process that runs somebody else's code: sealed, watched, and ended in time with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from node.arithmetic import ARITHMETIC
from node.errors import Stopped
from node.lifeline import adopt_orphans, children_of_ours

LOG_BYTES = 64 * 1024
_WORDS = 400
_LOOK_S = 0.1
_CHUNK = 64 * 1024
PACKAGE = Path(__file__).resolve().parents[1]
_PR_SET_DUMPABLE = 4
_END_GRACE_S = 2.0  # a machine that goes down tells everybody at once, in any order

_launching = threading.Lock()
_launchers: set[int] = set()


@dataclass(frozen=True)
class Ended:
    """How a child ended. `code` as in subprocess, None if its time was up. `log`: the end of what it wrote."""

    code: int | None
    log: bytes
    sealed: bool
    seconds: float

    @property
    def words(self) -> str:
        """`exit code 1: ValueError: no rows`, with the last line that it wrote; or how it was killed."""
        if self.code is None:
            return "its time was up"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        lines = [line.strip() for line in self.log.decode(errors="replace").splitlines() if line.strip()]
        return f"exit code {self.code}" + (f": {lines[-1][:_WORDS]}" if lines else "")


def close_own_memory() -> None:
    """Nobody of the same user may read this process's memory and environment, where its tokens are."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that a child sees of ours: nothing that names an identity, a proxy, an account or a key."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        **ARITHMETIC,
        **(extra or {}),
    }


def run_ours(module: str, *arguments: str, writable: Path, stop: threading.Event, timeout_s: float) -> Ended:
    """Run a module of this package as a sealed child: what parses strangers' data or loads their models."""
    # A library that aborts leaves its stack in the log.
    environment = clean_environment(writable, {"PYTHONPATH": str(PACKAGE), "PYTHONFAULTHANDLER": "1"})
    command = [sys.executable, "-m", module, *arguments]
    return run_child(
        command, folder=writable, writable=writable, environment=environment, stop=stop, timeout_s=timeout_s
    )


def run_child(
    command: Sequence[str],
    *,
    folder: Path,
    writable: Path,
    environment: Mapping[str, str],
    stop: threading.Event,
    timeout_s: float,
) -> Ended:
    """Run to its end, to `timeout_s`, or until `stop`; then Stopped is raised. Nothing of it is left afterwards."""
    adopt_orphans()
    begun = time.monotonic()
    ours, theirs = os.pipe()
    specification = {
        "command": list(command),
        "folder": str(folder),
        "writable": str(writable),
        "status": theirs,
    }
    process = _launch(specification, environment, theirs)
    os.close(theirs)
    assert process.stdout is not None
    tail = _Tail(process.stdout)
    try:
        in_time = _wait(process, begun + timeout_s, stop)
    finally:
        _end(process)
        log = tail.close()
        with os.fdopen(ours, "rb") as status:
            told = status.read()
    said = json.loads(told) if told else {"sealed": False, "code": process.returncode}
    ended = Ended(said["code"] if in_time else None, log, bool(said["sealed"]), time.monotonic() - begun)
    if stop.is_set() or (ended.code in (-signal.SIGTERM, -signal.SIGKILL) and stop.wait(_END_GRACE_S)):
        raise Stopped(f"stopped by SIGTERM after {ended.seconds:.0f} s of {Path(command[-1]).name}")
    return ended


def _launch(
    specification: Mapping[str, object], environment: Mapping[str, str], status: int
) -> subprocess.Popen[bytes]:
    with _launching:
        process = subprocess.Popen(
            [sys.executable, "-m", "node.seal", json.dumps(specification)],
            cwd=PACKAGE,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[status],
            start_new_session=True,
        )
        _launchers.add(process.pid)
        return process


def _wait(process: subprocess.Popen[bytes], deadline: float, stop: threading.Event) -> bool:
    """Whether it ended by itself."""
    while process.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0 or stop.is_set():
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_LOOK_S, left))
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """The launcher's group, then whatever left the group; in a namespace of its own the kernel has done it by then."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _launchers.discard(process.pid)
    _end_orphans()


def _end_orphans() -> None:
    """What a launcher left behind is our child by now; each round ends a generation."""
    while True:
        with _launching:
            orphans = children_of_ours() - _launchers
        if not orphans:
            return
        for orphan in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, 0)


class _Tail:
    """Reads all that a child writes, as fast as it comes, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._thread = threading.Thread(target=self._read, name="log", daemon=True)
        self._thread.start()

    def close(self) -> bytes:
        self._thread.join()
        self._stream.close()
        return b"".join(self._kept)[-LOG_BYTES:]

    def _read(self) -> None:
        while data := os.read(self._stream.fileno(), _CHUNK):
            self._kept.append(data)
            self._size += len(data)
            while self._size - len(self._kept[0]) >= LOG_BYTES:
                self._size -= len(self._kept.popleft())
