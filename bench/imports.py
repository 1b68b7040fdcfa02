"""What importing the app costs, against the floor: azure.functions and azure.durable_functions alone.

`python -m bench.imports`. Fresh processes in turn (floor, app, floor, app ...), the ratio is of medians of the same run.
Processor time: importing waits for nothing once the disk cache is warm, and it does not count what other processes do.
Bytecode is compiled, as where an app is deployed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 15
FLOOR = "import azure.functions, azure.durable_functions"
APP = "import function_app"
TARGET = 1.3


def seconds(statement: str, bytecode: str) -> float:
    """Processor time of one fresh process that runs `statement`, with compiled files in the folder `bytecode`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, "-c", statement], env={**environment, "PYTHONPYCACHEPREFIX": bytecode}
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{statement!r} failed")
    return used.ru_utime + used.ru_stime


def main() -> int:
    with tempfile.TemporaryDirectory() as bytecode:
        statements = ("pass", FLOOR, APP)
        for statement in statements:
            seconds(statement, bytecode)
        rounds = [[seconds(statement, bytecode) for statement in statements] for _ in range(ROUNDS)]
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
