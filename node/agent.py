"""Do one job on this machine: `python -m node.agent JOBREF`. Score; or train, evaluate, measure drift (see kinds.py).

JOBREF is base64 of {"account_url", "container", "blob", "sha256", "client_id"}. Exit codes: see errors.py. How it goes
is in the job's progress blob; what was done is in create-only records. Start it again, here or elsewhere, and it goes
on where storage says it was.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path

from node.archive import unpack
from node.arithmetic import ARITHMETIC
from node.errors import BY_KIND, CodeLoadError, JobSpecError, NodeError, reason_of
from node.job import (
    JOB_MAX_BYTES,
    Head,
    JobReference,
    ScoreJob,
    Shard,
    decode_reference,
    parse_address,
    parse_job,
)
from node.kinds import Errand, errand_of
from node.logs import log_as_json
from node.models import fetch_model
from node.progress import Progress, Reporter
from node.records import recorded
from node.storage import NotThere, Store
from node.supervisor import Supervisor
from node.worker import Setup, preloads

logger = logging.getLogger("node.agent")
_CODE_MAX_BYTES = 256 * 1024 * 1024
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str]) -> int:
    log_as_json()
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    try:
        if len(arguments) != 1:
            raise JobSpecError("usage: python -m node.agent JOBREF")
        return _run(decode_reference(arguments[0]), stop)
    except NodeError as error:
        logger.error("job not run: %s", reason_of(error), extra={"error": error.kind})
        return error.exit_code


def _run(reference: JobReference, stop: threading.Event) -> int:
    store = Store(reference.account_url, reference.client_id)
    store.sign_in()
    raw = _job_bytes(store, reference)
    try:
        errand = errand_of(raw, reference.account_url)
        job = errand.head if errand else parse_job(raw, reference.account_url)
    except JobSpecError as error:
        _say_unusable(store, raw, error)
        raise
    if isinstance(job, Head):
        assert errand is not None
        return _report(store, job, errand.parts, lambda progress: _do(errand, store, progress, stop))
    parts = (len(job.shards), sum(len(shard.items) for shard in job.shards))
    return _report(store, job, parts, lambda progress: _score(reference, store, job, progress, stop))


def _report(
    store: Store, job: ScoreJob | Head, parts: tuple[int, int], work: Callable[[Progress], NodeError | None]
) -> int:
    """Do the work while the job's progress is told. The exit code."""
    progress = Progress(job.job, *parts)
    reporter = Reporter(store, job.state_container, job.state_blob("progress", job.job), progress)
    reporter.start()
    logger.info("job begun", extra={"run": job.run, "job": job.job, "shards": parts[0]})
    failure = work(progress)
    progress.finish(failure)
    reporter.stop()
    said = {"error": failure.kind, "reason": reason_of(failure)} if failure else {}
    logger.info("job over", extra={"run": job.run, "job": job.job, **said})
    return failure.exit_code if failure else 0


def _do(errand: Errand, store: Store, progress: Progress, stop: threading.Event) -> NodeError | None:
    """Do what is no scoring. The error that the job ends with, if any."""
    work = Path(tempfile.mkdtemp(prefix=f"muster-{errand.head.job}-"))
    try:
        errand.carry_out(store, progress, stop, work)
    except NodeError as error:
        return error
    except Exception as error:  # the process edge: whoever waits must see that it ended, and of what
        logger.exception("the agent failed")
        return NodeError(reason_of(error))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return None


def _score(
    reference: JobReference, store: Store, job: ScoreJob, progress: Progress, stop: threading.Event
) -> NodeError | None:
    """Score what has no record yet. The error that the job ends with, if any."""
    work = Path(tempfile.mkdtemp(prefix=f"muster-{job.job}-"))
    try:
        shards = _still_to_score(store, job, progress)
        if shards:
            context = _fork_server(job)
            setup = _set_up(reference, store, job, work)
            Supervisor(context, setup, store, progress, stop).run(shards)
    except NodeError as error:
        return error
    except Exception as error:  # the process edge: whoever waits must see that it ended, and of what
        logger.exception("the agent failed")
        return NodeError(reason_of(error))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _first_failure(progress)


def _job_bytes(store: Store, reference: JobReference) -> bytes:
    try:
        raw = store.read(reference.container, reference.blob, max_bytes=JOB_MAX_BYTES)
    except NotThere as error:
        raise JobSpecError(str(error)) from error
    found = hashlib.sha256(raw).hexdigest()
    if found != reference.sha256:
        raise JobSpecError(f"{reference.blob}: sha256 {found}, promised {reference.sha256}")
    return raw


def _say_unusable(store: Store, raw: bytes, error: JobSpecError) -> None:
    """Tell whoever waits for the job's progress, if the job at least says where that is."""
    try:
        name, container, prefix = parse_address(raw)
    except JobSpecError:
        return
    progress = Progress(name, 0, 0)
    progress.finish(error)
    Reporter(store, container, f"{prefix.rstrip('/')}/progress/{name}.json", progress).stop()


def _still_to_score(store: Store, job: ScoreJob, progress: Progress) -> list[Shard]:
    done = recorded(store, job)
    for shard_id, record in done.items():
        progress.shard_done(shard_id, record)
    return [shard for shard in job.shards if shard.id not in done]


def _fork_server(job: ScoreJob) -> ForkServerContext:
    """Workers come from a process that has the libraries loaded and no threads: a fresh one costs milliseconds."""
    os.environ |= ARITHMETIC
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preloads(job))
    resource_tracker.ensure_running()  # it unblocks signals after itself, so it goes first
    signal.pthread_sigmask(
        signal.SIG_BLOCK, _SIGNALS
    )  # inherited: a signal to our group must not end the fork server
    ensure_running()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return context


def _set_up(reference: JobReference, store: Store, job: ScoreJob, work: Path) -> Setup:
    """Model and code on the disk, with the hashes that were promised."""
    model_folder, code_folder = work / "model", work / "code"
    model_folder.mkdir()
    code_folder.mkdir()
    card = fetch_model(store, job.model, model_folder) if job.model else None
    if job.code:
        try:
            data = store.read(job.code.container, job.code.blob, max_bytes=_CODE_MAX_BYTES)
        except NotThere as error:
            raise CodeLoadError(str(error)) from error
        if hashlib.sha256(data).hexdigest() != job.code.sha256:
            raise CodeLoadError(f"{job.code.blob}: its sha256 is not {job.code.sha256}")
        unpack(data, code_folder)
    return Setup(replace(job, shards=()), reference.client_id, card, model_folder, code_folder, work)


def _first_failure(progress: Progress) -> NodeError | None:
    failed = progress.failed
    if not failed:
        return None
    shard, reason = min(failed.items())
    kind, _, message = reason.partition(": ")
    return BY_KIND[kind](f"{len(failed)} shards failed; shard {shard}: {message}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
