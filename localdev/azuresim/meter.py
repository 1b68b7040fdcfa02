"""The bill: what every billable resource cost, to the second.

A line is one uninterrupted stretch of one meter on one resource. Money is Decimal, so that a thousand lines
add up to the cent; seconds are whole, as Azure bills machines.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

_NANO_DOLLAR = Decimal("0.000000001")


@dataclass(frozen=True)
class Line:
    """One stretch of billing. `ended` is None while the meter runs; `usd` is then the cost until now."""

    resource_id: str
    meter: str
    started: float
    ended: float | None
    seconds: int
    usd: Decimal
    usd_per_hour: float
    tags: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "usd": str(self.usd), "tags": dict(self.tags)}


@dataclass
class _Stretch:
    resource_id: str
    meter: str
    usd_per_hour: float
    started: float
    ended: float | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def line(self, now: float) -> Line:
        # A float of epoch seconds carries about a microsecond; do not lose a whole second to it.
        seconds = max(0, math.floor((now if self.ended is None else self.ended) - self.started + 1e-5))
        usd = (Decimal(str(self.usd_per_hour)) * seconds / 3600).quantize(_NANO_DOLLAR)
        return Line(
            self.resource_id,
            self.meter,
            self.started,
            self.ended,
            seconds,
            usd,
            self.usd_per_hour,
            dict(self.tags),
        )


class Meter:
    """Starts and stops billing. Ids compare without case, as ARM's do. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stretches: list[_Stretch] = []

    def start(
        self, resource_id: str, meter: str, usd_per_hour: float, at: float, tags: Mapping[str, str]
    ) -> None:
        """Bill `resource_id` from `at` on. Repeating it changes nothing; a new rate ends the old line."""
        with self._lock:
            running = next((s for s in self._running(resource_id) if s.meter == meter), None)
            if running and running.usd_per_hour == usd_per_hour:
                return
            if running:
                running.ended = max(at, running.started)
            self._stretches.append(_Stretch(resource_id, meter, usd_per_hour, at, tags=dict(tags)))

    def stop(self, resource_id: str, at: float, meter: str | None = None) -> None:
        """End the running lines of `resource_id` (or the one of `meter`), if there are any."""
        with self._lock:
            for stretch in self._running(resource_id):
                if meter is None or stretch.meter == meter:
                    stretch.ended = max(at, stretch.started)

    def retag(self, resource_id: str, tags: Mapping[str, str]) -> None:
        """Tags of the running lines; what was billed before keeps the tags it was billed under."""
        with self._lock:
            for stretch in self._running(resource_id):
                stretch.tags = dict(tags)

    def lines(self, now: float) -> list[Line]:
        """The whole bill, oldest line first."""
        with self._lock:
            return [stretch.line(now) for stretch in self._stretches]

    def total_usd(self, now: float) -> Decimal:
        return sum((line.usd for line in self.lines(now)), Decimal(0))

    def dump(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(stretch) for stretch in self._stretches]

    def load(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Replace the whole bill by what `dump` gave."""
        with self._lock:
            self._stretches = [_Stretch(**{**item, "tags": dict(item["tags"])}) for item in state]

    def _running(self, resource_id: str) -> list[_Stretch]:
        wanted = resource_id.casefold()
        return [s for s in self._stretches if s.ended is None and s.resource_id.casefold() == wanted]
