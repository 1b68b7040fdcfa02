"""Drift as scipy and the formulas have it, from data that never fit in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pandas
import pytest
from scipy import stats

from tests.node.estate import Estate
from tests.node.jobs import Bench, as_parquet
from tests.node.train_jobs import TrainBench


class DriftBench(TrainBench):
    def sides(self, reference: pandas.DataFrame, target: pandas.DataFrame, files: int = 3) -> None:
        self.job |= {"schema": "muster.drift-job/1"}
        for side, frame in (("reference", reference), ("target", target)):
            cuts = numpy.array_split(numpy.arange(len(frame)), files)
            self.job[side] = [
                self.item(f"{side}/{n}.parquet", as_parquet(frame.iloc[rows])) for n, rows in enumerate(cuts)
            ]

    def measured(self) -> dict[str, dict[str, Any]]:
        code, log = self.train()
        assert code == 0, log
        return {one["name"]: one for one in self.drift()["features"]}

    def drift(self) -> dict[str, Any]:
        return self._json("drift.json")


@pytest.fixture
def bench(machine: Estate, new_bench: Callable[[], Bench]) -> DriftBench:
    return DriftBench(machine, new_bench().name)


def _frame(seed: int, count: int, shift: float, share: float) -> pandas.DataFrame:
    chance = numpy.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "same": chance.normal(size=count),
            "moved": chance.normal(shift, size=count),
            "hour": chance.integers(0, 24, count),
            "carrier": numpy.where(chance.random(count) < share, "AA", "UA"),
            "nothing": [None] * count,
        }
    )


def test_each_feature_is_as_far_off_as_scipy_says_and_the_worst_is_named(bench: DriftBench) -> None:
    reference, target = _frame(1, 3000, 0.0, 0.5), _frame(2, 2000, 0.8, 0.8)
    bench.sides(reference, target)

    found = bench.measured()

    assert list(found) == ["same", "moved", "hour", "carrier"]
    for name in ("same", "moved", "hour"):
        assert found[name]["ks"] == pytest.approx(
            stats.ks_2samp(reference[name], target[name]).statistic, abs=1e-9
        )
    assert found["carrier"]["ks"] is None
    p, q = ((side["carrier"] == "AA").mean() for side in (reference, target))
    population = (q - p) * numpy.log(q / p) + (p - q) * numpy.log((1 - q) / (1 - p))
    assert found["carrier"]["psi"] == pytest.approx(population, rel=0.01)
    assert found["same"]["psi"] < 0.02 < 0.25 < found["moved"]["psi"]
    assert found["same"]["js"] < found["carrier"]["js"] < 1
    assert bench.drift()["worst"]["name"] == "moved"
    assert {(one["rows_reference"], one["rows_target"]) for one in found.values()} == {(3000, 2000)}


def test_more_values_than_cells_cost_less_than_a_cell_of_exactness(bench: DriftBench) -> None:
    reference, target = _frame(3, 150_000, 0.0, 0.5), _frame(4, 150_000, 0.05, 0.5)
    bench.sides(reference[["moved"]], target[["moved"]])

    found = bench.measured()["moved"]

    exact = stats.ks_2samp(reference["moved"], target["moved"]).statistic
    assert found["ks"] == pytest.approx(exact, abs=2 / 4096)


def test_values_that_went_missing_are_drift_and_so_are_new_ones(bench: DriftBench) -> None:
    reference = _frame(5, 2000, 0.0, 0.5)[["same", "carrier"]]
    target = _frame(6, 2000, 0.0, 0.5)[["same", "carrier"]]
    target.loc[target.index % 2 == 0, "same"] = None
    target.loc[target.index % 2 == 0, "carrier"] = "never seen"
    bench.sides(reference, target)

    found = bench.measured()

    assert found["same"]["psi"] > 1
    assert found["same"]["ks"] < 0.06
    assert found["carrier"]["psi"] > 1


def test_the_first_result_stays(bench: DriftBench) -> None:
    bench.sides(_frame(7, 300, 0.0, 0.5), _frame(8, 300, 0.0, 0.5))
    first = bench.measured()
    bench.sides(_frame(7, 300, 0.0, 0.5), _frame(8, 300, 5.0, 0.5))

    assert bench.measured() == first


@pytest.mark.parametrize(
    ("features", "said"), [(["nothing"], "cannot be measured"), (["gone"], "no column gone")]
)
def test_what_cannot_be_measured_is_said_and_no_result_is_left(
    bench: DriftBench, features: list[str], said: str
) -> None:
    bench.sides(_frame(9, 50, 0.0, 0.5), _frame(10, 50, 0.0, 0.5))
    bench.job["features"] = features

    code, log = bench.train()

    assert code == 2, log
    assert said in bench.progress()["error"]["message"]
    assert bench.names(bench.state, f"runs/{bench.run}/drift") == []
