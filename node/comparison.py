"""Champion and challenger side by side: `python -m node.comparison FOLDER OUT`, a sealed child of the agent.

FOLDER is what test_set.py left, with predictions-<role>.f64 and comparison.json: {"models": [{"role", ...}], "errors":
{role: reason}, "metrics", "confidence", "bootstrap", "seed"}. Writes OUT/evaluation.json: the same bytes for the same
rows and models on any machine.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from node.bootstrap_ci import Bootstrap, Interval
from node.errors import ItemFault
from node.evaluation_files import (
    COMPARISON,
    EVALUATION,
    LABELS,
    PREPARED,
    predictions_of,
    slice_codes,
)
from node.metrics import metric, resampled

_DIGITS = 9  # sums may differ in the last bits from one processor to another; nobody decides by them
_MAX_SLICES = 100
"""Of each column, the values with most rows: what a person can read, and what a bootstrap has time for."""

Array = Any


@dataclass(frozen=True)
class _Case:
    """`predicted` by role; a role without an entry has an error."""

    specification: dict[str, Any]
    prepared: dict[str, Any]
    labels: Array
    predicted: dict[str, Array]

    @property
    def bootstrap(self) -> Bootstrap:
        given = self.specification
        return Bootstrap(given["bootstrap"], given["confidence"], given["seed"])

    @property
    def is_paired(self) -> bool:
        return self.predicted.keys() == {"champion", "challenger"}


def main(folder: Path, out: Path) -> int:
    document = evaluation_of(folder)
    (out / EVALUATION).write_text(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return 0


def evaluation_of(folder: Path) -> dict[str, Any]:
    """What is found in one case, as evaluation.json has it."""
    specification = json.loads((folder / COMPARISON).read_bytes())
    prepared = json.loads((folder / PREPARED).read_bytes())
    labels = numpy.fromfile(folder / LABELS, "<f8")
    roles = [
        model["role"] for model in specification["models"] if model["role"] not in specification["errors"]
    ]
    predicted = {role: numpy.fromfile(folder / predictions_of(role), "<f8") for role in roles}
    return _evaluation(_Case(specification, prepared, labels, predicted), folder)


def _evaluation(case: _Case, folder: Path) -> dict[str, Any]:
    models, values = {}, dict[str, dict[str, float]]()
    for model in case.specification["models"]:
        found, error = _metrics(case, model["role"])
        values[model["role"]] = found
        models[model["role"]] = {**model, "metrics": found, "error": error}
    return {
        "schema": "muster.evaluation/1",
        "rows": case.prepared["rows"],
        "label_missing_rows": case.prepared["label_missing_rows"],
        "models": models,
        "difference": _differences(case, values),
        "slices": _slices(case, folder) if case.predicted else [],
        "interval": {
            "method": "paired bootstrap over rows, percentiles",
            "confidence": case.bootstrap.confidence,
            "resamples": case.bootstrap.resamples,
            "seed": case.bootstrap.seed,
        },
    }


def _metrics(case: _Case, role: str) -> tuple[dict[str, float], str | None]:
    """All metrics that are defined, and the first reason why one is not."""
    if role not in case.predicted:
        return {}, case.specification["errors"][role]
    found, error = dict[str, float](), None
    for name in case.specification["metrics"]:
        try:
            found[name] = _round(metric(name, case.labels, case.predicted[role]))
        except ItemFault as fault:
            error = error or str(fault)
    return found, error


def _differences(case: _Case, values: dict[str, dict[str, float]]) -> dict[str, Any]:
    """challenger - champion, of each metric that both have."""
    if not case.is_paired:
        return {}
    both = [name for name in case.specification["metrics"] if all(name in found for found in values.values())]
    every = numpy.arange(len(case.labels))
    intervals = _intervals(case, both, every, ()) if both else {}
    return {
        name: _difference(values["champion"][name], values["challenger"][name], intervals[name])
        for name in both
    }


def _intervals(
    case: _Case, names: list[str], rows: Array, stream: tuple[int, ...]
) -> dict[str, Interval | None]:
    labels, first, second = (
        case.labels[rows],
        case.predicted["champion"][rows],
        case.predicted["challenger"][rows],
    )
    pairs = {name: (resampled(name, labels, first), resampled(name, labels, second)) for name in names}
    return case.bootstrap.intervals(len(rows), pairs, stream)


def _slices(case: _Case, folder: Path) -> list[dict[str, Any]]:
    """The first metric on the rows of each value; null where it is not defined there."""
    told = []
    for place, column in enumerate(case.prepared["slices"]):
        codes = numpy.fromfile(folder / slice_codes(place), "<i4")
        counts = numpy.bincount(codes, minlength=len(column["values"]))
        largest = sorted(range(len(counts)), key=lambda code: (-counts[code], code))[:_MAX_SLICES]
        for code in sorted(largest):
            rows = numpy.flatnonzero(codes == code)
            head = {"column": column["column"], "value": column["values"][code], "rows": len(rows)}
            told.append({**head, **_slice(case, rows, (place, code))})
    return told


def _slice(case: _Case, rows: Array, stream: tuple[int, int]) -> dict[str, Any]:
    name = case.specification["metrics"][0]
    found: dict[str, Any] = {"champion": None, "challenger": None, "difference": None}
    for role, predicted in case.predicted.items():
        try:
            found[role] = _round(metric(name, case.labels[rows], predicted[rows]))
        except ItemFault:
            found[role] = None
    if case.is_paired and found["champion"] is not None and found["challenger"] is not None:
        interval = _intervals(case, [name], rows, stream)[name]
        found["difference"] = _difference(found["champion"], found["challenger"], interval)
    return found


def _difference(champion: float, challenger: float, interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {
        "value": _round(challenger - champion),
        "low": _round(interval.low),
        "high": _round(interval.high),
    }


def _round(value: float) -> float:
    return round(value, _DIGITS) + 0.0  # and no -0.0


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
