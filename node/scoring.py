"""The built-in scorer: one input in, one table out: the model's keys, where each row came from, and the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy
import pyarrow as pa

from node.errors import ItemFault, reason_of
from node.inputs import arrow_type, read_table
from node.models import SOURCE_COLUMN, Model, ModelCard


@dataclass(frozen=True)
class Input:
    """One downloaded input. `index` is its place in the shard."""

    index: int
    blob: str
    data: bytes


@dataclass(frozen=True)
class Scored:
    """The table's rows are those of the first input, `rows[0]` of them, then those of the second, and so on.

    `unpredicted`: of each input's rows those whose unit has no model; empty where there are no units.
    """

    table: pa.Table
    rows: tuple[int, ...]
    unpredicted: tuple[int, ...] = ()


class Scorer(Protocol):
    batch_size: int

    def score(self, batch: Sequence[Input]) -> Scored:
        """Raises ItemFault with the reason if the batch cannot be scored."""


class BuiltInScorer:
    """Inputs are predicted one at a time, so a prediction does not depend on what else was in the shard."""

    batch_size = 1

    def __init__(self, model: Model, card: ModelCard) -> None:
        self._model, self._card = model, card

    def score(self, batch: Sequence[Input]) -> Scored:
        (one,) = batch
        table = read_table(one.blob, one.data, self._card.inputs, self._card.keys)
        frame = table.select([column.name for column in self._card.inputs]).to_pandas(use_threads=False)
        try:
            predicted = self._model.predict(frame)
        except Exception as error:  # a model may raise anything at data it was not made for
            raise ItemFault(f"the model raised {reason_of(error)}") from error
        result = table.select(list(self._card.keys))
        result = result.append_column(SOURCE_COLUMN, pa.array([one.blob] * table.num_rows, pa.string()))
        result = result.append_column(
            self._card.output.name, as_column(predicted, table.num_rows, self._card.output.type)
        )
        return Scored(result, (table.num_rows,))


def as_column(predicted: Any, rows: int, type_: str) -> pa.Array:
    """A model's answer as a column of the declared type. Raises ItemFault if it is not one."""
    values = numpy.asarray(predicted)
    if values.shape != (rows,):
        raise ItemFault(f"the model gave {values.shape} values for {rows} rows")
    kind = arrow_type(type_)
    try:
        return pa.array(values).cast(kind)
    except pa.ArrowException as error:
        raise ItemFault(f"the model gave {values.dtype}, {kind} expected: {error}") from error
