"""Scoring with a model per unit: each row by its own unit's model, in its place, the same bytes whoever wrote them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest

from node import unit_models
from node.job import ModelSource
from node.models import Column, ModelCard
from node.unit_models import UnitEntry, UnitIndex, UnitModels
from tests.node.estate import Estate
from tests.node.evaluate_jobs import dumped
from tests.node.jobs import Bench, as_parquet, some_rows
from tests.node.unit_jobs import Always, UnitScores

KNOWN = {str(hour): Always(hour / 100) for hour in range(10)}


@pytest.fixture
def new_scores(machine: Estate, new_bench: Callable[[], Bench]) -> Callable[[], UnitScores]:
    return lambda: UnitScores(machine, new_bench().name)


def _land(bench: UnitScores, *days: int) -> str:
    return bench.shard(*(bench.item(f"flights/{day}.parquet", as_parquet(some_rows(day))) for day in days))


def test_each_row_is_predicted_by_its_unit_s_model_in_the_order_of_the_rows(
    new_scores: Callable[[], UnitScores],
) -> None:
    twins = [new_scores(), new_scores()]
    for bench in twins:
        bench.units("hour", KNOWN)
        shard = _land(bench, 1, 2)
        code, log = bench.score()
        assert code == 0, log

    rows = bench.rows(shard)
    days = pandas.concat([some_rows(1), some_rows(2)])
    wanted = [hour / 100 if hour < 10 else math.nan for hour in days["hour"]]
    assert rows["flight"].tolist() == days["flight"].tolist()
    assert list(rows.columns) == ["flight", "_source", "late_probability"]
    assert rows["late_probability"].fillna(-1).tolist() == [-1 if math.isnan(w) else w for w in wanted]
    unknown = [sum(hour >= 10 for hour in some_rows(day)["hour"]) for day in (1, 2)]
    assert [item["unpredicted"] for item in bench.record(shard)["items"]] == unknown
    assert list(twins[0].parts().values()) == list(twins[1].parts().values())


def test_rows_of_unknown_units_set_their_input_aside_where_that_is_declared(
    new_scores: Callable[[], UnitScores],
) -> None:
    bench = new_scores()
    bench.units("hour", KNOWN)
    bench.job["model"]["unknown_units"] = "quarantine"
    whole = some_rows(3)
    known = whole[whole["hour"] < 10]
    shard = bench.shard(
        bench.item("flights/all.parquet", as_parquet(whole)),
        bench.item("flights/known.parquet", as_parquet(known)),
    )

    code, log = bench.score()

    assert code == 0, log
    assert [status for _, status, _, _ in bench.outcomes(shard)] == ["quarantined", "scored"]
    assert "units that have no model: 10" in bench.reasons(shard)["flights/all.parquet"]
    assert bench.rows(shard)["late_probability"].tolist() == (known["hour"] / 100).tolist()


def test_a_unit_s_file_that_is_not_what_the_index_promises_is_never_loaded(
    new_scores: Callable[[], UnitScores],
) -> None:
    bench = new_scores()
    bench.units("hour", KNOWN)
    shard = _land(bench, 1)
    bench.put(bench.models, "flights-delay/1/units/key-3/model.joblib", b"another program")

    code, log = bench.score()

    assert code == 3, log
    assert "the index promises" in bench.progress()["error"]["message"]
    assert bench.records() == [] and shard == "00000"


@dataclass
class _Shelf:
    """A store that counts what is fetched."""

    data: bytes
    fetched: int = 0

    def fetch(self, container: str, blob: str, path: Path) -> str:
        self.fetched += 1
        path.write_bytes(self.data)
        return hashlib.sha256(self.data).hexdigest()


def test_models_that_were_not_asked_for_longest_make_room_and_are_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dumped(Always(0.5))
    column = Column("p", "double")
    card = ModelCard(
        "m", "1", "sklearn", "model.joblib", hashlib.sha256(data).hexdigest(), (column,), column, ()
    )
    units = {str(n): UnitEntry(f"k{n}", len(data), card) for n in range(10)}
    shelf: Any = _Shelf(data)
    monkeypatch.setattr(unit_models, "CACHE_MODELS", 3)
    source = ModelSource("models", "m/1/", "m", "1", "units", "0" * 64)
    models = UnitModels(shelf, source, UnitIndex("u", units), tmp_path)

    kept = models.load("0")
    for n in (1, 2, 0, 3, 4):
        models.load(str(n))
    assert models.load("0") is kept
    for n in range(10):
        models.load(str(n))

    assert len(models._loaded) == 3 and models._bytes == 3 * len(data)
    assert shelf.fetched == 10
