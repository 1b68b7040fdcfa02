"""What is in Parquet and CSV blobs, as far as the app must know: their columns, and the values of one of them.

Read by ranges and under If-Match: of a Parquet blob its footer, or one column of it, never the rest. pyarrow is
imported by the functions that use it: it is 45 MB, and only a retraining needs it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from shared.azure import blob
from shared.domain.columns import ABSENT_TYPE
from shared.domain.errors import SpecError

_HEAD_BYTES = 256 * 1024  # of a CSV: enough to tell its columns and their types
_READ_AHEAD = 64 * 1024  # Arrow reads a footer in one piece of this size; smaller reads are made larger


class Listed(Protocol):
    """A blob as it was when it was listed or frozen."""

    @property
    def name(self) -> str: ...

    @property
    def etag(self) -> str: ...

    @property
    def size(self) -> int: ...


def read_columns(container: str, found: Listed) -> dict[str, str]:
    """Each column's name and type, in MODEL.json's words. Raises SpecError if the blob is neither Parquet nor CSV."""
    import pyarrow as pa

    with _readable(container, found):
        if found.name.endswith(".csv"):
            schema = _csv_head(container, found).schema
        else:
            schema = _parquet(container, found).schema_arrow
        return {field.name: _type(pa, field.type) for field in schema}


def read_values(container: str, found: Listed, column: str) -> set[str]:
    """The different values of one column, as text in Arrow's and the agent's words; gaps and empty texts are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with _readable(container, found):
        if found.name.endswith(".csv"):
            values = _csv(container, found, [column]).column(column)
        else:
            values = _parquet(container, found).read(columns=[column]).column(column)
        return {v for v in pc.cast(pc.unique(values), pa.string()).to_pylist() if v}


@contextmanager
def _readable(container: str, found: Listed) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, KeyError) as error:
        raise SpecError(
            f"{container}/{found.name} cannot be read: {error}; training data are Parquet or CSV blobs"
        ) from error


def _parquet(container: str, found: Listed) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(_Ranges(container, found), pre_buffer=True)


def _csv_head(container: str, found: Listed) -> Any:
    """The rows of a CSV's beginning; a line that is cut off at its end is left out."""
    from pyarrow import csv

    data = blob.read_range(container, found.name, 0, min(_HEAD_BYTES, found.size), etag=found.etag)
    if len(data) < found.size and b"\n" in data:
        data = data[: data.rindex(b"\n") + 1]
    return csv.read_csv(io.BytesIO(data))


def _csv(container: str, found: Listed, columns: list[str]) -> Any:
    from pyarrow import csv

    data = blob.read_range(container, found.name, 0, found.size, etag=found.etag)
    types = dict.fromkeys(columns, "string")  # a unit called 007 is not 7
    options = csv.ConvertOptions(include_columns=columns, column_types=types)
    return csv.read_csv(io.BytesIO(data), convert_options=options)


def _type(pa: Any, type_: Any) -> str:
    types = pa.types
    kinds = {
        "double": types.is_floating(type_) or types.is_decimal(type_),
        "long": types.is_integer(type_),
        "boolean": types.is_boolean(type_),
        "string": types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_),
        "timestamp": types.is_timestamp(type_) or types.is_date(type_),
        ABSENT_TYPE: types.is_null(type_),
    }
    if types.is_dictionary(type_):
        return _type(pa, type_.value_type)
    return next((kind for kind, is_it in kinds.items() if is_it), str(type_))


class _Ranges(io.RawIOBase):
    """A blob as a file that is read by ranges, all of the version that was listed."""

    def __init__(self, container: str, found: Listed) -> None:
        self._container, self._found = container, found
        self._at = 0
        self._kept_from, self._kept = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._range(self._at, min(len(view), max(self._found.size - self._at, 0)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _range(self, start: int, length: int) -> bytes:
        """From what was read last, if it is in there."""
        if not (self._kept_from <= start and start + length <= self._kept_from + len(self._kept)):
            ahead = min(max(length, _READ_AHEAD), self._found.size - start)
            self._kept = blob.read_range(
                self._container, self._found.name, start, ahead, etag=self._found.etag
            )
            self._kept_from = start
        return self._kept[start - self._kept_from :][:length]
