"""The rows that models are judged on: `python -m node.test_set FOLDER`, a sealed child of the agent.

FOLDER/test_set.json is {"data", "blobs", "label", "slices", "inputs": {role: [{"name", "type"}]}}. Rows without a label
are dropped, once for all models. Writes into FOLDER: labels.f64; slice-<n>.i32, codes into the values that prepared.json
names; features/<role>/<n>.parquet, which hold the model's inputs and never the label; and prepared.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from node.errors import ItemFault
from node.evaluation_files import FEATURES, LABELS, PREPARED, TEST_SET, slice_codes
from node.inputs import read_table
from node.models import Column
from node.tables import columns_of


@dataclass
class _Made:
    """`faults`: why a model cannot be judged, by role."""

    labels: list[Any] = field(default_factory=list)
    slices: list[list[Any]] = field(default_factory=list)
    missing: int = 0
    faults: dict[str, str] = field(default_factory=dict)


def main(folder: Path) -> int:
    specification = json.loads((folder / TEST_SET).read_bytes())
    inputs = {
        role: [Column(one["name"], one["type"]) for one in columns]
        for role, columns in specification["inputs"].items()
    }
    for role in inputs:
        (folder / FEATURES / role).mkdir(parents=True)
    made = _Made(slices=[[] for _ in specification["slices"]])
    fault = None
    try:
        for number, blob in enumerate(specification["blobs"]):
            path = Path(specification["data"]) / blob
            kept = _labelled(path, specification["label"], specification["slices"], made)
            _features(path, blob, inputs, kept, folder / FEATURES, f"{number:06d}.parquet", made)
    except ItemFault as error:
        fault = str(error)
    _write(folder, specification["slices"], made, fault)
    return 0


def _labelled(path: Path, label: str, slices: list[str], made: _Made) -> Any:
    """Which of the file's rows have a label; label and slices of those are noted."""
    table = columns_of(path, [label, *slices])
    numbers = _numbers(table[label], label)
    kept = pc.and_(pc.is_valid(numbers), pc.invert(pc.is_nan(pc.fill_null(numbers, numpy.nan))))
    labels = numbers.filter(kept).to_numpy()
    if not numpy.isfinite(labels).all():
        raise ItemFault(f"{path.name}: a label is infinite")
    made.labels.append(labels)
    made.missing += table.num_rows - len(labels)
    for place, column in enumerate(slices):
        texts = pc.fill_null(pc.cast(table[column], pa.string()), "")
        made.slices[place].append(texts.filter(kept).to_numpy(zero_copy_only=False).astype(object))
    return kept


def _numbers(column: Any, label: str) -> Any:
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise ItemFault(f"the label {label} is {kind}, a number or boolean is expected")
    return column.cast(pa.float64())


def _features(
    path: Path, blob: str, inputs: dict[str, list[Column]], kept: Any, folder: Path, name: str, made: _Made
) -> None:
    if not len(kept):
        return
    data = path.read_bytes()
    for role, columns in inputs.items():
        if role in made.faults:
            continue
        try:
            table = read_table(blob, data, columns, [])
        except ItemFault as fault:
            made.faults[role] = f"{blob}: {fault}"
            continue
        pa.parquet.write_table(table.filter(kept), folder / role / name)


def _write(folder: Path, slices: list[str], made: _Made, fault: str | None) -> None:
    labels = numpy.concatenate(made.labels) if made.labels and not fault else numpy.empty(0)
    labels.astype("<f8").tofile(folder / LABELS)
    told = []
    for place, column in enumerate(slices):
        texts = numpy.concatenate(made.slices[place]) if len(labels) else numpy.empty(0, dtype=object)
        values, codes = numpy.unique(texts, return_inverse=True)
        codes.astype("<i4").tofile(folder / slice_codes(place))
        told.append({"column": column, "values": [str(value) for value in values]})
    result = {
        "rows": len(labels),
        "label_missing_rows": made.missing,
        "slices": told,
        "faults": made.faults,
        "fault": fault,
    }
    (folder / PREPARED).write_text(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
