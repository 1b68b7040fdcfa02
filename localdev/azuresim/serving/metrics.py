"""The platform metrics of online endpoints, computed from what was answered: one value a minute and series.

Names, units and dimensions: learn azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-
onlineendpoints-metrics. The grammar of filters: azure-rest-api-specs monitor 2018-01-01 metrics_API.json.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from localdev.azuresim.serving.tally import MINUTE_S, Served

INGESTION_LAG_S = 90.0  # from a request's end until metrics know of it
SERIES_LIMIT = 10  # unless `top` says otherwise
_CONDITION = re.compile(r"\s*(\w+)\s+(eq|ne)\s+'([^']*)'\s*", re.IGNORECASE)
_DIMENSIONS: dict[str, Callable[[Served], str]] = {
    "deployment": lambda served: served.deployment,
    "statuscode": lambda served: str(served.status),
    "statuscodeclass": lambda served: served.status_class,
    "modelstatuscode": lambda served: str(served.model_status),
}


class BadQuery(ValueError):
    """Azure Monitor's 400."""


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    unit: str
    description: str
    dimensions: tuple[str, ...]
    value: Callable[[Sequence[Served]], float]  # of one minute, which is never empty


@dataclass(frozen=True)
class Condition:
    dimension: str
    values: tuple[str, ...]  # in lower case; `*` is any
    is_not: bool = False

    def holds(self, served: Served) -> bool:
        found = _DIMENSIONS[self.dimension](served).casefold()
        return "*" in self.values or (found in self.values) != self.is_not


@dataclass(frozen=True)
class Window:
    """[since, until) in virtual seconds, whole minutes; a point every `interval_s`."""

    since: float
    until: float
    interval_s: float


def percentile(share: float) -> Callable[[Sequence[Served]], float]:
    """The latency in milliseconds that `share` of the requests did not exceed."""

    def of(minute: Sequence[Served]) -> float:
        ordered = sorted(each.wall_ms for each in minute)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return of


def _latency(name: str, value: Callable[[Sequence[Served]], float]) -> Metric:
    title = f"Request Latency {name}".strip()
    described = f"The average {name} request latency aggregated by all request latency values collected"
    suffix = f"_{name}" if name else ""
    return Metric(f"RequestLatency{suffix}", title, "MilliSeconds", described, ("deployment",), value)


METRICS = {
    metric.name.casefold(): metric
    for metric in (
        Metric(
            "RequestsPerMinute",
            "Requests Per Minute",
            "Count",
            "The number of requests sent to online endpoint within a minute",
            ("deployment", "statuscode", "statuscodeclass", "modelstatuscode"),
            lambda minute: float(len(minute)),
        ),
        _latency("", lambda minute: fmean(each.wall_ms for each in minute)),
        *(_latency(f"P{percent}", percentile(percent / 100)) for percent in (50, 90, 95, 99)),
    )
}


def parse_filter(text: str, metric: Metric) -> tuple[Condition, ...]:
    """parse_filter("deployment eq '*' and statusCodeClass eq '4xx' or statusCodeClass eq '5xx'", ..) -> 2 conditions."""
    if not text.strip():
        return ()
    return tuple(_condition(clause, metric) for clause in re.split(r"\s+and\s+", text, flags=re.IGNORECASE))


def _condition(clause: str, metric: Metric) -> Condition:
    parts = [_CONDITION.fullmatch(part) for part in re.split(r"\s+or\s+", clause, flags=re.IGNORECASE)]
    found = [part for part in parts if part]
    kinds = {(part[1].casefold(), part[2].casefold()) for part in found}
    if len(found) != len(parts) or len(kinds) != 1:
        raise BadQuery(f"Filter is invalid: '{clause.strip()}'.")
    ((dimension, operator),) = kinds
    if dimension not in metric.dimensions:
        raise BadQuery(
            f"Metric: {metric.name} does not support requested dimension combination: {dimension}, supported ones are: "
            f"{','.join(metric.dimensions)}"
        )
    return Condition(dimension, tuple(part[3].casefold() for part in found), operator == "ne")


def series(
    records: Iterable[Served], metric: Metric, conditions: Sequence[Condition], window: Window, top: int
) -> list[dict[str, Any]]:
    """One series for each combination of the filter's dimensions that has a request; without a filter one of all.

    A minute without a request has a time stamp and no value: nothing was emitted, which is not the number 0.
    """
    names = sorted({condition.dimension for condition in conditions})
    groups: dict[tuple[str, ...], list[Served]] = {} if names else {(): []}
    for served in records:
        if served.deployment and all(condition.holds(served) for condition in conditions):
            key = tuple(_DIMENSIONS[name](served) for name in names)
            groups.setdefault(key, []).append(served)
    return [
        {
            "metadatavalues": [
                {"name": {"value": name, "localizedValue": name}, "value": value}
                for name, value in zip(names, key, strict=True)
            ],
            "data": _points(groups[key], metric, window),
        }
        for key in sorted(groups)[: top if names else None]
    ]


def _points(records: Sequence[Served], metric: Metric, window: Window) -> list[dict[str, Any]]:
    minutes: dict[int, list[Served]] = {}
    for served in records:
        minutes.setdefault(int(served.at // MINUTE_S), []).append(served)
    points = []
    start = window.since
    while start < window.until:
        first, last = int(start // MINUTE_S), int((start + window.interval_s) // MINUTE_S)
        values = [metric.value(minutes[minute]) for minute in range(first, last) if minute in minutes]
        point: dict[str, Any] = {"timeStamp": iso_z(start)}
        if values:
            point["average"] = fmean(values)
        points.append(point)
        start += window.interval_s
    return points


def iso_z(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
