"""The JSON Schema of declarations, for editors: workload.json, written by `python -m shared.schema`."""

from __future__ import annotations

import json
from pathlib import Path

from shared.domain.workload import workload_schema
from shared.platforms import with_machines

FILE = Path(__file__).with_name("workload.json")


def schema_text() -> str:
    """What workload.json must hold: the schema of the declarations this app takes, with the platforms it has."""
    return json.dumps(workload_schema(with_machines()), indent=2, ensure_ascii=False) + "\n"
