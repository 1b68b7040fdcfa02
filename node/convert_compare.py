"""How far a converted model is from its original: `python -m node.convert_compare CASE OUT`, a sealed child of the agent.

CASE has model.onnx, the original's predictions, its card and specification.json; the original itself is not loaded here.
OUT gets compared.json. Exit code 3 with a reason as the last line if the converted model does not answer.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from node.convert_files import COMPARED, MODEL, PREDICTED, SPECIFICATION
from node.convert_sample import read_sample
from node.errors import ItemFault, ModelLoadError, reason_of
from node.models import CARD, load_onnx, parse_card


def main(case: Path, out: Path) -> int:
    specification = json.loads((case / SPECIFICATION).read_bytes())
    try:
        card = parse_card((case / CARD).read_bytes())
        sample = read_sample(
            Path(specification["sample"]), specification["blobs"], card.inputs, specification["rows"]
        )
        before = numpy.fromfile(case / PREDICTED, dtype="<f8")
        if len(before) != len(sample.frame):
            raise ItemFault(f"{len(before)} predictions of the original for {len(sample.frame)} rows")
        after = _answers((case / MODEL).read_bytes(), replace(card, flavor="onnx"), sample.frame)
    except (ModelLoadError, ItemFault) as error:
        sys.stderr.write(f"\n{reason_of(error)}\n")
        return 3
    (out / COMPARED).write_text(json.dumps(compare(before, after, float(specification["threshold"]))))
    return 0


def _answers(data: bytes, card: Any, frame: Any) -> Any:
    try:
        answers = numpy.asarray(load_onnx(data, card).predict(frame)).astype("<f8")
    except Exception as error:  # what onnxruntime raises at a model is its own
        raise ItemFault(f"the converted model does not answer: {reason_of(error)}") from error
    if answers.shape != (len(frame),):
        raise ItemFault(f"the converted model gave {answers.shape} values for {len(frame)} rows")
    return answers


def compare(before: Any, after: Any, threshold: float) -> dict[str, Any]:
    """Of the rows where both are finite numbers; of the others their count, which no tolerance allows."""
    finite = numpy.isfinite(before) & numpy.isfinite(after)
    apart = numpy.abs(before[finite] - after[finite])
    flips = (before[finite] >= threshold) != (after[finite] >= threshold)
    return {
        "rows": len(before),
        "not_finite": int((~finite).sum()),
        "max_abs_difference": float(apart.max()) if len(apart) else None,
        "mean_abs_difference": float(apart.mean()) if len(apart) else None,
        "label_flips": int(flips.sum()),
    }


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
