"""Models that are not what was promised, that raise, that kill; and ONNX ones that work."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest

from node.errors import ModelLoadError
from node.models import load_model, parse_card
from tests.node import onnx_bytes
from tests.node.jobs import Bench, as_parquet, some_rows


class Explosive:
    """Unpickles by calling something."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self._call = (call, arguments)

    def __reduce__(self) -> Any:
        return self._call


def _pickled(thing: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(thing, buffer)
    return buffer.getvalue()


def _one_shard(bench: Bench) -> str:
    return bench.shard(bench.item("flights/1.parquet", as_parquet(some_rows(1))))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_pickled(Explosive(int, "not a number")), "ValueError: invalid literal for int()"),
        (_pickled(Explosive(os.abort)), "killed by SIGABRT while loading the model, 3 times"),
    ],
    ids=["raises", "kills"],
)
def test_a_model_that_cannot_be_loaded_ends_the_job_with_3_and_its_words(
    bench: Bench, data: bytes, said: str
) -> None:
    bench.model(data)
    _one_shard(bench)

    code, log = bench.score()

    assert code == 3, log
    progress = bench.progress()
    assert (progress["state"], progress["exit_code"]) == ("failed", 3)
    assert progress["error"]["type"] == "ModelLoadError"
    assert said in progress["error"]["message"]
    assert (bench.records(), bench.parts()) == ([], {})


def test_a_pickle_that_was_not_promised_is_never_opened(bench: Bench, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    bench.model(_pickled(Explosive(os.mkdir, str(canary))))
    promised = bench.job["model"]["sha256"] = "0" * 64
    _one_shard(bench)

    code, log = bench.score()

    assert code == 3, log
    assert f"the job promises sha256 {promised}" in bench.progress()["error"]["message"]
    assert not canary.exists()


def test_a_model_file_that_changed_on_the_disk_is_never_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "model.joblib").write_bytes(_pickled(Explosive(os.mkdir, str(canary))))
    card = {
        "name": "m", "version": "1", "flavor": "sklearn", "file": "model.joblib", "sha256": "0" * 64,
        "inputs": [{"name": "distance", "type": "double"}], "output": {"name": "late", "type": "double"},
    }  # fmt: skip

    with pytest.raises(ModelLoadError, match="its sha256 is not"):
        load_model(tmp_path, parse_card(json.dumps(card).encode()))

    assert not canary.exists()


def test_an_onnx_model_scores_like_its_formula(bench: Bench) -> None:
    bench.model(onnx_bytes.logistic_by_column([0.001, -0.1]), flavor="onnx", file="model.onnx")
    shard = _one_shard(bench)

    code, log = bench.score()

    assert code == 0, log
    frame = some_rows(1)
    z = frame["distance"] * 0.001 - frame["hour"] * 0.1
    assert numpy.allclose(bench.rows(shard)["late_probability"], 1 / (1 + numpy.exp(-z)), atol=1e-6)
    assert bench.rows(shard)["flight"].tolist() == frame["flight"].tolist()


def test_of_onnx_probabilities_that_of_class_1_is_the_prediction(tmp_path: Path) -> None:
    model = _onnx(tmp_path, onnx_bytes.logistic_by_matrix([0.002, 0.05]))

    frame = some_rows(3)
    z = frame["distance"] * 0.002 + frame["hour"] * 0.05
    assert numpy.allclose(model.predict(frame[["distance", "hour"]]), 1 / (1 + numpy.exp(-z)), atol=1e-6)


def test_a_converted_classifier_with_a_map_for_each_row_is_understood(tmp_path: Path) -> None:
    """Microsoft's own example, as skl2onnx makes them: a label, then ZipMap probabilities of three kinds of iris."""
    import onnxruntime.datasets

    data = Path(onnxruntime.datasets.get_example("logreg_iris.onnx")).read_bytes()

    predicted = _onnx(tmp_path, data).predict(some_rows(1, count=3)[["distance", "hour"]])

    assert predicted.shape == (3,)
    assert ((predicted >= 0) & (predicted <= 1)).all()


def _onnx(folder: Path, data: bytes) -> Any:
    import hashlib
    import json

    from tests.node.jobs import INPUTS, OUTPUT

    (folder / "model.onnx").write_bytes(data)
    card = {
        "name": "m",
        "version": "1",
        "flavor": "onnx",
        "file": "model.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "inputs": INPUTS,
        "output": OUTPUT,
    }
    return load_model(folder, parse_card(json.dumps(card).encode()))
