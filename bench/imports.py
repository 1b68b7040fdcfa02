"""What importing the app costs, against the floor: azure.functions and azure.durable_functions alone.

`python -m bench.imports`. Fresh processes in turn (floor, app, floor, app ...), warm disk cache; the ratio is of
medians of the same run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
FLOOR = "import azure.functions, azure.durable_functions"
APP = "import function_app"
TARGET = 1.3


def seconds(statement: str) -> float:
    """Wall time of one fresh process that runs `statement`, without the bare interpreter's start."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def main() -> int:
    for statement in ("pass", FLOOR, APP):
        seconds(statement)
    rounds = [(seconds("pass"), seconds(FLOOR), seconds(APP)) for _ in range(ROUNDS)]
    bare, floor, app = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = (app - bare) / (floor - bare)
    print(f"bare interpreter {bare * 1000:6.0f} ms")
    print(f"floor            {(floor - bare) * 1000:6.0f} ms on top")
    print(
        f"function_app     {(app - bare) * 1000:6.0f} ms on top: {ratio:.2f} x the floor (target: at most {TARGET})"
    )
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
