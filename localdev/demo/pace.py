"""A local clock that runs as fast as this machine can follow, and no faster.

At 60 x a second of a busy machine is a minute of everybody's patience: promises about time would be broken by the laptop
and not by the app. The pace is taken from how long the app needs for a plain question.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from localdev.demo.world import World

SLOWEST = 6.0
EASY_S = 0.12  # what the question takes on two cores that do this and nothing else, with room
LOOK_S = 0.5


class Pace:
    """Sets the world's clock from `with` to the end of it. Nobody else may move that clock meanwhile."""

    def __init__(self, world: World, *, fastest: float) -> None:
        self._world, self._fastest = world, fastest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="pace", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._world.clock.set_speed(self._fastest)

    def _keep(self) -> None:
        speed = self._fastest
        while not self._stop.wait(LOOK_S):
            began = time.monotonic()
            self._world.api("leases")
            able = self._fastest * EASY_S / (time.monotonic() - began)
            wanted = min(self._fastest, max(SLOWEST, (speed + able) / 2))
            if abs(wanted - speed) > speed / 10:
                speed = wanted
                self._world.clock.set_speed(speed)
