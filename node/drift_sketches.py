"""A column's distribution in reference and target, from one pass to choose cells and one to count, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import numpy
import pyarrow as pa
import pyarrow.compute as pc

from node.drift_measures import in_groups, jensen_shannon, kolmogorov_smirnov, psi

Array = Any
REFERENCE, TARGET = 0, 1
_SAMPLE, _EDGES = 65_536, 4_096
_TRACKED, _SHOWN = 10_000, 50
_OTHER = "\0other"


@dataclass(frozen=True)
class Measured:
    psi: float
    ks: float | None
    js: float


class Sketch(Protocol):
    def sample(self, column: pa.Array) -> None:
        """See a batch of the reference before anything is counted."""

    def count(self, side: int, column: pa.Array) -> None: ...

    def measure(self) -> Measured: ...


def sketch_for(kind: pa.DataType) -> Sketch | None:
    """None for what is neither number, time nor text."""
    if _is_number(kind):
        return Numbers()
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    return Texts() if textual or pa.types.is_boolean(kind) else None


class Numbers:
    """Cells are the values of a sample of the reference, at most 4,096 of its quantiles, and the gaps between them."""

    def __init__(self) -> None:
        self._chance = numpy.random.default_rng(0)
        self._keys: Array = numpy.empty(0)
        self._values: Array = numpy.empty(0)
        self._edges: Array = None
        self._cells: Array = None
        self._missing: Array = None

    def sample(self, column: pa.Array) -> None:
        """Of all values seen, those with the smallest keys: every value has the same chance."""
        values, _ = _numbers(column)
        self._keys = numpy.concatenate([self._keys, self._chance.random(len(values))])
        self._values = numpy.concatenate([self._values, values])
        if len(self._keys) > _SAMPLE:
            kept = numpy.argpartition(self._keys, _SAMPLE)[:_SAMPLE]
            self._keys, self._values = self._keys[kept], self._values[kept]

    def count(self, side: int, column: pa.Array) -> None:
        if self._edges is None:
            self._choose_edges()
        values, missing = _numbers(column)
        # 2 i + 1: equal to edge i; 2 i: between edge i - 1 and edge i
        cells = numpy.searchsorted(self._edges, values, "left") + numpy.searchsorted(
            self._edges, values, "right"
        )
        self._cells[side] += numpy.bincount(cells, minlength=self._cells.shape[1])
        self._missing[side] += missing

    def measure(self) -> Measured:
        reference, target = self._cells
        both = bool(reference.sum() and target.sum())
        grouped = in_groups(reference, target)
        with_missing = [numpy.append(one, gone) for one, gone in zip(grouped, self._missing, strict=True)]
        return Measured(
            psi=psi(*with_missing),
            ks=kolmogorov_smirnov(reference, target) if both else None,
            js=jensen_shannon(*with_missing),
        )

    def _choose_edges(self) -> None:
        edges = numpy.unique(self._values)
        if len(edges) > _EDGES:
            ranks = numpy.linspace(0, 1, _EDGES)
            edges = numpy.unique(numpy.quantile(self._values, ranks, method="nearest"))
        self._edges = edges
        self._cells = numpy.zeros((2, 2 * len(edges) + 1))
        self._missing = numpy.zeros(2)
        self._keys = self._values = numpy.empty(0)


class Texts:
    """Cells are the 50 most frequent values of the reference, and one for all others."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._places: dict[str, int] | None = None
        self._cells: Array = None

    def sample(self, column: pa.Array) -> None:
        for value, count in _texts(column).items():
            if value in self._seen or len(self._seen) < _TRACKED:
                self._seen[value] += count

    def count(self, side: int, column: pa.Array) -> None:
        if self._places is None:
            shown = sorted(self._seen, key=lambda value: (-self._seen[value], value))[:_SHOWN]
            self._places = {value: place for place, value in enumerate([*shown, _OTHER])}
            self._cells = numpy.zeros((2, len(self._places)))
        for value, count in _texts(column).items():
            self._cells[side, self._places.get(value, self._places[_OTHER])] += count

    def measure(self) -> Measured:
        used = self._cells[:, self._cells.sum(axis=0) > 0]
        return Measured(psi=psi(*used), ks=None, js=jensen_shannon(*used))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
    )


def _numbers(column: pa.Array) -> tuple[Array, int]:
    """(the finite values, how many rows have none)."""
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_temporal(column.type):
        column = column.cast(pa.int64())
    values = column.cast(pa.float64()).drop_null().to_numpy(zero_copy_only=False)
    finite = values[numpy.isfinite(values)]
    return finite, len(column) - len(finite)


def _texts(column: pa.Array) -> dict[str, int]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    counted = pc.value_counts(column.cast(pa.string()).fill_null("\0missing"))
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}
