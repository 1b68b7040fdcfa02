"""One clock for everything that plays Azure on this machine.

The simulator, the task hub and the timer triggers read the same clock, so that a test can let half an hour pass in
an instant and a demonstration can live through a night in a minute. The clock is a small file: whoever holds its
path sees the same time, in whichever process. Without a file it is the wall clock.
"""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

ENVIRONMENT_VARIABLE = "LOCALDEV_CLOCK"
_LOOK_AGAIN_S = 0.02  # how long a sleeper may miss that another process moved the clock


class Clock:
    """Virtual time: `virtual = origin + (wall - wall_origin) * speed`.

    A clock with a path is shared through that file and may be advanced or sped up by any process that opened it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = -1
        self._wall_origin, self._origin, self._speed = 0.0, 0.0, 1.0

    @classmethod
    def create(cls, path: Path, *, start: datetime | None = None, speed: float = 1.0) -> Clock:
        """Make (or reset) the clock file at `path`, showing `start` (now, if none), running `speed` times wall time."""
        clock = cls(path)
        clock._write(origin=start.timestamp() if start else time.time(), speed=speed)
        return clock

    @classmethod
    def from_environment(cls) -> Clock:
        """The clock named by LOCALDEV_CLOCK, or the wall clock."""
        path = os.environ.get(ENVIRONMENT_VARIABLE)
        return cls(Path(path) if path else None)

    @property
    def path(self) -> Path | None:
        return self._path

    @property
    def speed(self) -> float:
        self._refresh()
        return self._speed

    def time(self) -> float:
        """Seconds since the epoch, virtual."""
        self._refresh()
        return self._origin + (time.time() - self._wall_origin) * self._speed

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, step: timedelta) -> None:
        """Let `step` pass at once, for everyone who shares this clock."""
        self._write(origin=self.time() + step.total_seconds(), speed=self._speed)

    def set_speed(self, speed: float) -> None:
        """0 freezes the clock: then only `advance` moves it."""
        self._write(origin=self.time(), speed=speed)

    def wait_until(self, moment: float, wake: threading.Event) -> bool:
        """Sleep until the virtual `moment` (epoch seconds) or until `wake` is set; True if the moment came."""
        while (left := moment - self.time()) > 0:
            if wake.wait(self.wall_seconds(left)):
                return False
        return True

    def wall_seconds(self, virtual_seconds: float) -> float:
        """How long to sleep now for `virtual_seconds` to pass; short when another process may move a shared clock."""
        speed = self.speed
        wall = virtual_seconds / speed if speed > 0 else _LOOK_AGAIN_S
        return max(0.0, min(wall, _LOOK_AGAIN_S) if self._path else wall)

    def _refresh(self) -> None:
        if self._path is None:
            return
        stamp = self._path.stat().st_mtime_ns
        if stamp == self._stamp:
            return
        with self._lock:
            state = json.loads(self._path.read_text())
            self._wall_origin, self._origin, self._speed = state["wall"], state["virtual"], state["speed"]
            self._stamp = stamp

    def _write(self, *, origin: float, speed: float) -> None:
        if self._path is None:
            raise RuntimeError("the wall clock cannot be set; open a clock with a file")
        fresh = self._path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
        fresh.write_text(json.dumps({"wall": time.time(), "virtual": origin, "speed": speed}))
        fresh.replace(self._path)
        self._stamp = -1
