"""The app's own records in Blob Storage: claims, schedules, leases, progress, audit.

Records are create-only: the first writer wins, the same content written twice is one record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shared.azure import blob
from shared.config import settings
from shared.domain.audit import AuditEntry, digest, seal
from shared.domain.errors import ConflictError
from shared.domain.jobs import Progress
from shared.domain.lease import Lease, LeaseClosing, LeaseOpening
from shared.domain.wire import Wire


def _container() -> str:
    return settings().state_container


def encode(value: Any) -> bytes:
    """JSON bytes that are the same for the same value."""
    data = value.model_dump(mode="json") if isinstance(value, Wire) else value
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def create(path: str, value: Any) -> bool:
    """Write a record that may be written once. True if this call made it, False if the same record was there.

    Raises ConflictError if a different record is there.
    """
    return _create(path, encode(value), code="RecordConflict")


def _create(path: str, data: bytes, *, code: str) -> bool:
    if blob.create_only(_container(), path, data):
        return True
    if blob.read(_container(), path) != data:
        raise ConflictError(f"{path} is already written with other content", code=code, target=path)
    return False


def read(path: str) -> Any | None:
    """The record at `path`, or None."""
    data = blob.read_or_none(_container(), path)
    return None if data is None else json.loads(data)


def claim(path: str, value: Any) -> bool:
    """Write a record if there is none. True for the one caller who wrote it."""
    return blob.create_only(_container(), path, encode(value))


def exists(path: str) -> bool:
    return blob.exists(_container(), path)


def delete(path: str) -> None:
    """Remove a marker; one that is gone already is fine."""
    blob.delete(_container(), path)


def list_paths(prefix: str) -> list[str]:
    return [found.name for found in blob.list_blobs(_container(), prefix)]


def read_schedule(workload: str) -> tuple[dict[str, Any] | None, str]:
    """How far a workload's schedule was considered, and the record's etag."""
    found = blob.read_with_etag(_container(), f"schedules/{workload}.json")
    return (json.loads(found.data), found.etag) if found else (None, "")


def write_schedule(workload: str, record: Wire, etag: str) -> None:
    """Move the record on ("" as etag: make it), unless another tick did meanwhile: then that one stands."""
    blob.write_if_match(_container(), f"schedules/{workload}.json", encode(record), etag=etag)


def is_cancel_requested(run: str) -> bool:
    return blob.exists(_container(), f"runs/{run}/cancel.json")


def request_cancel(run: str, *, who: str, reason: str) -> None:
    """Put it on record that the run shall stop. The first request stands."""
    blob.create_only(_container(), f"runs/{run}/cancel.json", encode({"who": who, "reason": reason}))


def read_all_progress(run: str) -> list[Progress]:
    """The progress of every job of a run that has begun, the newest epoch of each batch."""
    newest: dict[str, str] = {}
    for path in list_paths(f"runs/{run}/progress/"):
        job = path.rsplit("/", 1)[-1].removesuffix(".json")
        newest[job.split("-", 1)[0]] = job  # listed in name order: a later epoch comes later
    return [read_progress(run, job) for job in newest.values()]


def read_trials_progress(run: str) -> list[Progress]:
    """How many of a run's trials have a record, of how many."""
    trials = read(f"runs/{run}/trials.json")
    if trials is None:
        return []
    depth = f"runs/{run}/trials/".count("/")
    done = sum(
        path.count("/") == depth and path.endswith(".json") for path in list_paths(f"runs/{run}/trials/")
    )
    return [Progress(items_total=len(trials), items_done=done)]


def read_progress(run: str, job: str) -> Progress:
    """What the agent said last of its job; pending if it has not begun."""
    data = read(f"runs/{run}/progress/{job}.json")
    if data is None:
        return Progress()
    error = data.pop("error", None) or {}
    return Progress.model_validate(
        {**data, "error_type": error.get("type", ""), "error_message": str(error.get("message", ""))[:2000]}
    )


def _lease_path(folder: str, lease: Lease) -> str:
    return _epoch_path(folder, lease.id, str(lease.epoch))


def _epoch_path(folder: str, lease: str, epoch: str) -> str:
    return f"leases/{folder}/{lease}-e{epoch}.json"


def open_lease(opening: LeaseOpening) -> None:
    """Record the intent before anything is created."""
    create(_lease_path("open", opening.lease), opening)


def close_lease(closing: LeaseClosing) -> None:
    """Record the end. First closed, then no longer open: at no moment is the lease in neither place."""
    create(_lease_path("closed", closing.lease), closing)
    if not closing.remains:
        blob.delete(_container(), _lease_path("open", closing.lease))


def settle_lease(closing: LeaseClosing) -> None:
    """Close a lease of which nothing is left, whether its run closed it with remains or never came to it."""
    claim(_lease_path("closed", closing.lease), closing)
    blob.delete(_container(), _lease_path("open", closing.lease))


def is_lease_closed(lease: Lease) -> bool:
    return blob.exists(_container(), _lease_path("closed", lease))


def is_epoch_closed(lease: str, epoch: str) -> bool:
    """The same for what a resource's tags say. Tags that cannot be ours name no record."""
    return (lease + epoch).isalnum() and blob.exists(_container(), _epoch_path("closed", lease, epoch))


def open_leases() -> Iterator[LeaseOpening]:
    """Every lease whose end is not on record, or that left something behind."""
    for found in blob.list_blobs(_container(), "leases/open/"):
        data = read(found.name)
        if data is not None:
            yield LeaseOpening.model_validate(data)


def write_audit(entry: AuditEntry) -> str:
    """Write one record of a chain and give its hash. Raises ConflictError if another record has its number."""
    record = seal(entry)
    _create(f"audit/{entry.chain}/{entry.seq:06d}.json", record, code="AuditConflict")
    return digest(record)


def storage_now() -> datetime:
    """Blob Storage's own time: the clock that stamps Last-Modified."""
    return blob.service_now(_container())
