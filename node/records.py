"""Commit records: one blob for each finished shard, created once. What has a record is never scored again."""

from __future__ import annotations

import json
from typing import Any

from node.job import ScoreJob, Shard
from node.storage import Store

SCHEMA = "muster.shard/1"
_MAX_BYTES = 64 * 1024 * 1024


def create_record(store: Store, job: ScoreJob, shard: Shard, record: dict[str, Any]) -> dict[str, Any]:
    """The record that is in storage afterwards: ours, or that of a twin who was first."""
    blob = job.state_blob("shards", shard.id)
    data = json.dumps(record, indent=1).encode()
    store.create(job.state_container, blob, data, content_type="application/json")
    return read_record(store, job, shard)


def read_record(store: Store, job: ScoreJob, shard: Shard) -> dict[str, Any]:
    raw = store.read(job.state_container, job.state_blob("shards", shard.id), max_bytes=_MAX_BYTES)
    record: dict[str, Any] = json.loads(raw)
    return record


def recorded(store: Store, job: ScoreJob) -> dict[str, dict[str, Any]]:
    """The records of this job's shards that are there already, by shard id. One listing when there are none."""
    present = set(store.names(job.state_container, job.state_blob("shards", "").removesuffix(".json")))
    done = [shard for shard in job.shards if job.state_blob("shards", shard.id) in present]
    return {shard.id: read_record(store, job, shard) for shard in done}
