"""Time that moves only when the machine says so."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from localdev.clock import Clock

START = datetime(2026, 3, 1, 1, 59, 20, tzinfo=UTC)


class VirtualClock(Clock):
    """The hub's clock thread never wakes by itself on it: the machine fires timers when it has moved the time."""

    def __init__(self, start: datetime = START) -> None:
        super().__init__(None)
        self._moment = start.timestamp()

    @property
    def speed(self) -> float:
        return 1.0

    def time(self) -> float:
        return self._moment

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._moment, UTC)

    def advance(self, step: timedelta) -> None:
        self.move_to(self._moment + step.total_seconds())

    def move_to(self, moment: float) -> None:
        """Time never runs backwards: a moment that has passed changes nothing."""
        self._moment = max(self._moment, moment)

    def set_speed(self, speed: float) -> None:
        raise RuntimeError("this clock has no speed")

    def wait_until(self, moment: float, wake: threading.Event) -> bool:
        wake.wait()
        return False

    def wall_seconds(self, virtual_seconds: float) -> float:
        return virtual_seconds
