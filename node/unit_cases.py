"""A test set for each unit, as test_set.py makes one: `python -m node.unit_cases CASES`, a sealed child of the agent.

CASES/cases.json is {"rows": folder with <id>/data.parquet of each unit that has rows, "units": {id: what test_set.json
says of label, slices and inputs}}. Leaves in CASES/<id> what test_set.py leaves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from node import test_set
from node.evaluation_files import TEST_SET
from node.unit_files import CASES

_ROWS = "data.parquet"


def main(cases: Path) -> int:
    specification = json.loads((cases / CASES).read_bytes())
    for unit, asked in specification["units"].items():
        rows = Path(specification["rows"]) / unit
        blobs = [_ROWS] if (rows / _ROWS).exists() else []
        folder = cases / unit
        folder.mkdir()
        (folder / TEST_SET).write_text(json.dumps({**asked, "data": str(rows), "blobs": blobs}))
        test_set.main(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
