"""Microsoft.Insights: what Azure Monitor tells of online endpoints, a minute or two late.

Sources: azure-rest-api-specs monitor 2018-01-01 metrics_API.json and its examples (form of requests, answers and
errors, which are not in ARM's envelope); Azure/azure-sdk-for-net issue 29584 (text for an unknown metric).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from localdev.azuresim.errors import not_found
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.serving import metrics
from localdev.azuresim.serving.metrics import BadQuery, Metric, Window
from localdev.azuresim.serving.tally import MINUTE_S, Served
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
VERSIONS = ("2018-01-01", "2019-07-01", "2021-05-01", "2023-10-01", "2024-02-01")
READ = "Microsoft.Insights/metrics/read"
_INTERVALS = {"PT1M": 1, "PT5M": 5, "PT15M": 15, "PT30M": 30, "PT1H": 60}  # in minutes
_HOUR_MINUTES = 60


def routes(world: World) -> list[Route]:
    workspace = (
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
        "/workspaces/{workspace}"
    )
    path = f"{workspace}/onlineEndpoints/{{endpoint}}/providers/Microsoft.Insights/metrics"
    return [Route("GET", path, READ, Monitor(world).list, VERSIONS)]


class Monitor:
    def __init__(self, world: World) -> None:
        self._world = world

    def list(self, call: Call) -> Reply:
        """Faults: `metrics_missing` tells nothing, `metrics_stale` nothing of the last `seconds`."""
        id_ = call.path.rsplit("/providers/", 1)[0]
        endpoint = self._world.store.get(id_)
        if endpoint is None or endpoint.type.casefold() != ENDPOINTS.casefold():
            raise not_found(id_)
        try:
            return Reply(200, self._answer(call, endpoint))
        except BadQuery as bad:
            return Reply(400, {"code": "BadRequest", "message": str(bad)})

    def _answer(self, call: Call, endpoint: Resource) -> dict[str, Any]:
        window = _window(call.query, call.at)
        _check_aggregation(call.query.get("aggregation", ""))
        known = self._known(call, endpoint, window)
        asked = [_metric(name) for name in _names(call.query.get("metricnames", ""))]
        filter_ = call.query.get("$filter", "")
        top = int(call.query["top"]) if call.query.get("top", "").isdigit() else metrics.SERIES_LIMIT
        value = [
            {
                "id": f"{endpoint.id}/providers/Microsoft.Insights/metrics/{metric.name}",
                "type": "Microsoft.Insights/metrics",
                "name": {"value": metric.name, "localizedValue": metric.title},
                "displayDescription": metric.description,
                "unit": metric.unit,
                "timeseries": metrics.series(
                    known, metric, metrics.parse_filter(filter_, metric), window, top
                ),
                "errorCode": "Success",
            }
            for metric in asked
        ]
        minutes = int((window.until - window.since) // MINUTE_S)
        return {
            "cost": max(0, minutes - 1),
            "timespan": f"{metrics.iso_z(window.since)}/{metrics.iso_z(window.until)}",
            "interval": call.query.get("interval") or "PT1M",
            "value": value,
            "namespace": ENDPOINTS,
            "resourceregion": endpoint.location,
        }

    def _known(self, call: Call, endpoint: Resource, window: Window) -> Sequence[Served]:
        fault = call.fault
        if self._world.serving is None or (fault and fault.kind == "metrics_missing"):
            return []
        stale_s = fault.seconds if fault and fault.kind == "metrics_stale" else 0.0
        newest = call.at - max(metrics.INGESTION_LAG_S, stale_s)
        tally = self._world.serving.tally(endpoint.name)
        return list(tally.between(window.since, min(window.until, newest)))


def _window(query: Any, now: float) -> Window:
    interval = query.get("interval") or "PT1M"
    if interval not in _INTERVALS:
        raise BadQuery(f"Detected invalid time grain input '{interval}', supported: {','.join(_INTERVALS)}")
    text = query.get("timespan", "")
    since, until = _moments(text) if text else (now - _HOUR_MINUTES * MINUTE_S, now)
    if since >= until:
        raise BadQuery(f"The time span '{text}' has no duration.")
    step = _INTERVALS[interval] * MINUTE_S
    return Window(since // step * step, until, step)


def _moments(text: str) -> tuple[float, float]:
    try:
        since, until = (datetime.fromisoformat(part) for part in text.split("/"))
        if since.tzinfo is None or until.tzinfo is None:
            raise ValueError
    except ValueError:
        raise BadQuery(f"The time span '{text}' is not 'startDateTime_ISO/endDateTime_ISO'.") from None
    return since.timestamp(), until.timestamp()


def _check_aggregation(text: str) -> None:
    wrong = [each for each in _names(text) if each.casefold() != "average"]
    if wrong:
        raise BadQuery(f"Aggregation type {','.join(wrong)} is not supported, supported ones are: Average")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _metric(name: str) -> Metric:
    if found := metrics.METRICS.get(name.casefold()):
        return found
    provider, _, type_ = ENDPOINTS.partition("/")
    raise BadQuery(
        f"Failed to find metric configuration for provider: {provider}, resource Type: {type_}, metric: {name}, "
        f"Valid metrics: {','.join(each.name for each in metrics.METRICS.values())}"
    )
