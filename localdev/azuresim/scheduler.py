"""What will happen at which virtual moment.

A step is a name and plain data, never a closure, so that what is due can be saved and taken up by the next process.
Steps run in the order of their moments and are given their own moment: a clock that leaps an hour lives through every
minute of it in order.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Callable
from typing import Any

from localdev.clock import Clock

logger = logging.getLogger(__name__)

Step = Callable[..., None]  # called with the moment, then the payload as keywords


class Scheduler:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: dict[str, Step] = {}
        self._due: list[tuple[float, int, str, dict[str, Any]]] = []
        self._sequence = itertools.count()
        self.watchers: list[Callable[[float], None]] = []  # asked at each turn for what ended on wall time
        self.on_defect: Callable[[float, str], None] = lambda moment, step: None

    def register(self, name: str, step: Step) -> None:
        self._steps[name] = step

    def at(self, moment: float, step: str, **payload: Any) -> None:
        if step not in self._steps:
            raise LookupError(f"no step named {step}")
        heapq.heappush(self._due, (moment, next(self._sequence), step, payload))

    def run_due(self) -> bool:
        """Take every step whose moment has come; True if anything was done."""
        done = False
        for watcher in self.watchers:
            watcher(self._clock.time())
        while self._due and self._due[0][0] <= self._clock.time():
            moment, _, step, payload = heapq.heappop(self._due)
            try:
                self._steps[step](moment, **payload)
            except Exception:
                self.on_defect(moment, step)
                logger.exception("step %s %s", step, payload)
            done = True
        return done

    def dump(self) -> list[list[Any]]:
        return [[moment, step, payload] for moment, _, step, payload in sorted(self._due)]

    def load(self, state: list[list[Any]]) -> None:
        for moment, step, payload in state:
            self.at(moment, step, **payload)
