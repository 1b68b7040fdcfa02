"""Is green good enough in this step? What was seen in, a row a person can read for every rule out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from shared.domain.deployment import Rollout
from shared.domain.predictions import PredictionDrift
from shared.domain.serving import DeploymentState, ServingMetrics
from shared.domain.times import duration_text
from shared.domain.wire import Wire


class Ruling(StrEnum):
    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


class Command(StrEnum):
    """What a person wants of a rollout."""

    NONE = ""
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    ROLL_BACK = "rollback"


class StepQuery(Wire):
    """Look at a step of a rollout. `since`: when its map was read back; `began`: when the rollout began.

    Metrics and predictions are those of the step; where blue has no traffic any more, in the last step, its predictions
    are those since the rollout `began`. `baking`, told where predictions are compared: the map was read back, and the
    step is judged. `number` is the pause whose decision is looked for, 0 if none is.
    """

    run: str
    platform: str
    endpoint: str
    blue: str = ""
    green: str
    model: str
    version: str
    rollout: Rollout
    since: datetime
    began: datetime
    epoch: int
    number: int = 0
    baking: bool = Field(default=False, exclude_if=lambda baking: not baking)


class Observation(Wire):
    """All that one look saw. What was not seen is None, never a zero.

    `weights` were read back. `fenced`: the endpoint shows a higher epoch than ours. `number` is the pause that an
    approval or a rejection is about.
    """

    now: datetime
    weights: dict[str, int] | None = None
    endpoint_exists: bool = True
    green: DeploymentState = DeploymentState.READY
    blue: DeploymentState = DeploymentState.READY
    green_metrics: ServingMetrics | None = None
    blue_metrics: ServingMetrics | None = None
    drift: PredictionDrift | None = None
    command: Command = Command.NONE
    by: str = ""
    number: int = 0
    fenced: bool = False


class RuleRow(Wire):
    """A line of a verdict: one rule, what was seen for it, its limit, and how that was judged."""

    rule: str
    value: str = ""
    limit: str = ""
    ruling: Ruling = Ruling.PASS
    why: str = ""


class StepVerdict(Wire):
    ruling: Ruling
    reason: str = ""
    rows: tuple[RuleRow, ...] = ()


class StepEvidence(Wire):
    """What a step of a rollout showed, for the record: `deployments/{run}/steps/{number}.json`."""

    run: str
    number: int
    weight: int
    outcome: str  # passed, approved, or what ended the rollout: fail, inconclusive, reject, cancel, ...
    by: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    looks: int = 0
    weights: dict[str, int] = {}
    green: ServingMetrics | None = None
    blue: ServingMetrics | None = None
    drift: PredictionDrift | None = None
    verdict: StepVerdict | None = None

    def __str__(self) -> str:
        told = f"{self.weight} %: {self.outcome}"
        if self.green is not None:
            p95 = f", p95 {self.green.p95_ms:.0f} ms" if self.green.p95_ms is not None else ""
            told += f", {self.green.requests:.0f} requests, {self.green.errors_5xx:.0f} of them 5xx{p95}"
        if self.drift is not None and self.drift.distance is not None:
            told += f", drift {self.drift.distance:.3f}"
        bad = self.verdict is not None and self.verdict.ruling is not Ruling.PASS
        return f"{told}; {self.verdict.reason}" if bad and self.verdict else told


STALE = timedelta(minutes=3)  # Azure Monitor's points are complete one to two minutes late
LEAST_REGRESSION_MS = 10.0  # less is the network's, not the model's
SIGMAS = 3  # how far beyond blue's share of refused requests green's must be to be no accident


class Baseline(Wire):
    """What green is compared with. `has_traffic`: whether blue serves in this step.

    `p95_ms` is blue's of an earlier step; `first_p95_ms` bounds green where blue never served in this rollout.
    """

    has_blue: bool
    has_traffic: bool = False
    p95_ms: float | None = None
    first_p95_ms: float


def judge(rules: Rollout, seen: Observation, baseline: Baseline, *, baked: timedelta) -> StepVerdict:
    """Every rule is judged. One Fail fails; else one Inconclusive leaves it open: what was not seen is never good.

    Bad news counts as soon as it cannot be undone by `min_requests` good answers; good news only when there are as many
    answers, metrics are fresh, and the bake is over.
    """
    rows = tuple(_rows(rules, seen, baseline, baked))
    for ruling in (Ruling.FAIL, Ruling.INCONCLUSIVE):
        if against := [row for row in rows if row.ruling is ruling]:
            reason = "; ".join(f"{row.rule}: {row.why}" for row in against)
            return StepVerdict(ruling=ruling, reason=reason[:1000], rows=rows)
    return StepVerdict(ruling=Ruling.PASS, reason="every rule is met", rows=rows)


def is_fresh(metrics: ServingMetrics | None, now: datetime) -> bool:
    """Whether there are metrics, of now: not older than STALE, nor further ahead of the clock."""
    return metrics is not None and metrics.newest is not None and abs(now - metrics.newest) <= STALE


def comparable_p95(metrics: ServingMetrics | None, rules: Rollout) -> float | None:
    """The p95 of a deployment that answered enough to have one."""
    if metrics is None or not is_sane(metrics) or metrics.requests < rules.min_requests:
        return None
    return metrics.p95_ms if metrics.p95_ms is not None and math.isfinite(metrics.p95_ms) else None


def is_sane(metrics: ServingMetrics) -> bool:
    counts = (metrics.requests, metrics.errors_4xx, metrics.errors_5xx)
    return all(math.isfinite(count) and count >= 0 for count in counts)


def _rows(rules: Rollout, seen: Observation, baseline: Baseline, baked: timedelta) -> Iterator[RuleRow]:
    metrics = seen.green_metrics
    yield _metrics_row(metrics, seen.now)
    if metrics is not None and is_sane(metrics):
        yield _requests_row(metrics, rules)
        yield _errors_row(metrics, rules)
        if (refused := _refused_row(metrics, seen.blue_metrics, rules)) is not None:
            yield refused
        yield _p95_row(metrics, seen.blue_metrics, rules, baseline)
    if seen.drift is not None:
        yield _usable_row(seen.drift, rules)
    if rules.max_prediction_drift is not None and baseline.has_blue:
        yield _drift_row(seen.drift, rules, rules.max_prediction_drift)
    yield _bake_row(rules, baked)


def _metrics_row(metrics: ServingMetrics | None, now: datetime) -> RuleRow:
    limit = f"a point at most {duration_text(STALE)} old"
    if metrics is None or metrics.newest is None:
        return _open("metrics", "none", limit, "there are none of green: silence is no good news")
    told = f"newest {metrics.newest.isoformat()}"
    if not is_sane(metrics):
        return _open("metrics", told, limit, "the numbers make no sense")
    if not is_fresh(metrics, now):
        return _open("metrics", told, limit, f"{_apart(now, metrics.newest)} at {now.isoformat()}")
    return RuleRow(rule="metrics", value=told, limit=limit)


def _apart(now: datetime, newest: datetime) -> str:
    ahead = newest > now
    return f"{duration_text(abs(now - newest))} {'ahead of the clock' if ahead else 'old'}"


def _requests_row(metrics: ServingMetrics, rules: Rollout) -> RuleRow:
    value, limit = f"{metrics.requests:g}", f"at least {rules.min_requests}"
    if metrics.requests < rules.min_requests:
        return _open("requests", value, limit, f"{value} so far, minRequests is {rules.min_requests}")
    return RuleRow(rule="requests", value=value, limit=limit)


def _errors_row(metrics: ServingMetrics, rules: Rollout) -> RuleRow:
    """Fails as soon as the rate would be over its limit even if all further requests up to `min_requests` were fine."""
    requests = max(metrics.requests, metrics.errors_5xx)
    share = metrics.errors_5xx / requests if requests else 0.0
    row = RuleRow(
        rule="5xx",
        value=f"{share:.2%} ({metrics.errors_5xx:g} of {requests:g})",
        limit=f"at most {rules.max_5xx_rate:.2%}",
    )
    if metrics.errors_5xx > rules.max_5xx_rate * max(requests, rules.min_requests):
        return _failed(row, f"{row.value}, max5xxRate is {rules.max_5xx_rate:.2%}")
    return row


def _refused_row(green: ServingMetrics, blue: ServingMetrics | None, rules: Rollout) -> RuleRow | None:
    """A model that refuses what blue takes is broken for its clients, however politely. Judged against blue alone."""
    if blue is None or not is_sane(blue) or blue.requests < rules.min_requests or not green.requests:
        return None
    allowed = blue.errors_4xx / blue.requests + rules.max_5xx_rate
    most = _most_refused(green, blue, allowed)
    row = RuleRow(
        rule="4xx",
        value=f"{green.errors_4xx:g} of {green.requests:g}",
        limit=f"at most {most:.0f}: blue's {blue.errors_4xx / blue.requests:.2%} + {rules.max_5xx_rate:.2%}, and chance",
    )
    if green.errors_4xx > most:
        return _failed(row, f"{row.value} refused, {row.limit}")
    return row


def _most_refused(green: ServingMetrics, blue: ServingMetrics, allowed: float) -> float:
    """So many refusals by green are no accident if `allowed` is its true share, nor if blue's few only made it look so.

    A client that sends bad bodies to both is met by chance: of six requests green may get five of them and blue none.
    """
    expected = allowed * green.requests
    counted = SIGMAS * math.sqrt(max(expected, 1.0))
    both = (green.errors_4xx + blue.errors_4xx) / (green.requests + blue.requests)
    spread = math.sqrt(max(0.0, both * (1 - both)) * (1 / green.requests + 1 / blue.requests))
    return expected + max(counted, SIGMAS * spread * green.requests)


def _p95_row(
    green: ServingMetrics, blue: ServingMetrics | None, rules: Rollout, baseline: Baseline
) -> RuleRow:
    p95 = green.p95_ms if green.p95_ms is not None and math.isfinite(green.p95_ms) else None
    value = f"{p95:.1f} ms" if p95 is not None else "none"
    bound = _p95_bound(blue, rules, baseline)
    if bound is None:
        return _open("p95", value, "blue's", "blue answered too few requests to compare with")
    most, told = bound
    row = RuleRow(rule="p95", value=value, limit=f"at most {most:.1f} ms: {told}")
    if p95 is None:
        return _open("p95", value, row.limit, "green has none")
    if green.requests < rules.min_requests:
        return _open("p95", value, row.limit, "too few requests to tell")
    if p95 > most:
        return _failed(row, f"{value}, {row.limit}")
    return row


def _p95_bound(blue: ServingMetrics | None, rules: Rollout, baseline: Baseline) -> tuple[float, str] | None:
    if not baseline.has_blue:
        return baseline.first_p95_ms, "tests.load.p95, there is no blue"
    theirs = comparable_p95(blue, rules) if baseline.has_traffic else None
    told = "blue's"
    if theirs is None:
        theirs, told = baseline.p95_ms, "blue's of an earlier step"
    if theirs is None:
        return (
            None if baseline.has_traffic else (baseline.first_p95_ms, "tests.load.p95, blue has no traffic")
        )
    most = max(theirs * (1 + rules.max_p95_regression_pct / 100), theirs + LEAST_REGRESSION_MS)
    return (
        most,
        f"{told} {theirs:.1f} ms + {rules.max_p95_regression_pct:g} %, at least {LEAST_REGRESSION_MS:g} ms",
    )


def _usable_row(drift: PredictionDrift, rules: Rollout) -> RuleRow:
    """Answers that are no usable prediction are errors with a 200, and counted like them, less what blue gives too."""
    blue_share = drift.blue_unusable / drift.blue_rows if drift.blue_rows else 0.0
    allowed = rules.max_5xx_rate + blue_share
    row = RuleRow(
        rule="usable predictions",
        value=f"{drift.green_unusable} of {drift.green_rows} unusable",
        limit=f"at most {allowed:.2%}",
    )
    if drift.green_unusable > allowed * max(drift.green_rows, rules.min_requests):
        return _failed(row, f"{row.value}: no finite number, and no label")
    return row


def _drift_row(drift: PredictionDrift | None, rules: Rollout, most: float) -> RuleRow:
    """Beyond the limit is not good enough; it fails only where chance does not explain it."""
    limit = f"distance at most {most:g}"
    rule = "prediction drift"
    if drift is None or drift.distance is None or not math.isfinite(drift.distance):
        return _open(rule, "none", limit, "no predictions of both were collected")
    value = f"{drift.distance:.3f} ({drift.blue_rows} of blue, {drift.green_rows} of green)"
    row = RuleRow(rule=rule, value=value, limit=limit)
    if drift.distance - drift.margin > most:
        return _failed(row, f"{value}, maxPredictionDrift is {most:g}")
    if drift.distance > most:
        return _open(rule, value, limit, f"beyond the limit, though within chance ({drift.margin:.3f})")
    if min(drift.green_rows, drift.blue_rows) < rules.min_requests:
        return _open(rule, value, limit, f"fewer than {rules.min_requests} predictions")
    return row


def _bake_row(rules: Rollout, baked: timedelta) -> RuleRow:
    row = RuleRow(rule="bake", value=duration_text(baked), limit=f"at least {duration_text(rules.bake)}")
    if baked < rules.bake:
        return _open("bake", row.value, row.limit, f"metrics of {row.value} seen so far")
    return row


def _open(rule: str, value: str, limit: str, why: str) -> RuleRow:
    return RuleRow(rule=rule, value=value, limit=limit, ruling=Ruling.INCONCLUSIVE, why=why)


def _failed(row: RuleRow, why: str) -> RuleRow:
    return row.model_copy(update={"ruling": Ruling.FAIL, "why": why})
