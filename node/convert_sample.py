"""The rows that a model and its conversion are asked: whole ones only, spread over all files of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pyarrow as pa

from node.errors import ItemFault
from node.inputs import read_table
from node.models import Column


@dataclass(frozen=True)
class Sample:
    """`left_out`: rows with a value missing; a served request cannot hold one (node/serving/requests.py)."""

    frame: Any
    left_out: int


def read_sample(folder: Path, blobs: Sequence[str], inputs: Sequence[Column], rows: int) -> Sample:
    """At most `rows` rows, the same ones each time. Raises ItemFault naming the file that cannot be read."""
    kept, left_out = [], 0
    for blob in blobs:
        try:
            table = read_table(blob, (folder / blob).read_bytes(), inputs, [])
        except ItemFault as fault:
            raise ItemFault(f"{blob}: {fault}") from fault
        frame = table.to_pandas(use_threads=False)
        whole = frame[frame.notna().all(axis="columns")]
        left_out += len(frame) - len(whole)
        kept.append(pa.Table.from_pandas(whole, schema=table.schema, preserve_index=False))
    whole_rows = pa.concat_tables(kept)
    places = numpy.linspace(0, len(whole_rows) - 1, min(rows, len(whole_rows)), dtype=numpy.int64)
    return Sample(whole_rows.take(places).to_pandas(use_threads=False), left_out)
