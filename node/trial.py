"""One trial: the user's program in a sealed child, its checkpoints kept, its output checked and stored, its record.

Safe to repeat at any point, by anyone: the record is created once, and names artifacts by their own hash.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.checkpoints import Mirror
from node.child import Ended, clean_environment, run_child
from node.errors import ItemFault
from node.storage import Store
from node.tracking import Reports, Run
from node.train_job import Scalar, TrainJob, Trial
from node.trial_output import TrialOutput, collect_output

logger = logging.getLogger(__name__)
_JSON, _BINARY, _TEXT = "application/json", "application/octet-stream", "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Bench:
    """What the trials of a job share on this machine."""

    store: Store
    job: TrainJob
    label: str
    code: Path
    work: Path


def run_trial(bench: Bench, trial: Trial, data: Path, halt: threading.Event) -> dict[str, Any]:
    """Train, store, record; the record that is in storage afterwards. Raises NodeError: then there is none of ours."""
    head = bench.job.head
    writable = bench.work / "trials" / trial.id
    out, kept, home = (writable / name for name in ("out", "checkpoint", "home"))
    for folder in (out, kept, home):
        folder.mkdir(parents=True)
    mirror = Mirror(bench.store, head.state_container, f"{head.path('checkpoints', trial.id)}/", kept)
    restored = mirror.restore()
    logger.info("trial begun", extra={"run": head.run, "trial": trial.id, "restored": restored})
    run = Run.of(os.environ) if bench.job.azure_run else None
    reports = Reports(run, bench.job.metric, out) if run else None
    with mirror, reports or nullcontext():
        ended = _train(bench, trial, data, writable, halt)
    bench.store.replace(head.state_container, head.path("trials", trial.id, "log.txt"), ended.log, _TEXT)
    output: TrialOutput | None = None
    reason = ""
    try:
        output = _output(ended, bench, out, writable)
    except ItemFault as fault:
        reason = str(fault)
    record = record_trial(bench.store, bench.job, trial, output, reason, ended.seconds)
    report(run, bench.job, record, reports.steps if reports else 0)
    return record


def report(run: Run | None, job: TrainJob, record: dict[str, Any], step: int) -> None:
    """Tell Azure ML what a trial of a sweep came to, by its record. A failed one has no metric."""
    value = record["metrics"].get(job.metric) if run and record["status"] == "valid" else None
    if run and isinstance(value, int | float):
        run.log(job.metric, float(value), step)


def record_trial(
    store: Store, job: TrainJob, trial: Trial, output: TrialOutput | None, reason: str, seconds: float
) -> dict[str, Any]:
    """Store the artifacts, then, create-only, the record; the one that is there then, ours or a twin's."""
    container, blob = job.head.state_container, job.head.state_blob("trials", trial.id)
    record = {
        "schema": "muster.trial/1",
        "trial": trial.id,
        "job": job.head.job,
        "status": "valid" if output else "failed",
        "reason": reason,
        "metrics": output.metrics if output else {},
        "parameters": job.parameters,
        "unit": {"column": job.unit_column, "value": trial.unit} if job.unit_column else None,
        "model": _stored(store, job, trial, output) if output else None,
        "seconds": round(seconds, 3),
        "azure_run": os.environ.get("AZUREML_RUN_ID"),
    }
    store.create(container, blob, json.dumps(record, indent=1).encode(), content_type=_JSON)
    found: dict[str, Any] = json.loads(store.read(container, blob))
    logger.info("trial over", extra={"trial": trial.id, "status": found["status"], "reason": found["reason"]})
    return found


def _train(bench: Bench, trial: Trial, data: Path, writable: Path, halt: threading.Event) -> Ended:
    job = bench.job
    arguments: dict[str, Scalar | Path] = {
        "data": data,
        "label": bench.label,
        "out": writable / "out",
        "checkpoint": writable / "checkpoint",
    }
    told = {
        "MUSTER_RUN": job.head.run,
        "MUSTER_TRIAL": trial.id,
        **({"MUSTER_UNIT_COLUMN": job.unit_column} if job.unit_column else {}),
        **({"MUSTER_UNIT": trial.unit} if trial.unit is not None else {}),
    }
    command = [sys.executable, job.code.entry]
    for name, value in (arguments | job.parameters).items():
        command += [f"--{name}", _word(value)]
    return run_child(
        command,
        folder=bench.code,
        writable=writable,
        environment=clean_environment(writable / "home", told),
        stop=halt,
        timeout_s=job.timeout_s,
    )


def _word(value: Scalar | Path) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _output(ended: Ended, bench: Bench, out: Path, writable: Path) -> TrialOutput:
    if ended.code is None:
        raise ItemFault(f"cut off after {bench.job.timeout_s} s")
    if ended.code != 0:
        raise ItemFault(ended.words)
    safe = bench.work / "taken" / writable.name
    safe.mkdir(parents=True)
    return collect_output(out, bench.label, safe)


def _stored(store: Store, job: TrainJob, trial: Trial, output: TrialOutput) -> dict[str, Any]:
    """A folder of its own for each content: what a record names was never written over by another try."""
    container = job.head.state_container
    prefix = f"{job.head.path('trials', trial.id, output.digest[:16])}/"
    with output.model.open("rb") as model:
        store.create(container, prefix + output.model.name, model, content_type=_BINARY)
    for name, data in output.documents.items():
        store.create(container, prefix + name, data, content_type=_JSON)
    return {
        "container": container,
        "prefix": prefix,
        "file": output.model.name,
        "sha256": output.sha256,
        "flavor": output.flavor,
        "size": output.card["size"],
    }
