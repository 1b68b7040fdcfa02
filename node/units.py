"""The rows of each unit in a file of its own: `python -m node.units FOLDER`, a sealed child of the agent.

FOLDER/units.json is {"data", "column", "units": {id: value}}. Writes FOLDER/<id>/data.parquet for each unit with rows,
in the order of the data's names and rows, and FOLDER/split.json {"rows": {id: n}, "fault": null or a reason}. A batch of
rows at a time is in memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIFICATION, RESULT = "units.json", "split.json"
_BATCH_ROWS = 256 * 1024


def main(folder: Path) -> int:
    from node.errors import ItemFault

    specification = json.loads((folder / SPECIFICATION).read_bytes())
    ids: dict[str, str] = {value: unit for unit, value in specification["units"].items()}
    rows, fault = dict.fromkeys(specification["units"], 0), None
    writers: dict[str, Any] = {}
    try:
        for batch in _batches(Path(specification["data"]), specification["column"]):
            _distribute(batch, specification["column"], ids, folder, writers, rows)
    except ItemFault as error:
        fault = str(error)
    finally:
        for writer in writers.values():
            writer.close()
    (folder / RESULT).write_text(json.dumps({"rows": rows, "fault": fault}))
    return 0


def _batches(data: Path, column: str) -> Iterator[Any]:
    from node.errors import ItemFault
    from node.tables import batches_of

    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        for batch in batches_of(path, _BATCH_ROWS):
            if column not in batch.schema.names:
                raise ItemFault(f"{path.relative_to(data)} has no column {column}")
            yield batch


def _distribute(
    batch: Any, column: str, ids: dict[str, str], folder: Path, writers: dict[str, Any], rows: dict[str, int]
) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet

    from node.errors import ItemFault

    table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
    values = pc.cast(table[column], pa.string())
    for value in pc.unique(values).to_pylist():
        unit = ids.get(value)
        if unit is None:
            continue
        part = table.filter(pc.equal(values, value))
        if unit not in writers:
            (folder / unit).mkdir()
            writers[unit] = pa.parquet.ParquetWriter(folder / unit / "data.parquet", part.schema)
        try:
            writers[unit].write_table(part.cast(writers[unit].schema))
        except (pa.ArrowException, ValueError) as error:
            raise ItemFault(f"the files' columns differ: {error}") from error
        rows[unit] += part.num_rows


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
