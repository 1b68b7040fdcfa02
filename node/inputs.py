"""Reading one input, Parquet or CSV, into the columns a model wants. Every fault is an ItemFault with its reason."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from node.errors import ItemFault
from node.models import Column

_ARROW: dict[str, pa.DataType] = {
    "double": pa.float64(),
    "long": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
}


def arrow_type(kind: str) -> pa.DataType:
    return _ARROW[kind]


def read_table(blob: str, data: bytes, inputs: Sequence[Column], keys: Sequence[str]) -> pa.Table:
    """Keys first, then the inputs that are not keys; inputs in the declared types, keys as the file has them.

    In CSV, which has no types, a key that is no input stays the text it is: "00123" is not 123.
    """
    typed = {column.name: column.type for column in inputs}
    wanted = list(dict.fromkeys([*keys, *typed]))
    try:
        if blob.lower().endswith(".csv"):
            table = _read_csv(data, wanted, typed)
        elif blob.lower().endswith((".parquet", ".pq")) or data[:4] == b"PAR1":
            table = _read_parquet(data, wanted)
        else:
            raise ItemFault("neither .parquet nor .csv")
    except (pa.ArrowException, OSError) as error:
        raise ItemFault(f"cannot be read: {error}") from error
    if table.num_rows == 0:
        raise ItemFault("no rows")
    columns = [_as_declared(name, table.column(name), typed.get(name)) for name in wanted]
    return pa.table(columns, names=wanted)


def _read_parquet(data: bytes, wanted: list[str]) -> pa.Table:
    file = pa.parquet.ParquetFile(io.BytesIO(data))
    _require(wanted, file.schema_arrow.names)
    return file.read(columns=wanted, use_threads=False).replace_schema_metadata(None)


def _read_csv(data: bytes, wanted: list[str], typed: dict[str, str]) -> pa.Table:
    options = pa.csv.ReadOptions(use_threads=False)
    types = {name: _ARROW[typed.get(name, "string")] for name in wanted}
    header = _csv_header(data)
    _require(wanted, header)
    convert = pa.csv.ConvertOptions(column_types=types, include_columns=wanted)
    try:
        return pa.csv.read_csv(io.BytesIO(data), read_options=options, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise ItemFault(_with_column_names(str(error), header)) from error


def _csv_header(data: bytes) -> list[str]:
    """The names in the first line, read by the same parser that will read the rest."""
    options = pa.csv.ReadOptions(use_threads=False, autogenerate_column_names=True)
    all_text = pa.csv.ConvertOptions(check_utf8=True, strings_can_be_null=False)
    with pa.csv.open_csv(io.BytesIO(data), read_options=options, convert_options=all_text) as reader:
        first = reader.read_next_batch().slice(0, 1)
    return [str(column[0].as_py()) for column in first.columns] if first.num_rows else []


def _with_column_names(message: str, header: list[str]) -> str:
    """Arrow counts columns, people name them: `CSV column #2` becomes `CSV column distance`."""

    def named(match: re.Match[str]) -> str:
        position = int(match[1])
        return f"CSV column {header[position]}" if position < len(header) else match[0]

    return re.sub(r"CSV column #(\d+)", named, message)


def _require(wanted: list[str], present: Sequence[str]) -> None:
    counted = Counter(present)
    if missing := [name for name in wanted if not counted[name]]:
        raise ItemFault(f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}")
    if twice := [name for name in wanted if counted[name] > 1]:
        raise ItemFault(f"column twice: {', '.join(twice)}")


def _as_declared(name: str, column: pa.ChunkedArray, kind: str | None) -> pa.ChunkedArray:
    """The column as the model declared it. Numbers convert to numbers where nothing is lost; nothing else converts."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if kind is None or column.type == _ARROW[kind]:
        return column
    if not _converts(column.type, kind):
        raise ItemFault(f"column {name}: {column.type} found, {kind} expected")
    try:
        return column.cast(_ARROW[kind])
    except pa.ArrowInvalid as error:
        raise ItemFault(f"column {name}: {column.type} does not fit {kind}: {error}") from error


def _converts(found: pa.DataType, kind: str) -> bool:
    numeric = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found)
    return pa.types.is_null(found) or (numeric and kind in ("double", "long"))
