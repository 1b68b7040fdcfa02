"""A training job, from its frozen data to a record for each trial. What has a record is never trained again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from node.archive import unpack
from node.child import close_own_memory, run_ours
from node.errors import CodeLoadError, NodeError, Stopped
from node.frozen import fetch_items, read_frozen, read_promised
from node.job import Head
from node.progress import Progress
from node.storage import Store
from node.sweep import as_child, parse_sweep
from node.tracking import Run
from node.train_job import TrainJob, Trial, parse_train_job
from node.trial import Bench, record_trial, report, run_trial
from node.units import RESULT, SPECIFICATION

_CODE_MAX_BYTES = 256 * 1024 * 1024
_RECORD_MAX_BYTES = 1024 * 1024
_SPLIT_TIMEOUT_S = 3600.0
_LOOK_S = 0.2


def errand_of(raw: bytes, account_url: str) -> Training:
    """In a child of a sweep, the job that is this child's."""
    job = parse_train_job(raw, account_url)
    return Training(job if job.sweep is None else as_child(job, parse_sweep(job.sweep), os.environ))


@dataclass(frozen=True)
class Training:
    job: TrainJob

    @property
    def head(self) -> Head:
        return self.job.head

    @property
    def parts(self) -> tuple[int, int]:
        return len(self.job.trials), len(self.job.trials)

    def carry_out(self, store: Store, progress: Progress, stop: threading.Event, work: Path) -> None:
        """Train what has no record yet. A trial that fails by its own fault is done: its record says why."""
        close_own_memory()
        todo = _still_to_train(store, self.job, progress)
        if not todo:
            _tell_again(store, self.job)
            return
        frozen = read_frozen(store, self.job.data)
        code, data = work / "code", work / "data"
        code.mkdir()
        data.mkdir()
        if fault := _unpack_code(store, self.job, code):
            for trial in todo:
                _count(progress, record_trial(store, self.job, trial, None, fault, 0.0))
            return
        fetch_items(store, frozen.train, data, stop)
        bench = Bench(store, self.job, frozen.label, code, work)
        if self.job.unit_column is None:
            folders = dict.fromkeys((trial.id for trial in todo), data)
        else:
            folders, todo = _split(bench, todo, data, progress, stop)
        _train_all(bench, todo, folders, progress, stop)


def _still_to_train(store: Store, job: TrainJob, progress: Progress) -> list[Trial]:
    """One listing, however many trials the job has."""
    container, todo = job.head.state_container, list[Trial]()
    common = job.trials[0].id if len(job.trials) == 1 else ""
    there = set(store.names(container, job.head.path("trials", common)))
    for trial in job.trials:
        blob = job.head.state_blob("trials", trial.id)
        if blob in there:
            _count(progress, json.loads(store.read(container, blob, max_bytes=_RECORD_MAX_BYTES)))
        else:
            todo.append(trial)
    return todo


def _tell_again(store: Store, job: TrainJob) -> None:
    """A sweep's child whose trial was done before: what it came to is what the sweep may compare."""
    if job.azure_run:
        record = store.read(job.head.state_container, job.head.state_blob("trials", job.trials[0].id))
        report(Run.of(os.environ), job, json.loads(record), 0)


def _count(progress: Progress, record: dict[str, str]) -> None:
    progress.part_done(record["trial"], good=record["status"] == "valid")


def _unpack_code(store: Store, job: TrainJob, folder: Path) -> str | None:
    """The user's fault in it, if any: no other machine would find the code better."""
    try:
        unpack(read_promised(store, job.code.source, _CODE_MAX_BYTES), folder)
    except CodeLoadError as error:
        return str(error)
    return None if (folder / job.code.entry).is_file() else f"the code has no file {job.code.entry}"


def _split(
    bench: Bench, todo: Sequence[Trial], data: Path, progress: Progress, stop: threading.Event
) -> tuple[dict[str, Path], list[Trial]]:
    """A folder for each unit with its rows alone. A unit without rows is a trial that failed."""
    folder = bench.work / "units"
    folder.mkdir()
    units = {trial.id: trial.unit for trial in todo}
    specification = {"data": str(data), "column": bench.job.unit_column, "units": units}
    (folder / SPECIFICATION).write_text(json.dumps(specification))
    ended = run_ours("node.units", str(folder), writable=folder, stop=stop, timeout_s=_SPLIT_TIMEOUT_S)
    if ended.code != 0:
        raise NodeError(f"the data could not be split by {bench.job.unit_column}: {ended.words}")
    result = json.loads((folder / RESULT).read_bytes())
    left = []
    for trial in todo:
        reason = result["fault"] or (None if result["rows"][trial.id] else f"no row with {trial.unit}")
        if reason:
            _count(progress, record_trial(bench.store, bench.job, trial, None, reason, 0.0))
        else:
            left.append(trial)
    return {trial.id: folder / trial.id for trial in left}, left


def _train_all(
    bench: Bench, todo: Sequence[Trial], folders: dict[str, Path], progress: Progress, stop: threading.Event
) -> None:
    """`workers` at once. The first that storage fails ends the others: the job is to be started again."""
    halt = threading.Event()

    def train(trial: Trial) -> None:
        if halt.is_set():
            raise Stopped(f"{trial.id} was not begun")
        progress.shard_started(trial.id)
        _count(progress, run_trial(bench, trial, folders[trial.id], halt))

    with ThreadPoolExecutor(bench.job.workers) as pool:
        running = [pool.submit(train, trial) for trial in todo]
        try:
            _see_through(running, stop)
        finally:
            halt.set()
    for future in running:
        future.result()


def _see_through(running: list[Future[None]], stop: threading.Event) -> None:
    while not stop.is_set():
        done, waiting = wait(running, _LOOK_S, FIRST_EXCEPTION)
        if not waiting:
            return
        for future in done:
            future.result()
