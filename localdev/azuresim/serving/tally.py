"""What an endpoint answered: one record a request, by virtual minute, for metrics and for whoever counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

MINUTE_S = 60.0
_KEPT_MINUTES = 2 * 24 * 60  # with traffic; Azure keeps 93 days


class Served(NamedTuple):
    """`at` is virtual, `wall_ms` is not: a model takes the time it takes, however fast the clock runs."""

    at: float
    deployment: str
    status: int
    model_status: int  # 0: the model was not asked or did not answer
    wall_ms: float

    @property
    def status_class(self) -> str:
        return f"{self.status // 100}xx"


class Tally:
    def __init__(self) -> None:
        self._minutes: dict[int, list[Served]] = {}
        self._counts: dict[str, Counter[int]] = {}

    def add(self, served: Served) -> None:
        self._minutes.setdefault(int(served.at // MINUTE_S), []).append(served)
        self._counts.setdefault(served.deployment, Counter())[served.status] += 1
        if len(self._minutes) > _KEPT_MINUTES:
            del self._minutes[min(self._minutes)]

    def between(self, since: float, until: float) -> Iterator[Served]:
        """Requests that were answered in [since, until)."""
        for minute in sorted(self._minutes):
            if (minute + 1) * MINUTE_S > since and minute * MINUTE_S < until:
                yield from (each for each in self._minutes[minute] if since <= each.at < until)

    def counts(self) -> dict[str, dict[str, int]]:
        """{"blue": {"200": 12}, "": {"401": 1}}; "" is what never got to a deployment."""
        return {
            deployment: {str(status): number for status, number in sorted(counter.items())}
            for deployment, counter in self._counts.items()
        }
