"""What Azure Monitor counted at an online endpoint, by deployment.

Metrics and dimensions: azure-monitor/reference/supported-metrics, microsoft-machinelearningservices-workspaces-
onlineendpoints-metrics. One point a minute, whole some one or two minutes after it; a minute nobody has counted has no
value, which is not the same as zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from shared.azure import arm
from shared.domain.serving import MetricsQuery, ServingMetrics

METRICS_API = "2018-01-01"

_REQUESTS = "RequestsPerMinute"
_P50, _P95 = "RequestLatency_P50", "RequestLatency_P95"
_MINUTE = timedelta(minutes=1)
MOST_SERIES = 100  # told of one metric; Azure tells ten unless it is asked for more
MODEL_ERROR = "424"  # how a managed endpoint answers for a model that did not answer 200: see modelStatusCode
MODEL_TOO_SLOW = "408"  # how it answers for a model that took longer than its deployment's requestTimeout


@dataclass(frozen=True)
class Point:
    """One minute of one series. `labels` are its dimensions, with names in lower case."""

    metric: str
    labels: Mapping[str, str]
    minute: datetime
    value: float


# The dimensions that tell good answers from bad. azureml-fe hands a model's own refusals on; a managed endpoint makes 424
# of all that a model says but 200, be it the client's fault or the model's.
BY_CLASS = ("statusCodeClass",)
BY_MODEL_STATUS = ("statusCode", "modelStatusCode")


def read(endpoint_id: str, query: MetricsQuery, *, by: Sequence[str] = BY_CLASS) -> dict[str, ServingMetrics]:
    """Two requests: who asked and how it went, told apart `by` some dimensions, then how long it took."""
    requests = _ask(endpoint_id, query, (_REQUESTS,), ("deployment", *by))
    latencies = _ask(endpoint_id, query, (_P50, _P95), ("deployment",))
    return summed(query, tuple(points_of(requests, query.since)), tuple(points_of(latencies, query.since)))


def points_of(answer: Mapping[str, Any], since: datetime) -> Iterator[Point]:
    """Every minute that has a value and began at `since` or later: an earlier one is of the time before."""
    for metric in answer.get("value") or ():
        name = str(metric["name"]["value"])
        for series in metric.get("timeseries") or ():
            labels = {
                str(each["name"]["value"]).lower(): str(each["value"])
                for each in series.get("metadatavalues") or ()
            }
            for point in series.get("data") or ():
                minute = datetime.fromisoformat(str(point["timeStamp"])).astimezone(UTC)
                if point.get("average") is not None and minute >= since:
                    yield Point(name, labels, minute, float(point["average"]))


def summed(
    query: MetricsQuery, requests: Sequence[Point], latencies: Sequence[Point]
) -> dict[str, ServingMetrics]:
    """Every deployment that was asked for; one that nobody counted has no `newest`, which is the end of a minute.

    A percentile of the window is its minutes' percentiles, each weighed by the requests of its minute.
    """
    return {
        name: _of(
            [point for point in requests if point.labels.get("deployment") == name],
            [point for point in latencies if point.labels.get("deployment") == name],
        )
        for name in query.deployments
    }


def _of(requests: Sequence[Point], latencies: Sequence[Point]) -> ServingMetrics:
    per_minute: dict[datetime, float] = {}
    for point in requests:
        per_minute[point.minute] = per_minute.get(point.minute, 0.0) + point.value
    return ServingMetrics(
        requests=sum(per_minute.values()),
        errors_4xx=sum(point.value for point in requests if _kind(point) == "4"),
        errors_5xx=sum(point.value for point in requests if _kind(point) == "5"),
        p50_ms=_weighed([point for point in latencies if point.metric == _P50], per_minute),
        p95_ms=_weighed([point for point in latencies if point.metric == _P95], per_minute),
        newest=max(per_minute) + _MINUTE if per_minute else None,
        minutes=len(per_minute),
    )


def _kind(point: Point) -> str:
    """The first digit of the status. Behind a 424 it is the model's own, and where none is told, the model's failure."""
    status = point.labels.get("statuscodeclass") or point.labels.get("statuscode") or ""
    if status == MODEL_TOO_SLOW:
        return "5"
    if status != MODEL_ERROR:
        return status[:1]
    return "4" if point.labels.get("modelstatuscode", "").startswith("4") else "5"


def _weighed(points: Sequence[Point], weights: Mapping[datetime, float]) -> float | None:
    weight = sum(weights.get(point.minute, 0.0) for point in points)
    if not weight:
        return None
    return sum(point.value * weights.get(point.minute, 0.0) for point in points) / weight


def _ask(
    endpoint_id: str, query: MetricsQuery, metrics: Sequence[str], dimensions: Sequence[str]
) -> Mapping[str, Any]:
    parameters = {
        "api-version": METRICS_API,
        "metricnames": ",".join(metrics),
        "timespan": f"{_iso(query.since)}/{_iso(query.until)}",
        "interval": "PT1M",
        "aggregation": "Average",
        "$filter": " and ".join(f"{dimension} eq '*'" for dimension in dimensions),
        "top": str(MOST_SERIES),
    }
    path = f"{endpoint_id}/providers/Microsoft.Insights/metrics?{urlencode(parameters, quote_via=quote, safe='$')}"
    target = f"read {metrics[0]} of endpoint {query.endpoint}"
    answer: Mapping[str, Any] = arm.request("GET", path, api_version=METRICS_API, target=target).body
    return answer


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
