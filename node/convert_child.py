"""Converts one model: `python -m node.convert_child CASE OUT`, a sealed child of the agent.

The only place where the original is loaded, and loading a pickle runs whatever it says. CASE has the model, its card and
specification.json; OUT gets model.onnx, the original's predictions for the sample, and converted.json, where latencies
of both are, measured here one after the other. Exit code 3 with a reason as the last line if the model cannot be loaded,
has no conversion, or gives no finite number for a row.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from node.convert_files import CONVERTED, MODEL, PREDICTED, SPECIFICATION
from node.convert_onnx import Graph, to_onnx
from node.convert_sample import Sample, read_sample
from node.errors import ItemFault, ModelLoadError, reason_of
from node.models import CARD, Model, Sklearn, load_model, parse_card
from node.prediction import predicted

SINGLES = 20  # rows asked one by one
BATCH = 1000
_LIBRARIES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")


def main(case: Path, out: Path) -> int:
    specification = json.loads((case / SPECIFICATION).read_bytes())
    try:
        card = parse_card((case / CARD).read_bytes())
        original = load_model(case, card)
        if not isinstance(original, Sklearn):
            raise ItemFault(f"a model of flavor {card.flavor} is not converted")
        sample = read_sample(
            Path(specification["sample"]), specification["blobs"], card.inputs, specification["rows"]
        )
        if not len(sample.frame):
            raise ItemFault(f"no row of the sample is whole: {sample.left_out} have a value missing")
        answers = predicted(original, sample.frame)
        graph = to_onnx(original.estimator, card, sample.frame, int(specification["opset"]))
    except (ModelLoadError, ItemFault) as error:
        sys.stderr.write(f"\n{reason_of(error)}\n")
        return 3
    (out / MODEL).write_bytes(graph.data)
    (out / PREDICTED).write_bytes(answers.tobytes())
    (out / CONVERTED).write_text(json.dumps(_told(original, graph, sample)))
    return 0


def _told(original: Sklearn, graph: Graph, sample: Sample) -> dict[str, Any]:
    batch = sample.frame.iloc[:BATCH]
    return {
        "precision": graph.precision,
        "opsets": graph.opsets,
        "is_classifier": hasattr(original.estimator, "predict_proba"),
        "rows_left_out": sample.left_out,
        "batch_rows": len(batch),
        "original": _latency(original, batch),
        "converted": _latency(graph.model, batch),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _LIBRARIES},
    }


def _latency(model: Model, batch: Any) -> dict[str, float]:
    rows = [batch.iloc[[place]] for place in range(min(SINGLES, len(batch)))]
    singles = [_timed_ms(lambda row=row: model.predict(row)) for row in rows]  # type: ignore[misc]
    return {"single_ms": statistics.median(singles), "batch_ms": _timed_ms(lambda: model.predict(batch))}


def _timed_ms(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
