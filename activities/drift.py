"""A drift run's data: both sides frozen, the job written, what was measured read and reported."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from shared.azure import blob, event_ledger, job_blobs, ledger, training_data
from shared.azure.blob import Found
from shared.config import settings
from shared.domain import names
from shared.domain.drift import (
    MAX_BLOBS,
    SOURCE,
    Comparison,
    DriftJobRequest,
    DriftMonitor,
    DriftOutcome,
    DriftReport,
    DriftRequest,
    FeatureDrift,
    Measurement,
    Reported,
    drift_event,
    judge_features,
)
from shared.domain.errors import JobFailed, NotFoundError, SpecError
from shared.domain.jobs import BlobRef, WrittenJob
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing

SCHEMA = "muster.drift-job/1"
AGENT_PATIENCE = timedelta(days=1)  # the longest the agent lets itself be told


@activity(contracts.FREEZE_COMPARISON)
def freeze_comparison(request: DriftRequest) -> Comparison:
    """List both sides once and keep that in a create-only manifest; called again, it gives what was frozen first."""
    path = f"runs/{request.run}/data.json"
    frozen = ledger.read(path)
    if frozen is None:
        ledger.claim(path, _sides(request.workload))
        frozen = _frozen(path)
    return Comparison(
        manifest=BlobRef(container=settings().state_container, blob=path),
        reference_blobs=len(frozen["reference"]),
        target_blobs=len(frozen["target"]),
    )


def _sides(monitor: DriftMonitor) -> dict[str, list[dict[str, Any]]]:
    target, reference = monitor.target, monitor.reference
    newest = list(training_data.list_data(target))[-target.newest :]
    taken = {each.name for each in newest} if target.container == reference.container else set()
    others = (each for each in training_data.list_data(reference) if each.name not in taken)
    return {
        "reference": training_data.as_items(reference.container, _chosen(others, monitor)),
        "target": training_data.as_items(target.container, newest),
    }


def _chosen(listed: Iterable[Found], monitor: DriftMonitor) -> Sequence[Found]:
    reference = monitor.reference
    if reference.newest is not None:
        return list(listed)[-reference.newest :]
    found = list(itertools.islice(listed, reference.oldest or MAX_BLOBS + 1))
    if len(found) > MAX_BLOBS:
        raise SpecError(
            f"reference: there are more than {MAX_BLOBS:,} blobs under "
            f"{reference.container}/{reference.prefix}; say how many in reference.newest or reference.oldest"
        )
    return found


@activity(contracts.WRITE_DRIFT_JOB)
def write_drift_job(request: DriftJobRequest) -> WrittenJob:
    """The job that measures. The result is there: there is no job."""
    measure, asked = request.measure, request.measure.request
    job = names.train_job_id("drift", request.epoch, request.attempt)
    timeout_s = int(min(asked.workload.limits.deadline, AGENT_PATIENCE).total_seconds())

    def make() -> dict[str, Any] | None:
        if ledger.exists(_result(asked.run)):
            return None
        return {
            **job_blobs.job_head(SCHEMA, asked.run, job),
            **_frozen(measure.comparison.manifest.blob),
            "features": None if asked.workload.features is None else list(asked.workload.features),
            "timeout_s": timeout_s,
        }

    return job_blobs.write_once(asked.run, job, make, timeout_s=timeout_s, parts=lambda _: 1)


@activity(contracts.READ_MEASUREMENT)
def read_measurement(request: DriftRequest) -> Measurement:
    """What the machine left. Raises JobFailed when that is no measurement: what a machine wrote is believed if it is."""
    path = _result(request.run)
    data = blob.read_or_none(settings().state_container, path)
    if data is None:
        raise JobFailed(f"the job ended well, and left no {path}")
    try:
        found = tuple(FeatureDrift.model_validate(each) for each in json.loads(data)["features"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise JobFailed(f"{path} is no measurement: {str(error)[:300]}") from error
    return judge_features(found, request.workload)


@activity(contracts.REPORT_DRIFT)
def report_drift(report: DriftReport) -> Reported:
    """Put the measurement into the ledger of events, where the next tick finds it unconsidered. Safe to repeat."""
    event = drift_event(report)
    event_ledger.record(event, origin=SOURCE, to_consider=True)
    return Reported(key=event.key)


@activity(contracts.RECORD_DRIFT)
def record_drift(outcome: DriftOutcome) -> Nothing:
    """How the run ended, for ever."""
    ledger.create(f"runs/{outcome.run}/outcome.json", outcome)
    return Nothing()


def _result(run: str) -> str:
    return f"runs/{run}/drift.json"


def _frozen(path: str) -> dict[str, Any]:
    frozen: dict[str, Any] | None = ledger.read(path)
    if frozen is None:
        raise NotFoundError(f"{path} is gone; it was frozen by this run", code="BlobNotFound")
    return frozen
