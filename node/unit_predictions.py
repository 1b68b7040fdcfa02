"""Many units' predictions, one model after the other: `python -m node.unit_predictions TODO OUT`, a sealed child.

TODO is {"units": [ids], "role", "models": folder, "cases": folder, "timeout_s"}. OUT/<id> gets what prediction.py leaves,
or a line that says why there is nothing. The models are of one role and came out of one program: they are no strangers to
each other. One that ends the process, or takes too long and is ended by its alarm, is found by what is missing.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from node.errors import ItemFault, ModelLoadError, reason_of
from node.evaluation_files import FEATURES, PREDICTED
from node.prediction import predict
from node.unit_files import FAULT

_HALF = "half"
_LIBRARIES_S = 60  # what the first model of a process takes besides: it loads what all of them need


def main(todo: Path, out: Path) -> int:
    asked = json.loads(todo.read_bytes())
    for number, unit in enumerate(asked["units"]):
        folder = out / unit
        folder.mkdir()
        signal.alarm(int(asked["timeout_s"]) + (0 if number else _LIBRARIES_S))  # unhandled: the process ends
        try:
            predict(
                Path(asked["models"]) / asked["role"] / unit,
                Path(asked["cases"]) / unit / FEATURES / asked["role"],
                folder / _HALF,
            )
            (folder / _HALF).rename(folder / PREDICTED)
        except (ModelLoadError, ItemFault) as error:
            (folder / FAULT).write_text(reason_of(error))
    signal.alarm(0)
    return 0


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
