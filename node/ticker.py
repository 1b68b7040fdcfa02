"""Doing something every so often, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ticker:
    """Calls `tick` every `every_s` seconds between `start` and `stop`. It must not raise: that would be the last call."""

    def __init__(self, name: str, every_s: float, tick: Callable[[], None]) -> None:
        self._every_s, self._tick = every_s, tick
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No call is under way afterwards. A ticker that was never started may be stopped too."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._tick()
