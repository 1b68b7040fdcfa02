"""The coverage receipt: nothing is published unless every frozen input is accounted for, once."""

from __future__ import annotations

import pytest

from shared.domain.coverage import (
    FoundBlob,
    ItemRecord,
    PartRecord,
    ShardRecord,
    build_manifest,
    coverage_faults,
    quarantine_fault,
)
from shared.domain.registry import ModelRef
from shared.domain.shards import InputItem, Shard, plan_shards

MODEL = ModelRef(
    name="m", version="1", flavor="sklearn", container="models", prefix="m/1/", file="f", sha256="a" * 64
)
ITEMS = [InputItem(container="landing", blob=f"in/{n}.parquet", etag=f"e{n}", size=10 + n) for n in range(6)]
SHARDS = plan_shards(ITEMS, max_shards=3, model_digest=MODEL.sha256)


def record(shard: Shard, *, bad: int = 0) -> ShardRecord:
    """The commit record of a shard whose first `bad` items were quarantined."""
    items = tuple(
        ItemRecord(blob=i.blob, etag=i.etag, status="quarantined", reason="unreadable", attempts=3)
        if n < bad
        else ItemRecord(blob=i.blob, etag=i.etag, status="scored", rows=5)
        for n, i in enumerate(shard.items)
    )
    rows = sum(i.rows for i in items)
    part = PartRecord(blob=f"out/part-{shard.id}-{shard.key}.parquet", sha256="b" * 64, size=100, rows=rows)
    return ShardRecord(
        shard=shard.id,
        key=shard.key,
        job="b00-e1",
        model_sha256=MODEL.sha256,
        output=part if rows else None,
        items=items,
    )


def parts(records: dict[str, ShardRecord]) -> dict[str, FoundBlob]:
    outputs = [r.output for r in records.values() if r.output]
    return {o.blob: FoundBlob(blob=o.blob, size=o.size, sha256=o.sha256) for o in outputs}


GOOD = {s.id: record(s) for s in SHARDS}


def test_a_whole_run_has_no_faults_and_its_receipt_adds_up() -> None:
    records = {**GOOD, "00001": record(SHARDS[1], bad=1)}
    assert coverage_faults(SHARDS, records, parts(records), MODEL) == []
    manifest = build_manifest(run="r", workload="w", slot="s", model=MODEL, shards=SHARDS, records=records)
    assert (manifest.listed, manifest.scored, manifest.quarantined, manifest.rows) == (6, 5, 1, 25)
    assert {i.blob for i in manifest.items} == {i.blob for i in ITEMS}
    assert [i.reason for i in manifest.items if i.status == "quarantined"] == ["unreadable"]


def test_a_shard_all_of_whose_items_are_quarantined_has_no_part() -> None:
    records = {**GOOD, "00002": record(SHARDS[2], bad=len(SHARDS[2].items))}
    assert coverage_faults(SHARDS, records, parts(records), MODEL) == []


def missing(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    del records["00001"]


def other_key(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    records["00001"] = records["00001"].model_copy(update={"key": "0" * 16})


def other_model(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    records["00001"] = records["00001"].model_copy(update={"model_sha256": "c" * 64})


def other_etag(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    items = records["00001"].items
    records["00001"] = records["00001"].model_copy(
        update={"items": (items[0].model_copy(update={"etag": "x"}), *items[1:])}
    )


def item_twice(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    items = records["00001"].items
    records["00001"] = records["00001"].model_copy(update={"items": (*items, items[0])})


def fewer_rows(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    output = records["00001"].output
    assert output
    records["00001"] = records["00001"].model_copy(update={"output": output.model_copy(update={"rows": 1})})


def part_gone(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    output = records["00001"].output
    assert output
    del found[output.blob]


def part_altered(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    output = records["00001"].output
    assert output
    found[output.blob] = found[output.blob].model_copy(update={"sha256": "d" * 64})


def foreign_part(records: dict[str, ShardRecord], found: dict[str, FoundBlob]) -> None:
    found["out/stray.parquet"] = FoundBlob(blob="out/stray.parquet", size=1, sha256="")


@pytest.mark.parametrize(
    "spoil",
    [
        missing,
        other_key,
        other_model,
        other_etag,
        item_twice,
        fewer_rows,
        part_gone,
        part_altered,
        foreign_part,
    ],
    ids=lambda f: f.__name__,
)
def test_anything_missing_doubled_foreign_or_altered_is_named(spoil) -> None:  # type: ignore[no-untyped-def]
    records, found = dict(GOOD), parts(GOOD)
    spoil(records, found)
    faults = coverage_faults(SHARDS, records, found, MODEL)
    assert faults and all("00001" in f or "stray" in f for f in faults)


@pytest.mark.parametrize(
    "bad, ratio, publishes", [(0, 1.0, True), (1, 0.8, True), (1, 0.99, False), (6, 0.0, True)]
)
def test_too_much_quarantine_is_refused_with_reasons(bad: int, ratio: float, publishes: bool) -> None:
    left, records = bad, {}
    for shard in SHARDS:
        records[shard.id] = record(shard, bad=min(left, len(shard.items)))
        left -= min(left, len(shard.items))
    manifest = build_manifest(run="r", workload="w", slot="s", model=MODEL, shards=SHARDS, records=records)
    fault = quarantine_fault(manifest, min_success_ratio=ratio)
    assert (fault is None) is publishes
    assert fault is None or "unreadable" in fault
