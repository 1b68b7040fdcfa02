"""Audit records: who did what to what, and why, each bound to the one before it by hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime

from shared.domain.wire import Wire

GENESIS = "0" * 64


class AuditEntry(Wire):
    """One record. `chain` is the orchestration that wrote it; `seq` counts from 1; `prev` is the link before."""

    chain: str
    seq: int
    prev: str
    at: datetime
    who: str
    what: str
    target: str
    why: str = ""
    before: str = ""
    after: str = ""


class AuditLink(Wire):
    digest: str


def seal(entry: AuditEntry) -> bytes:
    """The record's bytes as stored; its SHA-256 is the next record's `prev`. The same entry gives the same bytes."""
    return json.dumps(entry.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def digest(record: bytes) -> str:
    return hashlib.sha256(record).hexdigest()


def verify_chain(records: Iterable[bytes]) -> list[str]:
    """What is wrong with one chain's records, in order: changed, dropped, reordered. Empty when it verifies.

    A chain cut at its end verifies here; its last record must be compared with the head named in the run's outcome.
    """
    faults: list[str] = []
    expected_prev = GENESIS
    for seq, record in enumerate(records, start=1):
        try:
            entry = AuditEntry.model_validate_json(record)
        except ValueError:
            faults.append(f"record {seq}: is not an audit record")
        else:
            if entry.seq != seq:
                faults.append(f"record {seq}: bears number {entry.seq}")
            if entry.prev != expected_prev:
                faults.append(f"record {seq}: does not follow the record before it")
        expected_prev = digest(record)
    return faults
