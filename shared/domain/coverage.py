"""Proof of coverage: every frozen input was scored or quarantined, once, by the model that was asked for.

Counted from the shards' commit records and the blobs that are really there, never from what activities returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from shared.domain.registry import ModelRef
from shared.domain.shards import Shard
from shared.domain.wire import Wire

Unpredicted = Annotated[int, Field(exclude_if=lambda rows: rows == 0)]


class ItemRecord(Wire):
    """What became of one input. `status` is scored or quarantined; a quarantined one has a reason and no rows.

    `unpredicted`: rows of units that have no model, where the model is one per unit.
    """

    blob: str
    etag: str
    status: str
    rows: int = 0
    reason: str | None = None
    attempts: int = 1
    unpredicted: Unpredicted = 0


class PartRecord(Wire):
    """The output of one shard."""

    blob: str
    sha256: str
    size: int
    rows: int


class ShardRecord(Wire):
    """The agent's commit record of one shard. `output` is None when every item of it was quarantined."""

    shard: str
    key: str
    job: str
    model_sha256: str
    output: PartRecord | None = None
    items: tuple[ItemRecord, ...] = ()


class FoundBlob(Wire):
    """An output that is really there, with the hash in its metadata."""

    blob: str
    size: int
    sha256: str


class ManifestItem(Wire):
    """One line of the coverage receipt."""

    blob: str
    etag: str
    status: str
    shard: str
    part: str | None
    rows: int
    reason: str | None
    attempts: int
    unpredicted: Unpredicted = 0


class Manifest(Wire):
    """The coverage receipt. listed = scored + quarantined."""

    run: str
    workload: str
    slot: str
    model: str
    model_sha256: str
    listed: int
    scored: int
    quarantined: int
    rows: int
    unpredicted: Unpredicted = 0
    parts: tuple[PartRecord, ...]
    items: tuple[ManifestItem, ...]


def coverage_faults(
    shards: Sequence[Shard],
    records: Mapping[str, ShardRecord],
    found: Mapping[str, FoundBlob],
    model: ModelRef,
) -> list[str]:
    """Everything that keeps the scores from covering the inputs: missing, foreign, doubled or altered. Empty is proof."""
    faults = [f"shard {s.id}: no commit record" for s in shards if s.id not in records]
    expected: set[str] = set()
    for shard in shards:
        record = records.get(shard.id)
        if record is None:
            continue
        faults += [f"shard {shard.id}: {fault}" for fault in _record_faults(shard, record, model)]
        if record.output:
            expected.add(record.output.blob)
            faults += [f"shard {shard.id}: {fault}" for fault in _part_faults(record.output, found)]
    faults += [
        f"{name}: is in the output folder and belongs to no shard" for name in sorted(set(found) - expected)
    ]
    return faults


def _record_faults(shard: Shard, record: ShardRecord, model: ModelRef) -> list[str]:
    faults = []
    if record.key != shard.key:
        faults.append(f"committed under key {record.key}, expected {shard.key}")
    if record.model_sha256 != model.sha256:
        faults.append(
            f"scored by another model file ({record.model_sha256[:12]}, expected {model.sha256[:12]})"
        )
    if [(i.blob, i.etag) for i in record.items] != [(i.blob, i.etag) for i in shard.items]:
        faults.append("its items are not the frozen ones")
    scored = [i for i in record.items if i.status == "scored"]
    if any(i.status not in ("scored", "quarantined") for i in record.items):
        faults.append("an item is neither scored nor quarantined")
    if bool(scored) != (record.output is not None):
        faults.append("scored items and a part must go together")
    if record.output and record.output.rows != sum(i.rows for i in scored):
        faults.append(f"its part has {record.output.rows} rows, its items {sum(i.rows for i in scored)}")
    return faults


def _part_faults(part: PartRecord, found: Mapping[str, FoundBlob]) -> list[str]:
    there = found.get(part.blob)
    if there is None:
        return [f"part {part.blob} is not there"]
    if (there.size, there.sha256) != (part.size, part.sha256):
        return [f"part {part.blob} is not what was committed"]
    return []


def build_manifest(
    *,
    run: str,
    workload: str,
    slot: str,
    model: ModelRef,
    shards: Sequence[Shard],
    records: Mapping[str, ShardRecord],
) -> Manifest:
    """The receipt of records that have no coverage faults, in shard order. The same records give the same receipt."""
    items: list[ManifestItem] = []
    for shard in shards:
        record = records[shard.id]
        part = record.output.blob if record.output else None
        for item in record.items:
            items.append(
                ManifestItem(
                    blob=item.blob, etag=item.etag, status=item.status, shard=shard.id,
                    part=part if item.status == "scored" else None,
                    rows=item.rows, reason=item.reason, attempts=item.attempts, unpredicted=item.unpredicted,
                )
            )  # fmt: skip
    parts = tuple(output for shard in shards if (output := records[shard.id].output))
    scored = sum(i.status == "scored" for i in items)
    return Manifest(
        run=run, workload=workload, slot=slot, model=str(model), model_sha256=model.sha256,
        listed=len(items), scored=scored, quarantined=len(items) - scored,
        rows=sum(p.rows for p in parts), unpredicted=sum(i.unpredicted for i in items), parts=parts, items=tuple(items),
    )  # fmt: skip


def quarantine_fault(manifest: Manifest, *, min_success_ratio: float) -> str | None:
    """Why too much was quarantined to publish, or None. 3 of 1,000 at 0.99 is fine, 20 is not."""
    ratio = manifest.scored / manifest.listed if manifest.listed else 1.0
    if ratio >= min_success_ratio:
        return None
    reasons = [f"{i.blob}: {i.reason}" for i in manifest.items if i.status == "quarantined"]
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return (
        f"{manifest.quarantined} of {manifest.listed} inputs could not be scored "
        f"(fanout.minSuccessRatio is {min_success_ratio}): {'; '.join(reasons[:3])}{more}"
    )
