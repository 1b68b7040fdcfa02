"""What a local router counted, on the app's clock.

The router knows the machine's time; the app's is Azure's where there is an Azure to ask, and the two need not run alike.
Each look leaves a pair of both; between pairs, time is taken to pass evenly.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.domain.probes import percentile
from shared.domain.serving import MetricsQuery, ServingMetrics

_MOST_PAIRS = 1000
_MINUTE_S = 60


@dataclass(frozen=True)
class Pair:
    """One moment on both clocks, in seconds since 1970."""

    machine: float
    app: float


def note_time(folder: Path, machine: float, app: datetime) -> None:
    with (folder / "clocks.jsonl").open("a") as file:
        file.write(json.dumps([machine, app.timestamp()]) + "\n")


def read_pairs(folder: Path) -> list[Pair]:
    """The newest pairs, in the machine's order."""
    lines = _lines(folder / "clocks.jsonl")[-_MOST_PAIRS:]
    return sorted((Pair(machine, app) for machine, app in lines), key=lambda pair: pair.machine)


def to_app(machine: float, pairs: Sequence[Pair]) -> float:
    """A moment of the machine's on the app's clock. Outside the pairs both clocks run alike."""
    after = bisect_right(pairs, machine, key=lambda pair: pair.machine)
    if not pairs:
        return machine
    if after == 0:
        return pairs[0].app + machine - pairs[0].machine
    before = pairs[after - 1]
    if after == len(pairs) or pairs[after].machine == before.machine:
        return before.app + machine - before.machine
    share = (machine - before.machine) / (pairs[after].machine - before.machine)
    return before.app + share * (pairs[after].app - before.app)


def read_metrics(folder: Path, query: MetricsQuery) -> dict[str, ServingMetrics]:
    """By deployment. `newest` is the router's last sign of life in the window: it counts whether anybody asks or not."""
    pairs = read_pairs(folder)
    counted = [
        (moment, line["counts"])
        for line in _counted(folder)
        if query.since.timestamp() <= (moment := to_app(line["at"], pairs)) <= query.until.timestamp()
    ]
    newest = max((moment for moment, _ in counted), default=None)
    minutes = len({int(moment // _MINUTE_S) for moment, _ in counted})
    return {
        name: _of([counts[name] for _, counts in counted if name in counts], newest, minutes)
        for name in query.deployments
    }


def _of(counts: Sequence[dict[str, Any]], newest: float | None, minutes: int) -> ServingMetrics:
    latencies = [each for count in counts for each in count["ms"]]
    return ServingMetrics(
        requests=len(latencies),
        errors_4xx=sum(count.get("4", 0) for count in counts),
        errors_5xx=sum(count.get("5", 0) for count in counts),
        p50_ms=percentile(latencies, 0.5),
        p95_ms=percentile(latencies, 0.95),
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
        minutes=minutes,
    )


def _counted(folder: Path) -> Iterator[dict[str, Any]]:
    for name in ("metrics.old.jsonl", "metrics.jsonl"):
        yield from _lines(folder / name)


def _lines(path: Path) -> list[Any]:
    """The whole lines of a file that somebody may be writing."""
    try:
        *whole, _ = path.read_text().split("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in whole]
