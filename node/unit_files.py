"""Names of what the steps that judge many units leave for each other. Each unit has a folder of its own, by its id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CASES = "cases.json"
TODO = "todo.json"
FAULT = "fault.txt"
FOUND = "found.json"
FAULT_CHARS = 500


def write_todo(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / TODO
    path.write_text(json.dumps(document))
    return path
