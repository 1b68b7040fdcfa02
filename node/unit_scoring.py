"""The built-in scorer of a model per unit: each row is predicted by its own unit's model, and comes out where it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.compute as pc

from node.errors import ItemFault, reason_of
from node.inputs import arrow_type, read_table
from node.models import SOURCE_COLUMN, ModelCard
from node.scoring import Input, Scored, as_column
from node.unit_models import UnitModels

QUARANTINE = "quarantine"
_MOST_TOLD = 3


class UnitScorer:
    """Rows of units that have no model get no prediction, and are counted; or their input is set aside (`unknown`)."""

    batch_size = 1

    def __init__(self, models: UnitModels, card: ModelCard, unknown: str) -> None:
        self._models, self._card, self._unknown = models, card, unknown

    def score(self, batch: Sequence[Input]) -> Scored:
        (one,) = batch
        column = self._models.column
        # The unit as a key: in the words of the file, however the models take it.
        table = read_table(one.blob, one.data, self._card.inputs, [*self._card.keys, column])
        units = pc.cast(table[column], pa.string())
        predicted, without = self._predict(table, units)
        result = table.select(list(self._card.keys))
        result = result.append_column(SOURCE_COLUMN, pa.array([one.blob] * table.num_rows, pa.string()))
        result = result.append_column(self._card.output.name, predicted)
        return Scored(result, (table.num_rows,), (without,))

    def _predict(self, table: pa.Table, units: Any) -> tuple[pa.Array, int]:
        """Each row's prediction, null where its unit has no model, and how many have none."""
        coded = units.combine_chunks().dictionary_encode()
        if isinstance(coded, pa.ChunkedArray):
            coded = coded.combine_chunks()
        names = coded.dictionary.to_pylist()
        codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
        by_unit = numpy.argsort(codes, kind="stable")
        starts = numpy.searchsorted(codes[by_unit], numpy.arange(len(names) + 1))
        unknown = [name for name in names if self._models.entry(name) is None]
        parts, places = list[pa.Array](), list[Any]()
        for name, start, stop in sorted(zip(names, starts, starts[1:], strict=False)):
            if self._models.entry(name) is not None:
                places.append(by_unit[start:stop])
                parts.append(self._of_unit(name, table.take(pa.array(places[-1]))))
        taken = numpy.concatenate(places) if places else numpy.empty(0, numpy.int64)
        without = table.num_rows - len(taken)
        if without and self._unknown == QUARANTINE:
            told = ", ".join(sorted(unknown)[:_MOST_TOLD]) or "none"
            raise ItemFault(f"{without} rows are of units that have no model: {told}")
        kind = arrow_type(self._card.output.type)
        values = pa.concat_arrays([*parts, pa.nulls(1, kind)])
        order = numpy.full(table.num_rows, len(taken), numpy.int64)  # the null behind the last
        order[taken] = numpy.arange(len(taken))
        return values.take(pa.array(order)), without

    def _of_unit(self, unit: str, rows: pa.Table) -> pa.Array:
        entry, model = self._models.entry(unit), self._models.load(unit)
        assert entry is not None
        frame = rows.select([column.name for column in entry.card.inputs]).to_pandas(use_threads=False)
        try:
            predicted = model.predict(frame)
        except Exception as error:  # a model may raise anything at data it was not made for
            raise ItemFault(f"the model of unit {unit} raised {reason_of(error)}") from error
        try:
            return as_column(predicted, rows.num_rows, self._card.output.type)
        except ItemFault as fault:
            raise ItemFault(f"unit {unit}: {fault}") from fault
