"""What a local router counted, on the app's clock.

The router knows the machine's time; the app's is Azure's where there is an Azure to ask, and the two need not run alike.
Each look leaves a pair of both; between pairs, time is taken to pass evenly.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.domain.probes import percentile
from shared.domain.serving import MetricsQuery, ServingMetrics
from shared.platforms.local_router import Answer

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
    """By deployment. `newest` is the router's last sign of life in the window: it counts whether anybody asks or not.

    Each request counts by its own moment, not by that of the line it stands in: a second's line may have tests at its
    beginning, and at its end a step's first traffic.
    """
    pairs, since, until = read_pairs(folder), query.since.timestamp(), query.until.timestamp()

    def is_within(machine: float) -> bool:
        return since <= to_app(machine, pairs) <= until

    signs, answers = list[float](), dict[str, list[Answer]]()
    for line in _counted(folder):
        if (ended := to_app(line["at"], pairs)) < since:
            continue  # and so did all that it tells of
        if ended <= until:
            signs.append(ended)
        told = line.get("answers", {})  # an earlier version's router wrote none
        for name in set(query.deployments) & set(told):
            answers.setdefault(name, []).extend(answer for answer in told[name] if is_within(answer[0]))
    newest, minutes = max(signs, default=None), len({int(sign // _MINUTE_S) for sign in signs})
    return {name: _of(answers.get(name, []), newest, minutes) for name in query.deployments}


def _of(answers: Sequence[Answer], newest: float | None, minutes: int) -> ServingMetrics:
    kinds = Counter(kind for _, kind, _ in answers)
    latencies = [milliseconds for _, _, milliseconds in answers]
    return ServingMetrics(
        requests=len(answers),
        errors_4xx=kinds["4"],
        errors_5xx=kinds["5"],
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
