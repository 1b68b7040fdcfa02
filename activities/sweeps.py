"""Sweep jobs: the search written, submitted, looked at, and what its children came to put on record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from activities.training import AGENT_GRACE_S, SCHEMA, read_plan, record_path
from shared.azure import agent, blob, job_blobs, ledger, ml_sweeps
from shared.config import settings
from shared.domain import names
from shared.domain.jobs import BlobRef
from shared.domain.lease import Operation
from shared.domain.retraining import Scalar
from shared.domain.sweep import (
    SweepChild,
    SweepClosed,
    SweepClosing,
    SweepLook,
    SweepQuery,
    SweepRequest,
    SweepSpec,
    SweepStep,
    WrittenSweep,
)
from shared.domain.trials import Trial
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.platforms import platform


@activity(contracts.WRITE_SWEEP)
def write_sweep(request: SweepRequest) -> WrittenSweep:
    """The sweep for the trials that have no record yet, written once. All of them have one: there is no sweep.

    Points of a grid are trials known beforehand, and its children find their own; other points are Azure ML's to draw.
    """
    asked, lease = request.trials, request.lease
    run, trials = asked.request.run, asked.request.workload.trials
    planned, id_ = read_plan(asked.plan), names.sweep_job_id(lease.epoch)
    open_ = [trial for trial in planned if not ledger.exists(record_path(run, trial.id))]
    slots = planned if trials.sampling == "grid" else open_

    def make() -> dict[str, object] | None:
        return _children_job(request, id_, slots) if open_ else None

    trial_timeout_s = int(trials.timeout.total_seconds())
    written = job_blobs.write_once(
        run, id_, make, timeout_s=request.within_s, parts=lambda job: len(job["sweep"]["trials"])
    )
    if written.job is None:
        return WrittenSweep()
    search = ml_sweeps.search(
        trials,
        total=written.open_shards,
        epoch=lease.epoch,
        trial_timeout_s=trial_timeout_s + AGENT_GRACE_S,
        timeout_s=request.within_s,
    )
    return WrittenSweep(
        sweep=SweepSpec(
            id=id_,
            agent=written.job.agent,
            job=written.job.job,
            search=_written(f"runs/{run}/jobs/{id_}-search.json", search),
            trials=written.open_shards,
            data_asset=asked.data.asset,
        )
    )


def _children_job(request: SweepRequest, id_: str, slots: Sequence[Trial]) -> dict[str, object]:
    """One job for all children: which of the trials is whose, each finds out where it runs."""
    asked, lease = request.trials, request.lease
    trials = asked.request.workload.trials
    return {
        **job_blobs.job_head(SCHEMA, asked.request.run, id_),
        "data": asked.data.manifest.model_dump(mode="json"),
        "code": agent.upload_training_code(asked.request.workload),
        "timeout_s": int(trials.timeout.total_seconds()),
        "parameters": {},
        "sweep": {
            "name": names.cluster_job_name(lease.id, lease.epoch, id_),
            "metric": trials.metric,
            "trials": [{"id": trial.id, "parameters": trial.parameters} for trial in slots],
            "space": {name: ml_sweeps.values(each) for name, each in trials.space.items()},
        },
    }


def _written(path: str, search: dict[str, object]) -> BlobRef:
    """The search as the first call wrote it: a later one may have had less time left."""
    container = settings().state_container
    blob.create_only(container, path, ledger.encode(search))
    stored = blob.read(container, path)
    return BlobRef(container=container, blob=path, sha256=hashlib.sha256(stored).hexdigest())


@activity(contracts.SUBMIT_SWEEP)
def submit_sweep(step: SweepStep) -> Operation:
    """Submit the search; the same sweep twice is one sweep."""
    return platform(step.lease.platform).sweeps.submit_sweep(step.lease, step.sweep)


@activity(contracts.OBSERVE_SWEEP)
def observe_sweep(query: SweepQuery) -> SweepLook:
    """Look once at the sweep and its children. The answer is small however many they are."""
    look = platform(query.lease.platform).sweeps.observe_sweep(query.lease, query.sweep)
    cancel = ledger.is_cancel_requested(query.lease.owner)
    return look.model_copy(update={"cancel_requested": cancel, "message": look.message[:1000]})


@activity(contracts.CLOSE_SWEEP)
def close_sweep(closing: SweepClosing) -> SweepClosed:
    """Record what became of the children that could not do so: stopped early by the policy, or failed by Azure's word.

    Create-only, as the agent's own records: one that is there counts. Children that a sweep's own end cut off get none.
    """
    sweeps, spec = platform(closing.lease.platform).sweeps, closing.sweep
    unfinished = sweeps.list_unfinished(closing.lease, spec.id)
    if not unfinished:
        return SweepClosed()
    job = ledger.read(spec.job.blob) or {}
    recorded = 0
    for child in unfinished:
        if trial := _trial_of(child, job["sweep"]["trials"]):
            recorded += ledger.claim(record_path(closing.run, trial), _record(closing, child, trial))
    return SweepClosed(recorded=recorded)


def _trial_of(child: SweepChild, slots: Sequence[dict[str, Any]]) -> str:
    """The trial that the child was to fill, as its agent finds it (node/sweep.py); "" if it is none."""
    if slots[0]["parameters"]:
        words = _words(child.parameters)
        return next((str(slot["id"]) for slot in slots if _words(slot["parameters"]) == words), "")
    return str(slots[child.number]["id"]) if child.number < len(slots) else ""


def _words(parameters: Mapping[str, Scalar]) -> dict[str, str]:
    return {name: ml_sweeps.word(value) for name, value in parameters.items()}


def _record(closing: SweepClosing, child: SweepChild, trial: str) -> dict[str, object]:
    stopped = ml_sweeps.STOPPED_EARLY if closing.stops_early else "cancelled in Azure ML"
    said = child.reason or "its run failed"
    return {
        "schema": "muster.trial/1",
        "trial": trial,
        "job": f"{closing.sweep.id}_{child.number}",
        "status": "failed",
        "reason": (child.reason or stopped) if child.stopped else said,
        "metrics": {},
        "parameters": child.parameters,
        "unit": None,
        "model": None,
        "seconds": 0.0,
        "azure_run": child.name,
    }
