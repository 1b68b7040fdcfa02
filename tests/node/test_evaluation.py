"""Champion and challenger on the same rows: numbers that scikit-learn agrees with, and models that are not trusted."""

from __future__ import annotations

from collections.abc import Callable

import pandas
import pytest
from sklearn import metrics

from tests.node.estate import Estate
from tests.node.evaluate_jobs import Coarse, EvaluateBench, dumped, fitted
from tests.node.jobs import Bench
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
