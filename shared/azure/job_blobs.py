"""Jobs as blobs: what an agent is to do, written once under its id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from shared.azure import agent, blob, ledger
from shared.config import settings
from shared.domain.jobs import BlobRef, JobRequest, WrittenJob

type Document = Mapping[str, Any]


def job_head(schema: str, run: str, job: str) -> dict[str, Any]:
    """What every job begins with."""
    return {
        "schema": schema,
        "run": run,
        "job": job,
        "account_url": settings().storage_account_url,
        "state": {"container": settings().state_container, "prefix": f"runs/{run}/"},
    }


def write_once(
    run: str,
    job: str,
    make: Callable[[], Document | None],
    *,
    timeout_s: int,
    parts: Callable[[Document], int],
) -> WrittenJob:
    """The job stored under its id; made by the first call, unless there is nothing to do (None).

    A later call that would make another finds the first one's: that one is under way. `parts` counts what it does.
    """
    container, path = settings().state_container, f"runs/{run}/jobs/{job}.json"
    stored = blob.read_or_none(container, path)
    if stored is None:
        document = make()
        if document is None:
            return WrittenJob()
        blob.create_only(container, path, ledger.encode(document))
        stored = blob.read(container, path)
    ref = BlobRef(container=container, blob=path, sha256=hashlib.sha256(stored).hexdigest())
    return WrittenJob(
        job=JobRequest(id=job, agent=agent.upload_agent(), job=ref, timeout_s=timeout_s),
        open_shards=parts(json.loads(stored)),
    )
