"""Champion and challenger on the same rows: numbers that scikit-learn agrees with, and models that are not trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
from sklearn import metrics

from node.bootstrap_ci import Bootstrap
from node.metrics import NAMES, metric, resampled
from tests.node import onnx_bytes
from tests.node.estate import Estate
from tests.node.evaluate_jobs import Coarse, EvaluateBench, dumped, fitted
from tests.node.jobs import Bench, as_parquet
from tests.node.test_models import Explosive
from tests.node.train_jobs import some_labelled


@pytest.fixture
def new_evaluation(machine: Estate, new_bench: Callable[[], Bench]) -> Callable[[], EvaluateBench]:
    return lambda: EvaluateBench(machine, new_bench().name)


@pytest.fixture
def bench(new_evaluation: Callable[[], EvaluateBench]) -> EvaluateBench:
    return new_evaluation()


def test_the_better_model_is_told_from_the_worse_overall_and_in_each_slice(bench: EvaluateBench) -> None:
    bench.judge("champion", dumped(Coarse()))
    bench.judge("challenger", dumped(fitted()))
    bench.job |= {"metrics": ["auc", "brier"], "slices": ["carrier"]}
    bench.days()

    code, log = bench.evaluate()

    assert code == 0, log
    said = bench.evaluation()
    rows = pandas.concat([some_labelled(1000 + day, 400) for day in range(3)])
    ours = fitted().predict_proba(rows[["x", "z"]])[:, 1]
    assert said["rows"] == 1200
    assert said["models"]["challenger"]["error"] is None
    assert said["models"]["challenger"]["metrics"]["auc"] == pytest.approx(
        metrics.roc_auc_score(rows["late"], ours), abs=1e-9
    )
    gain = said["difference"]["auc"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert said["difference"]["brier"]["high"] < 0
    assert [(one["value"], one["rows"]) for one in said["slices"]] == [("AA", 402), ("B6", 399), ("UA", 399)]
    united = rows["carrier"] == "UA"
    assert said["slices"][2]["challenger"] == pytest.approx(
        metrics.roc_auc_score(rows["late"][united], ours[united]), abs=1e-9
    )
    assert bench.progress()["rows"] == 1200


SPY = """
import os, socket
def tried(act):
    try:
        return act()
    except OSError as error:
        return error.errno
named = [name for name in os.environ if any(w in name for w in ("PROXY", "IDENTITY", "MSI", "AZURE", "SECRET", "SSL"))]
ways = [tried(lambda: socket.create_connection(place, 5)) for place in (("169.254.169.254", 80), ("127.0.0.1", PORT))]
ours = tried(lambda: open(OUTSIDE, "w"))
rest = [tried(lambda: os.kill(-1, 9))]
raise ValueError(f"found {named} {ways} {ours} {[n for n in os.listdir('/proc') if n.isdigit()]}")
"""


@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_a_pickle_bomb_runs_without_our_identity_and_is_an_error_beside_the_other_model(
    bench: EvaluateBench, role: str, tmp_path: Path
) -> None:
    port = bench.estate.env["HTTPS_PROXY"].rpartition(":")[2]
    code = SPY.replace("PORT", port).replace("OUTSIDE", repr(str(tmp_path / "outside")))
    other = "champion" if role == "challenger" else "challenger"
    bench.judge(role, dumped(Explosive(exec, code, {})))
    bench.judge(other, dumped(fitted()))
    bench.days(1)

    ended, log = bench.evaluate()

    assert ended == 0, log
    said = bench.evaluation()
    assert said["models"][role]["metrics"] == {}
    assert "ValueError: found [] [101, 111] 30 ['1', '2']" in said["models"][role]["error"]
    assert said["models"][other]["metrics"]["auc"] > 0.7
    assert said["difference"] == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        (os.abort, (), "killed by SIGABRT"),
        (
            exec,
            ("import os; os.symlink('/etc/passwd', 'predictions.f64'); os._exit(0)", {}),
            "no predictions",
        ),
    ],
    ids=["dies", "leaves a link"],
)
def test_a_model_that_does_not_answer_is_an_error_not_the_end(
    bench: EvaluateBench, call: Any, arguments: tuple[Any, ...], said: str
) -> None:
    bench.judge("champion", dumped(Coarse()))
    bench.judge("challenger", dumped(Explosive(call, *arguments)))
    bench.days(1)

    code, log = bench.evaluate()

    assert code == 0, log
    models = bench.evaluation()["models"]
    assert said in models["challenger"]["error"]
    assert models["champion"]["metrics"]["auc"] > 0.6


def test_a_model_that_hangs_is_cut_off_and_is_an_error(bench: EvaluateBench) -> None:
    bench.judge("challenger", dumped(Explosive(exec, "import time; time.sleep(3600)", {})))
    bench.job["timeout_s"] = 5
    bench.days(1)

    code, log = bench.evaluate()

    assert code == 0, log
    assert bench.evaluation()["models"]["challenger"]["error"] == "its time was up"


def test_a_model_file_that_was_not_promised_is_never_opened(bench: EvaluateBench) -> None:
    bench.judge("champion", dumped(Coarse()))
    bench.judge("challenger", dumped(Explosive(os.abort)))
    bench.job["models"][1]["sha256"] = "0" * 64
    bench.days(1)

    code, log = bench.evaluate()

    assert code == 0, log
    assert "promised 000000" in bench.evaluation()["models"]["challenger"]["error"]


class Unsure:
    """Knows nothing of some rows."""

    def predict(self, frame: Any) -> Any:
        return numpy.where(frame["x"] > 0, numpy.nan, 0.5)


@pytest.mark.parametrize(
    ("model", "card", "said"),
    [
        (Unsure(), {}, "predictions are no finite numbers"),
        (Coarse(), {"inputs": [{"name": "gone", "type": "double"}]}, "test/0.parquet: missing column: gone"),
        (
            Coarse(),
            {"inputs": [{"name": "late", "type": "long"}]},
            "the label late is among the model's inputs",
        ),
        (Coarse(), {"inputs": [{"name": "z", "type": "double"}]}, "the model raised KeyError: 'x'"),
    ],
    ids=["NaN", "lacks a column", "reads the label", "raises"],
)
def test_a_model_that_cannot_judge_every_row_has_an_error_and_no_metrics(
    bench: EvaluateBench, model: Any, card: dict[str, Any], said: str
) -> None:
    bench.judge("champion", dumped(fitted()))
    bench.judge("challenger", dumped(model), **card)
    bench.days(1)

    code, log = bench.evaluate()

    assert code == 0, log
    models = bench.evaluation()["models"]
    assert said in models["challenger"]["error"]
    assert models["challenger"]["metrics"] == {}
    assert models["champion"]["error"] is None


def test_rows_without_a_label_are_dropped_for_both_and_counted(bench: EvaluateBench) -> None:
    bench.judge("challenger", dumped(fitted()))
    rows = some_labelled(1, 300)
    rows["late"] = rows["late"].astype("Int64").where(rows.index % 3 != 0)
    bench.add("test", "test/0.parquet", as_parquet(rows))

    code, log = bench.evaluate()

    assert code == 0, log
    said = bench.evaluation()
    assert (said["rows"], said["label_missing_rows"]) == (200, 100)
    kept = rows[rows["late"].notna()]
    expected = metrics.roc_auc_score(kept["late"].astype(int), fitted().predict_proba(kept[["x", "z"]])[:, 1])
    assert said["models"]["challenger"]["metrics"]["auc"] == pytest.approx(expected, abs=1e-9)
    assert said["difference"] == {}


def test_no_labels_at_all_are_no_metrics_and_no_failure(bench: EvaluateBench) -> None:
    bench.judge("champion", dumped(Coarse()))
    bench.judge("challenger", dumped(fitted()))
    bench.job["slices"] = ["carrier"]
    bench.add("test", "test/0.parquet", as_parquet(some_labelled(1).assign(late=None)))
    bench.add("test", "test/1.parquet", as_parquet(some_labelled(2).drop(columns="late")))

    code, log = bench.evaluate()

    assert code == 0, log
    said = bench.evaluation()
    assert (said["rows"], said["label_missing_rows"]) == (0, 400)
    assert [model["metrics"] for model in said["models"].values()] == [{}, {}]
    assert {model["error"] for model in said["models"].values()} == {"no rows with a label"}


def test_one_kind_of_label_in_a_slice_leaves_that_slice_undecided(bench: EvaluateBench) -> None:
    bench.judge("champion", dumped(Coarse()))
    bench.judge("challenger", dumped(fitted()))
    bench.job["slices"] = ["carrier", "nowhere"]
    rows = some_labelled(1, 300)
    rows.loc[rows["carrier"] == "AA", "late"] = 0
    bench.add("test", "test/0.parquet", as_parquet(rows))

    code, log = bench.evaluate()

    assert code == 0, log
    american, *others, nowhere = bench.evaluation()["slices"]
    assert american == {
        "column": "carrier", "value": "AA", "rows": 100, "champion": None, "challenger": None, "difference": None,
    }  # fmt: skip
    assert all(one["difference"]["low"] <= one["difference"]["high"] for one in others)
    assert (nowhere["column"], nowhere["value"], nowhere["rows"]) == ("nowhere", "", 300)


def test_twin_runs_leave_the_same_bytes_and_a_second_one_changes_nothing(
    new_evaluation: Callable[[], EvaluateBench],
) -> None:
    twins = [new_evaluation() for _ in range(2)]
    for number, bench in enumerate(twins):
        bench.run = "train-twin"
        bench.job |= {"run": bench.run, "job": f"evaluate-e{number}", "slices": ["carrier"]}
        bench.job["state"]["prefix"] = f"runs/{bench.run}/"
        bench.judge("champion", dumped(Coarse()))
        bench.judge("challenger", dumped(fitted()))
        bench.days(2)
        assert bench.evaluate()[0] == 0

    first, second = (bench.evaluation_bytes() for bench in twins)
    assert first == second
    twins[0].job["bootstrap"] = 333
    assert twins[0].evaluate()[0] == 0
    assert twins[0].evaluation_bytes() == first


def test_an_onnx_challenger_is_judged_like_any_other(bench: EvaluateBench) -> None:
    bench.judge("challenger", onnx_bytes.logistic_by_matrix([1.0, -0.5]), flavor="onnx")
    bench.days(1)

    code, log = bench.evaluate()

    assert code == 0, log
    rows = some_labelled(1000, 400)
    expected = metrics.roc_auc_score(rows["late"], rows["x"] - rows["z"] / 2)
    assert bench.evaluation()["models"]["challenger"]["metrics"]["auc"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_of_a_resample_is_scikit_learns_of_the_repeated_rows(name: str) -> None:
    chance = numpy.random.default_rng(5)
    labels = chance.integers(0, 2, 500).astype(float)
    predicted = numpy.round(numpy.clip(labels * 0.3 + chance.random(500) * 0.7, 0, 1), 2)  # with ties
    counts = numpy.bincount(chance.integers(0, 500, 500), minlength=500)

    found = resampled(name, labels, predicted)(counts)

    repeated = numpy.repeat(numpy.arange(500), counts)
    assert found == pytest.approx(metric(name, labels[repeated], predicted[repeated]), abs=1e-12)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of a difference of two means that is known to be 0.1: 95 % intervals, 200 samples."""
    covered = 0
    for sample in range(200):
        chance = numpy.random.default_rng([11, sample])
        labels, noise = numpy.zeros(150), chance.normal(size=150)
        first, second = numpy.abs(noise) + 1, numpy.abs(noise) + 1.1 + chance.normal(scale=0.2, size=150)
        pair = resampled("mae", labels, first), resampled("mae", labels, second)
        interval = Bootstrap(300, 0.95, sample).intervals(150, {"mae": pair})["mae"]
        assert interval is not None
        covered += interval.low <= 0.1 <= interval.high
    assert 180 <= covered <= 200
