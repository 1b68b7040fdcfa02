"""One model's predictions for rows whose labels it cannot see: `python -m node.prediction MODEL ROWS OUT`.

A sealed child of the agent, and the only place where a model under evaluation is loaded: loading a pickle runs whatever
it says. MODEL holds the model file and its card, ROWS Parquet files with its inputs; OUT gets one little-endian double
for each row. Exit code 3 with a reason as the last line if the model cannot be loaded or does not predict.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy
import pyarrow.parquet

from node.errors import ItemFault, ModelLoadError, reason_of
from node.evaluation_files import PREDICTED
from node.models import CARD, Model, load_model, parse_card


def main(model_folder: Path, rows: Path, out: Path) -> int:
    try:
        predict(model_folder, rows, out / PREDICTED)
    except (ModelLoadError, ItemFault) as error:
        sys.stderr.write(f"\n{reason_of(error)}\n")
        return 3
    return 0


def predict(model_folder: Path, rows: Path, target: Path) -> None:
    """Raises ModelLoadError, or ItemFault where the model does not predict."""
    card = parse_card((model_folder / CARD).read_bytes())
    model = load_model(model_folder, card)
    with target.open("wb") as file:
        for path in sorted(rows.glob("*.parquet")):
            frame = pyarrow.parquet.read_table(path, use_threads=False).to_pandas(use_threads=False)
            file.write(predicted(model, frame).tobytes())


def predicted(model: Model, frame: Any) -> Any:
    if not len(frame):
        return numpy.empty(0)
    try:
        values = numpy.asarray(model.predict(frame))
        doubles = values.astype("<f8")
    except Exception as error:  # a model may raise anything at data it was not made for
        raise ItemFault(f"the model raised {reason_of(error)}") from error
    if values.shape != (len(frame),):
        raise ItemFault(f"the model gave {values.shape} values for {len(frame)} rows")
    if not numpy.isfinite(doubles).all():
        raise ItemFault(f"{int((~numpy.isfinite(doubles)).sum())} predictions are no finite numbers")
    return doubles


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
