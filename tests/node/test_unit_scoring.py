"""Scoring with a model per unit: each row by its own unit's model, in its place, the same bytes whoever wrote them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest

from node import unit_models
from node.errors import ItemFault, ModelLoadError
from node.job import ModelSource
from node.models import Column, ModelCard, parse_card
from node.parts import PartFile
from node.scoring import Input
from node.unit_models import UnitModels, parse_index
from node.unit_scoring import UnitScorer
from tests.node.estate import Estate
from tests.node.jobs import Bench, as_parquet, some_rows
from tests.node.unit_jobs import Always, UnitScores

KNOWN = {str(hour): Always(hour / 100) for hour in range(10)}


@dataclass
class _Shelf:
    """A store in memory that counts what is fetched."""

    data: dict[str, bytes]
    fetched: int = 0

    def fetch(self, container: str, blob: str, path: Path) -> str:
        self.fetched += 1
        path.write_bytes(self.data[blob])
        return hashlib.sha256(self.data[blob]).hexdigest()


def _models(bench: UnitScores, folder: Path) -> tuple[UnitModels, ModelCard]:
    """The bench's stored version, as a worker in this process sees it."""
    stored = {name: bench.read(bench.models, name) for name in bench.names(bench.models)}
    card = parse_card(stored["flights-delay/1/MODEL.json"])
    index = parse_index(stored["flights-delay/1/UNITS.json"], card)
    source = ModelSource(bench.models, "flights-delay/1/", "flights-delay", "1", "units", card.sha256)
    shelf: Any = _Shelf(stored)
    return UnitModels(shelf, source, index, folder), card


@pytest.fixture
def bench(machine: Estate, new_bench: Callable[[], Bench]) -> UnitScores:
    made = UnitScores(machine, new_bench().name)
    made.units("hour", KNOWN)
    return made


def test_each_row_is_predicted_by_its_unit_s_model_and_the_bytes_are_the_same_anywhere(
    bench: UnitScores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = {f"flights/{day}.parquet": some_rows(day) for day in (1, 2)}
    inputs = {name: as_parquet(frame) for name, frame in days.items()}
    shard = bench.shard(*(bench.item(name, data) for name, data in inputs.items()))

    code, log = bench.score()

    assert code == 0, log
    rows, whole = bench.rows(shard), pandas.concat(days.values())
    wanted = [hour / 100 if hour < 10 else -1 for hour in whole["hour"]]
    assert rows["flight"].tolist() == whole["flight"].tolist()
    assert list(rows.columns) == ["flight", "_source", "late_probability"]
    assert rows["late_probability"].fillna(-1).tolist() == wanted
    unknown = [int((frame["hour"] >= 10).sum()) for frame in days.values()]
    assert [item["unpredicted"] for item in bench.record(shard)["items"]] == unknown

    monkeypatch.setattr(unit_models, "CACHE_MODELS", 2)  # another worker, which loads them again and again
    scorer = UnitScorer(*_models(bench, tmp_path), "leaveEmpty")
    with PartFile(tmp_path / "part") as part:
        for number, (name, data) in enumerate(inputs.items()):
            part.append(scorer.score([Input(number, name, data)]).table)
    assert [(tmp_path / "part").read_bytes()] == list(bench.parts().values())


def test_rows_of_unknown_units_set_their_input_aside_where_that_is_declared(
    bench: UnitScores, tmp_path: Path
) -> None:
    scorer = UnitScorer(*_models(bench, tmp_path), "quarantine")
    whole = some_rows(3)
    known = whole[whole["hour"] < 10]

    with pytest.raises(ItemFault, match="units that have no model: 10, 11, 12"):
        scorer.score([Input(0, "all.parquet", as_parquet(whole))])
    scored = scorer.score([Input(0, "known.parquet", as_parquet(known))])
    assert scored.table["late_probability"].to_pylist() == (known["hour"] / 100).tolist()
    assert scored.unpredicted == (0,)


def test_a_unit_s_file_that_is_not_what_the_index_promises_is_never_loaded(
    bench: UnitScores, tmp_path: Path
) -> None:
    bench.put(bench.models, "flights-delay/1/units/key-3/model.joblib", b"another program")
    models, _ = _models(bench, tmp_path)

    assert models.load("2") is not None
    with pytest.raises(ModelLoadError, match="the index promises"):
        models.load("3")


def test_models_that_were_not_asked_for_longest_make_room_and_are_fetched_once(
    bench: UnitScores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_models, "CACHE_MODELS", 3)
    models, _ = _models(bench, tmp_path)

    kept = models.load("0")
    for n in (1, 2, 0, 3, 4):
        models.load(str(n))
    assert models.load("0") is kept
    for n in range(10):
        models.load(str(n))

    shelf: Any = models._store
    assert len(models._loaded) == 3 and shelf.fetched == 10


@pytest.mark.parametrize(
    ("index", "why"),
    [(b"[]", "TypeError"), (b'{"schema_version": "muster.units/2"}', "is not muster.units/1"),
     (b'{"schema_version": "muster.units/1", "contracts": {}, "units": [{"unit": "a"}]}', "KeyError")],
)  # fmt: skip
def test_an_index_that_is_none_is_told(index: bytes, why: str) -> None:
    output = Column("p", "double")
    card = ModelCard("m", "1", "units", "UNITS.json", "0" * 64, (output,), output, ())
    with pytest.raises(ModelLoadError, match=why):
        parse_index(index, card)
