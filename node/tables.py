"""Reading a file of rows, Parquet or CSV, a batch at a time, with the columns and types that it has itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from node.errors import ItemFault

MISSING = ("", "NA", "NaN", "nan", "null", "NULL")


def batches_of(path: Path, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows of Parquet, of a few MiB of CSV. Raises ItemFault."""
    try:
        if path.name.lower().endswith(".csv"):
            yield from _csv_batches(path, columns)
        else:
            file = pa.parquet.ParquetFile(path)
            lacking = [name for name in columns or () if name not in file.schema_arrow.names]
            if lacking:
                raise ItemFault(f"{path.name}: missing column {lacking[0]}")
            yield from file.iter_batches(rows, columns=list(columns) if columns else None, use_threads=False)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ItemFault(f"{path.name} cannot be read: {error}") from error


def _csv_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Types are told by the first block."""
    convert = pa.csv.ConvertOptions(
        null_values=list(MISSING), strings_can_be_null=True, include_columns=list(columns or ())
    )
    reading = pa.csv.ReadOptions(use_threads=False, block_size=4 * 1024 * 1024)
    with pa.csv.open_csv(path, read_options=reading, convert_options=convert) as reader:
        yield from reader
