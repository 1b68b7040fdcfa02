"""What a profile found at each instance size, and which size it recommends. Pure: numbers in, a table with reasons out.

Recommended is the cheapest per month among those that met the declared p95 and error rate at every level of concurrency.
Nothing is extrapolated: a candidate is as good as what was measured of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.domain.deploy import ProbeReport
from shared.domain.deployment import Resources
from shared.domain.price_book import HOURS_PER_MONTH
from shared.domain.wire import Wire

MAX_REASON = 200  # characters: eight candidates at six levels fit into a history


class Level(Wire):
    """What a load test showed at one level of concurrency. `per_s`: good answers a second."""

    concurrency: int
    requests: int = 0
    per_s: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    error_rate: float | None = None
    ok: bool = False
    reason: str = ""

    @classmethod
    def of(cls, concurrency: int, report: ProbeReport) -> Level:
        return cls(
            concurrency=concurrency, requests=report.requests, per_s=round(report.per_s or 0.0, 2),
            p50_ms=_rounded(report.p50_ms), p95_ms=_rounded(report.p95_ms), p99_ms=_rounded(report.p99_ms),
            error_rate=_rounded(report.error_rate), ok=report.ok, reason=report.reason[:MAX_REASON],
        )  # fmt: skip

    def __str__(self) -> str:
        p95 = f"p95 {self.p95_ms:.0f} ms" if self.p95_ms is not None else "no answer"
        failed = f", {self.error_rate:.1%} failed" if self.error_rate else ""
        return f"{self.concurrency} at once: {self.per_s:.0f}/s, {p95}{failed}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class Tried(Wire):
    """One candidate, the deployment it was tried with, and what came of it.

    `reason`: why it could not be measured; empty where it was. `usd_per_hour`: of one instance; None: nobody knows.
    `usd`: what trying it cost.
    """

    candidate: str
    deployment: str
    resources: Resources
    usd_per_hour: float | None = None
    levels: tuple[Level, ...] = ()
    reason: str = ""
    usd: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.reason and bool(self.levels) and all(level.ok for level in self.levels)

    @property
    def usd_per_month(self) -> float | None:
        if self.usd_per_hour is None:
            return None
        return round(self.usd_per_hour * self.resources.instances * HOURS_PER_MONTH, 2)

    @property
    def usd_per_million(self) -> float | None:
        """What a million requests cost at the most it answered in a second, of the levels that passed."""
        most = max((level.per_s for level in self.levels if level.ok), default=0.0)
        if self.usd_per_hour is None or most <= 0:
            return None
        return round(self.usd_per_hour * self.resources.instances / (most * 3600) * 1e6, 4)

    @property
    def verdict(self) -> str:
        if self.reason:
            return f"not available: {self.reason}"
        failed = next((level for level in self.levels if not level.ok), None)
        return (
            "passed" if self.passed else f"failed at {failed.concurrency if failed else 'no level'} at once"
        )


class Recommendation(Wire):
    """`chosen`: the deployment that the recommended candidate was tried with; "" if none can be recommended."""

    chosen: str = ""
    reason: str = ""


class ProfileRecord(Wire):
    """All that a profile found, for ever: `deployments/{run}/profile.json`."""

    run: str
    use: str
    tried: tuple[Tried, ...]
    recommendation: Recommendation

    @property
    def lines(self) -> tuple[str, ...]:
        """The table as a person reads it: a line for each candidate, then what is recommended and why."""
        chosen = self.recommendation.chosen
        told = f"profile: {self.recommendation.reason}"[:400]
        return (*(_line(each, each.deployment == chosen) for each in self.tried), told)


def recommend(tried: Sequence[Tried]) -> Recommendation:
    """The cheapest per month of those that passed. Equally cheap: fewer cores, then the faster, then the order declared.

    What passed and has no price is not compared, unless none has one and there is nothing to compare.
    """
    passed = [each for each in tried if each.passed]
    if not passed:
        return Recommendation(reason=_none(tried))
    priced = [each for each in passed if each.usd_per_month is not None]
    if not priced and len(passed) > 1:
        names = ", ".join(each.candidate for each in passed)
        return Recommendation(
            reason=f"{names} passed, and nobody says what they cost: see profile.usdPerHour"
        )
    best = min(priced or passed, key=_cost)
    others = len(passed) - 1
    than = f"the cheapest of {len(passed)} that passed" if others else "the only one that passed"
    unpriced = [each.candidate for each in passed if each not in priced]
    aside = f"; without a price and not compared: {', '.join(unpriced)}" if unpriced and priced else ""
    return Recommendation(
        chosen=best.deployment, reason=f"{best.candidate}: {_usd(best.usd_per_month)} a month, {than}{aside}"
    )


def _cost(tried: Tried) -> tuple[float, float, float]:
    month = tried.usd_per_month
    cores = tried.resources.cores * tried.resources.instances
    slowest = max((level.p95_ms or math.inf for level in tried.levels), default=math.inf)
    return (month if month is not None else math.inf, cores, slowest)


def _none(tried: Sequence[Tried]) -> str:
    told = "; ".join(f"{each.candidate}: {_why(each)}" for each in tried)
    return f"no candidate passed: {told}"[:1000]


def _why(tried: Tried) -> str:
    failed = next((level for level in tried.levels if not level.ok), None)
    return f"{tried.verdict}, {failed.reason}" if failed and not tried.reason else tried.verdict


def _line(tried: Tried, is_chosen: bool) -> str:
    mark = " (recommended)" if is_chosen else ""
    costs = [f"{_usd(tried.usd_per_month)} a month"] if tried.usd_per_month is not None else []
    if tried.usd_per_million is not None:
        costs.append(f"{_usd(tried.usd_per_million)} a million requests")
    told = "; ".join([*map(str, tried.levels), *costs])
    return f"profile {tried.candidate}{mark}: {tried.verdict}{'; ' if told else ''}{told}"[:400]


def _usd(amount: float | None) -> str:
    return "an unknown price" if amount is None else f"${amount:,.2f}"
