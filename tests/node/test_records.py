"""The agent's writes as they are at one moment: created once, whoever comes second reads what the first one wrote."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest

from node.errors import ForeignOutput, InputChanged
from node.job import ScoreJob, parse_job
from node.parts import PartFile, commit_part
from node.records import create_record, recorded
from node.storage import Store
from shared.azure import blob
from tests.node.estate import ACCOUNT_URL
from tests.support.cloud import Cloud


@pytest.fixture(scope="module")
def store(inhabited: Cloud) -> Iterator[Store]:
    """Storage as a process with an identity reaches it, from this process."""
    store = Store(ACCOUNT_URL, None)
    yield store
    store.close()


@pytest.fixture
def job(store: Store) -> ScoreJob:
    """A job of its own with one shard; the estate of these tests has its containers."""
    run = f"score-{uuid.uuid4().hex[:8]}"
    item = {"container": "landing", "blob": "in/1.parquet", "etag": "0x1", "size": 1}
    stored = {
        "schema": "muster.score-job/1", "run": run, "job": "b00-e1", "account_url": ACCOUNT_URL,
        "state": {"container": "muster", "prefix": f"runs/{run}/"},
        "model": {
            "container": "models", "prefix": "m/1/", "name": "m", "version": "1", "flavor": "sklearn",
            "sha256": "a" * 64,
        },
        "code": None, "output": {"container": "scores", "path": f"{run}/"}, "attempts": 2, "workers": 1,
        "shards": [{"id": "00000", "key": "ab" * 8, "items": [item]}],
    }  # fmt: skip
    return parse_job(json.dumps(stored).encode(), ACCOUNT_URL)


def _part(folder: Path, score: float) -> PartFile:
    with PartFile(folder / f"{score}.parquet") as part:
        part.append(pyarrow.table({"late": [score], "_source": ["in/1.parquet"]}))
    return part


def test_the_first_record_of_a_shard_is_its_record(store: Store, job: ScoreJob) -> None:
    (shard,) = job.shards
    first, second = {"shard": shard.id, "by": 1}, {"shard": shard.id, "by": 2}

    assert [create_record(store, job, shard, record) for record in (first, second)] == [first, first]
    assert recorded(store, job) == {shard.id: first}


def test_the_first_part_of_a_shard_is_its_part(store: Store, job: ScoreJob, tmp_path: Path) -> None:
    name, sources = job.part_blob(job.shards[0]), {"in/1.parquet"}
    first, second = (
        commit_part(store, "scores", name, _part(tmp_path, score), sources, run=job.run)
        for score in (0.1, 0.2)
    )

    assert first.sources is None and second.sources == {"in/1.parquet": 1}
    assert second.part == first.part
    assert hashlib.sha256(store.read("scores", name)).hexdigest() == first.part.sha256


def test_a_part_that_was_altered_is_not_vouched_for(store: Store, job: ScoreJob, tmp_path: Path) -> None:
    name = job.part_blob(job.shards[0])
    commit_part(store, "scores", name, _part(tmp_path, 0.3), {"in/1.parquet"}, run=job.run)
    store.replace("scores", name, b"altered")

    with pytest.raises(ForeignOutput):
        commit_part(store, "scores", name, _part(tmp_path, 0.3), {"in/1.parquet"}, run=job.run)


def test_an_input_is_read_as_it_was_frozen_or_not_at_all(store: Store) -> None:
    name = f"in/{uuid.uuid4().hex}.parquet"
    store.create("landing", name, b"frozen", content_type="text/plain")
    etag = blob.head("landing", name).etag
    assert store.read_frozen("landing", name, etag.strip('"')) == b"frozen"

    store.replace("landing", name, b"changed")

    with pytest.raises(InputChanged):
        store.read_frozen("landing", name, etag)
