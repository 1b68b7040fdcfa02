"""Reading a file of rows, Parquet or CSV, a batch at a time, with the columns and types that it has itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from node.errors import ItemFault

_MISSING = ("", "NA", "NaN", "nan", "null", "NULL")
_BLOCK = 4 * 1024 * 1024


def batches_of(path: Path, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows of Parquet, or of a few MiB of CSV, whose types the first of them tells.

    Of `columns`, those that the file has (of CSV, all it has). Raises ItemFault.
    """
    try:
        if path.name.lower().endswith(".csv"):
            yield from _csv_batches(path)
        else:
            file = pa.parquet.ParquetFile(path)
            present = [name for name in columns or () if name in file.schema_arrow.names]
            yield from file.iter_batches(rows, columns=present or None, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ItemFault(f"{path.name} cannot be read: {error}") from error


def columns_of(path: Path, names: Sequence[str]) -> pa.Table:
    """These columns of a whole file, in this order; one that the file lacks is null in every row. Raises ItemFault."""
    batches = list(batches_of(path, 1024 * 1024, names))
    rows = sum(batch.num_rows for batch in batches)
    table = pa.Table.from_batches(batches) if batches else pa.table({})
    there = table.column_names
    return pa.table(
        [table[name] if name in there else pa.chunked_array([pa.nulls(rows)]) for name in names],
        names=list(names),
    )


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    convert = pa.csv.ConvertOptions(null_values=list(_MISSING), strings_can_be_null=True)
    reading = pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    with pa.csv.open_csv(path, read_options=reading, convert_options=convert) as reader:
        yield from reader
