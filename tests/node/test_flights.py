"""The demonstration's month and champion: real, the same each time, and honest about what was known when."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import joblib
import pandas
import pyarrow.parquet
import pytest

from localdev.demo import champion, flights
from tests.node.estate import Estate
from tests.node.jobs import Bench

JANUARY = {f"flights/2013-01-{day:02d}.parquet" for day in range(1, 32)}


@pytest.fixture(scope="module")
def landed(new_bench: Callable[[], Bench]) -> Bench:
    bench = new_bench()
    landed = flights.upload_month(bench.estate.blobs.get_container_client(bench.landing), "flights/")
    assert (landed.files, landed.rows) == (31, 27_004)
    champion.train_and_store(bench.estate.blobs.get_container_client(bench.models), "flights-delay")
    return bench


def test_january_lands_as_one_file_a_day_with_only_what_was_known_before_departure(landed: Bench) -> None:
    assert set(landed.names(landed.landing)) == JANUARY
    first = pyarrow.parquet.read_table(io.BytesIO(landed.read(landed.landing, "flights/2013-01-01.parquet")))
    assert set(first["day"].to_pylist()) == {1}
    after = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late"}
    assert not after & set(first.column_names)


def test_the_month_has_the_same_bytes_each_time_and_landing_it_again_changes_nothing(landed: Bench) -> None:
    container = landed.estate.blobs.get_container_client(landed.landing)
    before = {blob.name: blob.etag for blob in container.list_blobs()}

    again = flights.upload_month(container, "flights/")

    assert again.rows == 27_004
    assert {blob.name: blob.etag for blob in container.list_blobs()} == before
    for name, table in flights.days(1):
        assert flights.as_parquet(table) == landed.read(landed.landing, f"flights/{name}")


def test_the_champion_never_saw_the_month_it_scores_and_beats_a_guess() -> None:
    trained_on = set(flights.flown(champion.MONTHS)["month"].to_pylist())

    _, metrics = champion.train()

    assert 1 not in trained_on
    assert metrics["auc"] > 0.6
    assert metrics["brier"] < 0.18


def test_training_again_gives_the_same_champion_and_another_model_is_not_overwritten(
    landed: Bench, machine: Estate
) -> None:
    models = machine.blobs.get_container_client(landed.models)
    card = json.loads(landed.read(landed.models, "flights-delay/1/MODEL.json"))

    assert champion.train_and_store(models, "flights-delay") == card

    assert json.loads(landed.read(landed.models, "flights-delay/champion.json")) == {"version": "1"}
    landed.put(landed.models, "other/1/model.joblib", b"somebody else's")
    with pytest.raises(RuntimeError, match="holds something else"):
        champion.train_and_store(models, "other")
    assert landed.read(landed.models, "other/1/model.joblib") == b"somebody else's"


def test_the_scored_month_is_what_the_champion_says_of_it(landed: Bench) -> None:
    card: dict[str, Any] = json.loads(landed.read(landed.models, "flights-delay/1/MODEL.json"))
    data = landed.read(landed.models, "flights-delay/1/model.joblib")
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    landed.job["model"] = {
        "container": landed.models,
        "prefix": "flights-delay/1/",
        **{name: card[name] for name in ("name", "version", "flavor", "sha256")},
    }
    container = landed.estate.blobs.get_container_client(landed.landing)
    blobs = sorted(container.list_blobs(), key=lambda blob: blob.name)
    items = [{"container": landed.landing, "blob": b.name, "etag": b.etag, "size": b.size} for b in blobs]
    shards = [landed.shard(*items[start : start + 8]) for start in range(0, 31, 8)]

    code, log = landed.score()

    assert code == 0, log
    scored = pandas.concat([landed.rows(shard) for shard in shards])
    read = [pandas.read_parquet(io.BytesIO(landed.read(landed.landing, blob.name))) for blob in blobs]
    month = pandas.concat(read)
    expected = joblib.load(io.BytesIO(data)).predict_proba(month[champion.INPUTS])[:, 1]
    assert len(scored) == 27_004
    assert scored["late_probability"].tolist() == expected.tolist()
    assert scored["flight"].tolist() == month["flight"].tolist()
    assert scored["tailnum"].fillna("").tolist() == month["tailnum"].fillna("").tolist()
