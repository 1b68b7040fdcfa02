"""Azure Monitor's answers as a rollout's figures: what nobody counted is not zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.azure.endpoint_metrics import points_of, summed
from shared.domain.serving import MetricsQuery, ServingMetrics

SINCE = datetime(2026, 3, 1, 2, 0, 30, tzinfo=UTC)
QUERY = MetricsQuery(
    platform="aks",
    endpoint="live",
    deployments=("blue", "green"),
    since=SINCE,
    until=SINCE + timedelta(minutes=10),
)


def series(deployment: str, values: dict[int, float | None], **labels: str) -> dict[str, Any]:
    """Minutes after 02:00 and their values; None is a minute that has none."""
    told = {"deployment": deployment, **labels}
    return {
        "metadatavalues": [{"name": {"value": name}, "value": value} for name, value in told.items()],
        "data": [
            {"timeStamp": f"2026-03-01T02:{minute:02}:00Z"} | ({} if value is None else {"average": value})
            for minute, value in values.items()
        ],
    }


def answer(metric: str, *found: dict[str, Any]) -> dict[str, Any]:
    return {"value": [{"name": {"value": metric}, "timeseries": list(found)}]}


def read(requests: dict[str, Any], *latencies: dict[str, Any]) -> dict[str, ServingMetrics]:
    waits = tuple(point for each in latencies for point in points_of(each, SINCE))
    return summed(QUERY, tuple(points_of(requests, SINCE)), waits)


def test_minutes_are_added_up_and_their_percentiles_weighed_by_requests() -> None:
    requests = answer(
        "RequestsPerMinute",
        series("blue", {1: 90, 2: 10}, statusCodeClass="2xx"),
        series("blue", {2: 5}, statusCodeClass="5xx"),
        series("blue", {1: 2}, statusCodeClass="4xx"),
        series("green", {1: 8}, statusCodeClass="2xx"),
    )
    blue = read(
        requests,
        answer("RequestLatency_P50", series("blue", {1: 10, 2: 10})),
        answer("RequestLatency_P95", series("blue", {1: 100, 2: 300})),
    )["blue"]

    assert (blue.requests, blue.errors_4xx, blue.errors_5xx, blue.minutes) == (107, 2, 5, 2)
    assert blue.p50_ms == 10
    assert blue.p95_ms is not None and round(blue.p95_ms, 1) == round((92 * 100 + 15 * 300) / 107, 1)
    assert blue.newest == datetime(2026, 3, 1, 2, 3, tzinfo=UTC), "the end of the newest minute"


def test_what_was_before_the_window_is_not_counted() -> None:
    requests = answer("RequestsPerMinute", series("green", {0: 1000, 1: 4}, statusCodeClass="2xx"))

    assert read(requests)["green"].requests == 4


def test_a_deployment_that_nobody_counted_has_no_newest_and_no_latency() -> None:
    requests = answer(
        "RequestsPerMinute",
        series("blue", {1: 4}, statusCodeClass="2xx"),
        series("green", {1: None, 2: None}, statusCodeClass="2xx"),
    )
    found = read(requests, answer("RequestLatency_P95", series("green", {1: 40})))

    assert found["green"] == ServingMetrics()
    assert found["blue"].newest is not None and found["blue"].p95_ms is None


def test_a_counted_zero_is_a_zero_and_known() -> None:
    requests = answer("RequestsPerMinute", series("green", {1: 0, 2: 0}, statusCodeClass="2xx"))

    green = read(requests)["green"]
    assert (green.requests, green.minutes) == (0, 2) and green.newest is not None


def test_behind_a_managed_endpoint_s_424_counts_what_the_model_said() -> None:
    requests = answer(
        "RequestsPerMinute",
        series("green", {1: 80}, statusCode="200", modelStatusCode="200"),
        series("green", {1: 9}, statusCode="424", modelStatusCode="400"),
        series("green", {1: 2}, statusCode="424", modelStatusCode="413"),
        series("green", {1: 4}, statusCode="424", modelStatusCode="500"),
        series("green", {1: 1}, statusCode="424", modelStatusCode="0"),
        series("green", {1: 1}, statusCode="424"),
        series("green", {1: 2}, statusCode="408", modelStatusCode="0"),
        series("green", {1: 1}, statusCode="429", modelStatusCode="0"),
    )
    green = read(requests)["green"]

    assert (green.requests, green.errors_4xx, green.errors_5xx) == (100, 12, 8)
