"""A judging job of many units: each unit's models on its own rows, and one that fails harms no other."""

from __future__ import annotations

from collections.abc import Callable

import pandas
import pytest
from sklearn import metrics

from tests.node.estate import Estate
from tests.node.evaluate_jobs import Coarse, fitted
from tests.node.jobs import Bench, as_parquet
from tests.node.train_jobs import some_labelled
from tests.node.unit_jobs import Killer, Opposite, Sleeper, UnitsBench

DAYS, ROWS = 3, 800


@pytest.fixture
def bench(machine: Estate, new_bench: Callable[[], Bench]) -> UnitsBench:
    return UnitsBench(machine, new_bench().name)


def _days() -> list[pandas.DataFrame]:
    """Labelled rows of units c0 to c7 by turns."""
    frames = [some_labelled(1000 + day, ROWS) for day in range(DAYS)]
    return [frame.assign(carrier=[f"c{row % 8}" for row in range(ROWS)]) for frame in frames]


def test_each_unit_is_judged_by_its_own_models_and_one_that_fails_harms_no_other(bench: UnitsBench) -> None:
    bench.job["timeout_s"] = 5
    for n, day in enumerate(_days()):
        bench.add("test", f"test/{n}.parquet", as_parquet(day))
    bench.unit("t000", "c0", champion=Coarse(), challenger=fitted())
    bench.unit("t001", "c1", champion=fitted(), challenger=Opposite())
    bench.unit("t002", "c2", challenger=fitted())
    bench.unit("t003", "nowhere", champion=Coarse(), challenger=fitted())
    bench.unit("t004", "c4", challenger=Killer())
    bench.unit("t005", "c5", challenger=b"no pickle at all")
    bench.unit("t006", "c6", champion=Coarse(), challenger=Sleeper())
    bench.unit("t007", "c7", champion=Coarse(), challenger=fitted())

    code, log = bench.judge_units()

    assert code == 0, log
    found = bench.found()
    rows = pandas.concat(_days())
    for id_ in ("t000", "t001", "t002"):
        assert found[id_]["evaluation"]["rows"] == (rows["carrier"] == f"c{int(id_[1:])}").sum()
    better, worse = (found[id_]["evaluation"]["difference"]["auc"] for id_ in ("t000", "t001"))
    assert better["low"] > 0 and worse["high"] < 0
    rows = rows[rows["carrier"] == "c0"]
    told = found["t000"]["evaluation"]["models"]["challenger"]["metrics"]["auc"]
    expected = metrics.roc_auc_score(rows["late"], fitted().predict_proba(rows[["x", "z"]])[:, 1])
    assert told == pytest.approx(expected, abs=1e-9)
    assert found["t002"]["evaluation"]["difference"] == {} and found["t003"]["evaluation"]["rows"] == 0
    assert found["t000"]["model"]["contract"] == found["t002"]["model"]["contract"]
    assert found["t000"]["model"]["size"] > 0
    errors = {id_: unit["evaluation"]["models"]["challenger"]["error"] for id_, unit in found.items()}
    assert "SIGSEGV" in errors["t004"] and "SIGALRM" in errors["t006"]
    assert errors["t005"] and errors["t000"] is None and errors["t007"] is None
    assert found["t006"]["evaluation"]["models"]["champion"]["metrics"]["auc"] > 0.5
