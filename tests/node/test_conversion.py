"""Models become ONNX and are asked the same rows: what is alike, what only seems so, and what is not run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, SplineTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from node.convert_compare import compare
from node.convert_onnx import Graph, to_onnx
from node.convert_sample import read_sample
from node.errors import ItemFault
from node.models import Column, ModelCard, Sklearn, load_model, parse_card
from node.needs import provide
from tests.node.convert_jobs import FLIGHTS, ConvertBench, dumped, some_flights, with_categories
from tests.node.estate import Estate
from tests.node.jobs import Bench, as_parquet
from tests.node.test_evaluation import SPY
from tests.node.test_models import Explosive


@pytest.fixture
def bench(machine: Estate, new_bench: Callable[[], Bench]) -> ConvertBench:
    return ConvertBench(machine, new_bench().name)


def _card(*columns: tuple[str, str], output: str = "p") -> ModelCard:
    inputs = tuple(Column(*column) for column in columns)
    return ModelCard("m", "1", "sklearn", "model.joblib", "0" * 64, inputs, Column(output, "double"), ())


def test_trees_with_native_categories_answer_alike_to_the_last_bit_and_are_converted_once(
    bench: ConvertBench, tmp_path: Path
) -> None:
    model = with_categories()
    holes = some_flights(9, 40)
    holes.loc[:9, "distance"] = numpy.nan
    bench.given(dumped(model), [some_flights(7), some_flights(8), holes])

    code, log = bench.convert()

    assert code == 0, log
    said, data = bench.conversion(), bench.converted()
    assert (said["rows"], said["rows_left_out"], said["not_finite"], said["label_flips"]) == (500, 10, 0, 0)
    assert said["max_abs_difference"] < 1e-12
    assert (said["precision"], said["opsets"]["ai.onnx.ml"]) == ("double", 5)
    assert said["model_sha256"] == bench.job["model"]["sha256"]
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (said["file"]["sha256"], said["file"]["size"])
    assert (
        min(said[which][what] for which in ("original", "converted") for what in ("single_ms", "batch_ms"))
        > 0
    )
    card = {"name": "m", "version": "1", "flavor": "onnx", "file": "model.onnx", "sha256": said["file"]["sha256"],
            "inputs": FLIGHTS, "output": {"name": "late_probability", "type": "double"}}  # fmt: skip
    (tmp_path / "model.onnx").write_bytes(data)
    served = load_model(tmp_path, parse_card(json.dumps(card).encode()))
    strange = some_flights(10).replace({"carrier": {"AA": "a carrier of tomorrow"}})
    assert numpy.allclose(served.predict(strange), model.predict_proba(strange)[:, 1], rtol=0, atol=1e-12)

    assert bench.convert()[0] == 0
    assert (bench.conversion(), bench.converted()) == (said, data)
    assert bench.progress()["rows"] == 500


def test_a_pickle_bomb_runs_without_our_identity_and_is_a_reason_not_to_convert(
    bench: ConvertBench, tmp_path: Path
) -> None:
    port = bench.estate.env["HTTPS_PROXY"].rpartition(":")[2]
    code = SPY.replace("PORT", port).replace("OUTSIDE", repr(str(tmp_path / "outside")))
    bench.given(dumped(Explosive(exec, code, {})), [some_flights(7)])

    ended, log = bench.convert()

    assert ended == 0, log
    assert "ValueError: found [] [101, 111] 30 ['1', '2']" in bench.conversion()["error"]
    assert "file" not in bench.conversion()
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_forges_its_conversion_leaves_no_record(bench: ConvertBench) -> None:
    forged = "import os; os.symlink('/etc/passwd', 'model.onnx'); os._exit(0)"
    bench.given(dumped(Explosive(exec, forged, {})), [some_flights(7)])

    code, log = bench.convert()

    assert code == 1, log
    assert "left no model.onnx" in bench.progress()["error"]["message"]
    assert not bench.names(bench.state, f"runs/{bench.run}/conversion")


def _converted(model: Any, card: ModelCard, frame: pandas.DataFrame) -> tuple[Graph, dict[str, Any]]:
    graph = to_onnx(model, card, frame, 21)
    original = Sklearn(dumped(model)).predict(frame)
    return graph, compare(original, graph.model.predict(frame), 0.5)


_TEXT_FIRST = ColumnTransformer(
    [
        ("text", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]),
        ("numbers", "passthrough", ["distance", "hour"]),
    ]
)
_ONE_HOT = ColumnTransformer(
    [
        ("text", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        ("numbers", StandardScaler(), ["distance", "hour"]),
    ]
)


@pytest.mark.parametrize(
    ("model", "precision", "most"),
    [
        (make_pipeline(_TEXT_FIRST, HistGradientBoostingClassifier(max_iter=10)), "double", 1e-12),
        (
            make_pipeline(_TEXT_FIRST, HistGradientBoostingRegressor(max_iter=10, loss="poisson")),
            "double",
            1e-12,
        ),
        (make_pipeline(_ONE_HOT, LogisticRegression()), "float", 1e-5),
    ],
    ids=["trees without categories", "a link function", "floats where doubles do not do"],
)
def test_pipelines_over_texts_and_numbers_are_converted(model: Any, precision: str, most: float) -> None:
    rows = some_flights(3)
    model.fit(rows, (rows["hour"] > rows["distance"] / 50).astype(int))

    graph, said = _converted(model, _card(*((one["name"], one["type"]) for one in FLIGHTS)), rows)

    assert (graph.precision, said["not_finite"], said["label_flips"]) == (precision, 0, 0)
    assert said["max_abs_difference"] < most


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=10),
        make_pipeline(StandardScaler(), LinearRegression()),
        LogisticRegression(),
    ],
    ids=["trees", "a regression", "a classifier"],
)
def test_a_model_of_one_matrix_takes_a_named_input_for_each_column(model: Any) -> None:
    rows = some_flights(3)[["distance", "hour"]]
    labels = (rows["hour"] > 12).astype(int)
    model.fit(
        rows, numpy.where(labels, 1, -1)
    )  # the answer is the probability of 1, whichever class is first

    graph, said = _converted(model, _card(("distance", "double"), ("hour", "long"), output="label"), rows)

    assert said["max_abs_difference"] < 1e-5
    assert len(graph.model.predict(rows.iloc[[0]])) == 1


def test_numbers_that_floats_cannot_tell_apart_are_found_by_the_comparison() -> None:
    """The parity trap: thresholds and values become floats, and half of the rows go the other way. Nothing fails."""
    rows = pandas.DataFrame({"account": 16_777_216.0 + numpy.arange(64) % 64})
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0))
    model.fit(rows, (rows["account"] % 2).astype(int))

    graph, said = _converted(model, _card(("account", "double")), rows)

    assert graph.precision == "float"
    assert said["max_abs_difference"] == 1.0
    assert said["label_flips"] > 16


def test_a_step_that_nobody_can_convert_is_named() -> None:
    rows = some_flights(3)[["hour"]]
    model = make_pipeline(SplineTransformer(), LogisticRegression()).fit(rows, rows["hour"] > 12)

    with pytest.raises(ItemFault, match=r"cannot be converted: .*SplineTransformer"):
        to_onnx(model, _card(("hour", "long")), rows, 21)


def test_an_answer_that_is_no_number_is_counted_and_not_averaged_away() -> None:
    said = compare(numpy.array([0.1, 0.6, 0.7]), numpy.array([0.1, numpy.nan, 0.4]), 0.5)

    assert (said["rows"], said["not_finite"], said["label_flips"]) == (3, 1, 1)
    assert said["max_abs_difference"] == pytest.approx(0.3)


def test_a_sample_is_spread_over_all_its_files_and_leaves_out_rows_that_no_request_could_hold(
    tmp_path: Path,
) -> None:
    for day in range(3):
        frame = pandas.DataFrame({"hour": range(day * 100, day * 100 + 100), "carrier": ["AA", None] * 50})
        (tmp_path / f"{day}.parquet").write_bytes(as_parquet(frame))

    sample = read_sample(
        tmp_path,
        [f"{day}.parquet" for day in range(3)],
        (Column("hour", "long"), Column("carrier", "string")),
        4,
    )

    assert sample.frame["hour"].tolist() == [0, 98, 198, 298]
    assert sample.left_out == 150


def test_a_conversions_packages_are_installed_beside_this_python_where_it_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the bootstrap left in the home folder; here a program in its place that needs no index."""
    monkeypatch.setenv("HOME", str(tmp_path))
    uv = tmp_path / ".muster" / "uv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(
        '#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\necho "$*" > "$2/asked"\necho once >> "$HOME/calls"\n'
    )
    uv.chmod(0o700)
    wanted = tmp_path / "conversion.txt"
    wanted.write_text("a-package-of-nobody==1.0\n")

    folders = {provide(wanted), provide(wanted)}

    (folder,) = folders
    assert folder is not None and str(wanted) in (folder / "asked").read_text()
    assert (tmp_path / "calls").read_text() == "once\n"
    wanted.write_text(f"numpy=={numpy.__version__}\n")
    assert provide(wanted) is None
    assert os.listdir(folder) == ["asked"]
