"""Many units' champions and challengers side by side: `python -m node.unit_comparisons TODO OUT`, a sealed child.

TODO is {"units": [ids], "cases": folder}; each case is as comparison.py wants it. Writes OUT/found.json {id: evaluation}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from node.comparison import evaluation_of
from node.unit_files import FOUND


def main(todo: Path, out: Path) -> int:
    asked = json.loads(todo.read_bytes())
    found = {unit: evaluation_of(Path(asked["cases"]) / unit) for unit in asked["units"]}
    (out / FOUND).write_text(json.dumps(found, sort_keys=True, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
