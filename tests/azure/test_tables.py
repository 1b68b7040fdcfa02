"""Columns and units are read from a few bytes of the blob that was listed, in the words of a model's card."""

from __future__ import annotations

import datetime
import io
import uuid
from typing import Any

import pytest

from shared.azure import blob, tables
from shared.azure.blob import Found
from shared.domain.errors import ConflictError, SpecError

pytestmark = pytest.mark.usefixtures("cloud")

ROWS = {
    "distance": [1.5, None],
    "hour": [7, 8],
    "carrier": ["AA", None],
    "late": [True, False],
    "at": [datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)] * 2,
    "unknown": [None, None],
}
KINDS = {
    "distance": "double", "hour": "long", "carrier": "string", "late": "boolean", "at": "timestamp", "unknown": "null",
}  # fmt: skip


def _stored(data: bytes, suffix: str) -> Found:
    name = f"tables/{uuid.uuid4().hex}.{suffix}"
    blob.create_only("landing", name, data)
    return blob.head("landing", name)


def _parquet(rows: dict[str, Any], **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer, **options)
    return buffer.getvalue()


def test_columns_of_a_parquet_blob_are_told_in_a_card_s_words() -> None:
    assert tables.read_columns("landing", _stored(_parquet(ROWS), "parquet")) == KINDS


def test_a_dictionary_of_texts_is_text() -> None:
    import pyarrow as pa

    encoded = pa.array(["AA", "UA"]).dictionary_encode()
    assert tables.read_columns("landing", _stored(_parquet({"carrier": encoded}), "parquet")) == {
        "carrier": "string"
    }


def test_columns_of_a_csv_blob_are_told_from_its_beginning() -> None:
    lines = ["distance,hour,carrier,late", *("1.5,7,AA,true" for _ in range(30_000))]
    found = _stored("\n".join(lines).encode(), "csv")

    assert found.size > 300_000
    assert tables.read_columns("landing", found) == {
        "distance": "double", "hour": "long", "carrier": "string", "late": "boolean",
    }  # fmt: skip


def test_of_a_large_blob_only_its_footer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    noise = random.Random(7)
    rows = {f"c{n}": [noise.random() for _ in range(20_000)] for n in range(10)}
    found = _stored(_parquet(rows, compression="none"), "parquet")
    read: list[int] = []
    whole = blob.read_range

    def counted(container: str, name: str, offset: int, length: int, *, etag: str) -> bytes:
        read.append(length)
        return whole(container, name, offset, length, etag=etag)

    monkeypatch.setattr(blob, "read_range", counted)
    assert len(tables.read_columns("landing", found)) == 10
    assert found.size > 1_500_000 and sum(read) < 200_000, read


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_different_values_of_a_column_are_units_as_text(suffix: str) -> None:
    units = [f"{n % 3:03d}" for n in range(1000)]
    rows: dict[str, Any] = {"unit": [*units, None], "other": list(range(1001))}
    text = "unit,other\n" + "\n".join(f"{unit},{n}" for n, unit in enumerate(units))
    found = _stored(_parquet(rows) if suffix == "parquet" else text.encode(), suffix)

    assert tables.read_values("landing", found, "unit") == {"000", "001", "002"}


def test_whole_numbers_are_units_too() -> None:
    found = _stored(_parquet({"unit": [7, 8, 7]}), "parquet")

    assert tables.read_values("landing", found, "unit") == {"7", "8"}


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not a table at all", b"\x80\x04."])
def test_what_is_no_table_is_refused_with_its_name(data: bytes) -> None:
    found = _stored(data, "parquet")

    with pytest.raises(SpecError, match=found.name):
        tables.read_columns("landing", found)


def test_a_column_that_is_not_there_has_no_values_and_says_so() -> None:
    found = _stored(_parquet({"a": [1]}), "parquet")

    with pytest.raises(SpecError, match="unit"):
        tables.read_values("landing", found, "unit")


def test_a_blob_that_was_replaced_since_it_was_listed_is_not_read() -> None:
    found = _stored(_parquet(ROWS), "parquet")
    blob.delete("landing", found.name)
    blob.create_only("landing", found.name, _parquet({"other": [1]}))

    with pytest.raises(ConflictError):
        tables.read_columns("landing", found)
