"""Measures drift, feature by feature: `python -m node.drift_child GIVEN RESULT`, a sealed child of the agent.

GIVEN is {"reference", "target", "features"}: two folders, and names or null for every column that both have and that
can be measured. Files are read a batch at a time, those of the reference twice. Writes RESULT.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from node.drift_sketches import REFERENCE, TARGET, Sketch, sketch_for
from node.errors import ItemFault
from node.tables import batches_of

_BATCH_ROWS = 64 * 1024
_DIGITS = 9


def main(given: Path, result: Path) -> int:
    specification = json.loads(given.read_bytes())
    sides = [Path(specification[name]) for name in ("reference", "target")]
    try:
        document = _drift(sides, specification["features"])
    except ItemFault as fault:
        sys.stderr.write(f"\n{fault}\n")
        return 3
    result.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    return 0


def _drift(sides: Sequence[Path], wanted: list[str] | None) -> dict[str, Any]:
    sketches, faults = _sketches(sides, wanted)
    names = list(sketches)
    for batch in _batches(sides[REFERENCE], names):
        _each(sketches, batch, faults, lambda sketch, column: sketch.sample(column))
    rows = [0, 0]
    for side in (REFERENCE, TARGET):
        for batch in _batches(sides[side], names):
            rows[side] += batch.num_rows
            _each(sketches, batch, faults, lambda sketch, column, side=side: sketch.count(side, column))
    counted = {"rows_reference": rows[REFERENCE], "rows_target": rows[TARGET]}
    if not all(rows):
        raise ItemFault(f"{rows[REFERENCE]} rows of reference, {rows[TARGET]} of target: nothing to compare")
    measured = [_entry(name, sketches[name], faults) | counted for name in names if name in sketches]
    told = [one for one in measured if one["psi"] is not None]
    worst = max(told, key=lambda one: (one["psi"], one["name"]), default=None)
    return {"schema": "muster.drift/1", "features": measured, "worst": worst and _without_rows(worst)}


def _sketches(sides: Sequence[Path], wanted: list[str] | None) -> tuple[dict[str, Sketch], dict[str, str]]:
    """For each feature, in the order of the reference's columns, and why some cannot be measured."""
    reference, target = (_kinds(folder) for folder in sides)
    sketches, faults = dict[str, Sketch](), dict[str, str]()
    for name in wanted if wanted is not None else [name for name in reference if name in target]:
        if name not in reference or name not in target:
            raise ItemFault(f"no column {name} in the {'target' if name in reference else 'reference'}")
        sketch = sketch_for(reference[name])
        if sketch is not None:
            sketches[name] = sketch
        elif wanted is not None:
            raise ItemFault(f"{name} is {reference[name]}, which cannot be measured")
    return sketches, faults


def _kinds(folder: Path) -> dict[str, pa.DataType]:
    """Each column's type in the first file that knows it."""
    kinds = dict[str, pa.DataType]()
    for path in _files(folder):
        for batch in batches_of(path, _BATCH_ROWS):
            for column in batch.schema:
                if column.name not in kinds or pa.types.is_null(kinds[column.name]):
                    kinds[column.name] = column.type
            break
    return kinds


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _batches(folder: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    for path in _files(folder):
        yield from batches_of(path, _BATCH_ROWS, names)


def _each(sketches: dict[str, Sketch], batch: pa.RecordBatch, faults: dict[str, str], see: Any) -> None:
    """A column that a file lacks is missing in each of its rows; one of another kind ends its feature."""
    for name, sketch in sketches.items():
        if name in faults:
            continue
        there = name in batch.schema.names
        column = batch.column(name) if there else pa.nulls(batch.num_rows)
        try:
            see(sketch, column)
        except (pa.ArrowException, ValueError) as error:
            faults[name] = f"the files' types differ: {error}"


def _entry(name: str, sketch: Sketch, faults: dict[str, str]) -> dict[str, Any]:
    if name in faults:
        return {"name": name, "psi": None, "ks": None, "js": None, "error": faults[name]}
    values = asdict(sketch.measure())
    return {
        "name": name,
        **{key: None if value is None else round(value, _DIGITS) for key, value in values.items()},
    }


def _without_rows(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if not name.startswith("rows_")}


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
