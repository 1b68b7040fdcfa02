"""A drift job: how far each feature of the target has moved from the reference, left in runs/<run>/drift.json."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from node.child import run_ours
from node.document import Document
from node.errors import JobSpecError, NodeError
from node.fields import a_list, between, full_list, short_text
from node.frozen import fetch_items, items_of
from node.job import Head, Item, parse_head
from node.storage import Store

SCHEMA = "muster.drift-job/1"
UNUSABLE = 3  # the exit code of drift_child.py for data that cannot be compared


@dataclass(frozen=True)
class DriftJob:
    """`features`: None for every column that reference and target both have."""

    head: Head
    reference: tuple[Item, ...]
    target: tuple[Item, ...]
    features: tuple[str, ...] | None
    timeout_s: int


def parse_drift_job(raw: bytes, account_url: str) -> DriftJob:
    """The job in `raw`. Raises JobSpecError with the path of the first thing that is wrong."""
    head, fields = parse_head(raw, SCHEMA, account_url)
    features = fields.take("features", a_list, default=None)
    named = [short_text(name, f"job.features[{n}]") for n, name in enumerate(features or [])]
    return DriftJob(
        head=head,
        reference=items_of(fields.take("reference", full_list), "job.reference"),
        target=items_of(fields.take("target", full_list), "job.target"),
        features=None if features is None else tuple(dict.fromkeys(named)),
        timeout_s=fields.take("timeout_s", between(1, 24 * 3600), default=4 * 3600),
    )


def errand_of(raw: bytes, account_url: str) -> Document:
    job = parse_drift_job(raw, account_url)
    return Document(
        job.head,
        "drift",
        job.head.path("drift.json"),
        lambda store, stop, work: _measured(job, store, stop, work),
        lambda found: max((int(one["rows_target"]) for one in found["features"]), default=0),
    )


def _measured(job: DriftJob, store: Store, stop: threading.Event, work: Path) -> bytes:
    """Raises JobSpecError where the data cannot be compared."""
    folders = {"reference": work / "reference", "target": work / "target"}
    for folder, items in zip(folders.values(), (job.reference, job.target), strict=True):
        folder.mkdir()
        fetch_items(store, items, folder, stop)
    out = work / "out"
    out.mkdir()
    given, result = work / "measure.json", out / "drift.json"
    features = list(job.features) if job.features is not None else None
    told = {name: str(folder) for name, folder in folders.items()}
    given.write_text(json.dumps({**told, "features": features}))
    ended = run_ours(
        "node.drift_child", str(given), str(result), writable=out, stop=stop, timeout_s=job.timeout_s
    )
    if ended.code == UNUSABLE:
        raise JobSpecError(ended.words)  # no other machine would make more of these data
    if ended.code != 0:
        raise NodeError(f"drift was not measured: {ended.words}")
    return result.read_bytes()
