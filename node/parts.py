"""One shard's output: a Parquet file with the same bytes on any machine, written once and read back."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet

from node.errors import ForeignOutput, ItemFault, StorageUnavailable
from node.models import SOURCE_COLUMN
from node.storage import NotThere, Store

_ROW_GROUP = 1024 * 1024
CONTENT_TYPE = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Part:
    """What is in the output container, as it was read back."""

    blob: str
    sha256: str
    size: int
    rows: int


@dataclass(frozen=True)
class Commit:
    """`sources` is None when the part is ours; else, of the first writer's part, how many rows each input has in it."""

    part: Part
    ours_sha256: str | None
    sources: dict[str, int] | None


class PartFile:
    """A part being written, one row group or more for each input. The first table decides the columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._writer: pa.parquet.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def schema(self) -> pa.Schema | None:
        return self._schema

    def append(self, table: pa.Table) -> None:
        """Raises ItemFault if the table has other columns than the first one, or they do not convert."""
        if self._schema is None or self._writer is None:
            self._schema = table.schema
            # Everything that shapes the bytes is said: a default that moves with a release would move every hash.
            self._writer = pa.parquet.ParquetWriter(
                self.path,
                table.schema,
                version="2.6",
                data_page_version="1.0",
                compression="zstd",
                compression_level=3,
                use_dictionary=True,
                write_statistics=True,
                store_schema=True,
            )
        if table.column_names != self._schema.names:
            raise ItemFault(f"columns {table.column_names} differ from the shard's {self._schema.names}")
        try:
            table = table.cast(self._schema)
        except pa.ArrowException as error:
            raise ItemFault(f"does not fit the columns of the shard's first input: {error}") from error
        self._writer.write_table(table.combine_chunks(), row_group_size=_ROW_GROUP)
        self.rows += table.num_rows

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def commit_part(
    store: Store, container: str, blob: str, file: PartFile, sources: set[str], *, run: str
) -> Commit:
    """Write the part unless its name is taken, read it back, and say what is there.

    Its metadata names the run, so that the run can take it back also when this machine dies before the record is there.

    The same bytes already there count as written (a retry, or a twin). Other bytes stay, the first writer wins, but only
    if they are a part of this shard with our columns; else ForeignOutput. Safe to repeat.
    """
    with file.path.open("rb") as stream:
        ours = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        metadata = {"sha256": ours, "rows": str(file.rows), "run": run}
        created = store.create(container, blob, stream, content_type=CONTENT_TYPE, metadata=metadata)
    data = store.read(container, blob)
    found = hashlib.sha256(data).hexdigest()
    if found == ours:
        return Commit(Part(blob, ours, len(data), file.rows), ours, None)
    if created:
        raise StorageUnavailable(f"{container}/{blob}: wrote sha256 {ours}, read back {found}")
    return _adopt(data, f"{container}/{blob}", blob, file.schema, sources, ours)


def find_part(store: Store, container: str, blob: str, sources: set[str]) -> Commit | None:
    """The part an earlier writer committed for a shard of which nothing could be scored this time, if there is one."""
    try:
        data = store.read(container, blob)
    except NotThere:
        return None
    return _adopt(data, f"{container}/{blob}", blob, None, sources, None)


def _adopt(
    data: bytes, where: str, blob: str, schema: pa.Schema | None, sources: set[str], ours: str | None
) -> Commit:
    counted = _sources_of(data, schema, where)
    if strangers := sorted(set(counted) - sources):
        raise ForeignOutput(f"{where} is there already, with rows of {strangers[0]}, not of this shard")
    digest = hashlib.sha256(data).hexdigest()
    return Commit(Part(blob, digest, len(data), sum(counted.values())), ours, counted)


def _sources_of(data: bytes, schema: pa.Schema | None, where: str) -> dict[str, int]:
    try:
        file = pa.parquet.ParquetFile(io.BytesIO(data))
        found = file.schema_arrow.remove_metadata()
        if SOURCE_COLUMN not in found.names or (schema is not None and found != schema):
            raise ForeignOutput(f"{where} is there already, with other columns: {found.names}")
        sources = file.read(columns=[SOURCE_COLUMN], use_threads=False).column(0).to_pylist()
        return dict(Counter(map(str, sources)))
    except (pa.ArrowException, OSError) as error:
        raise ForeignOutput(f"{where} is there already and is no Parquet file") from error
