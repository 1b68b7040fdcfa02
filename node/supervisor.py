"""Workers, and what happens when one dies: its input is held to account, a fresh worker takes the shard again."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from node.attempts import Ledger
from node.errors import BY_KIND, ModelLoadError, NodeError, Stopped, StorageRefused
from node.job import Shard
from node.progress import Progress
from node.storage import Store
from node.worker import Setup, work

logger = logging.getLogger(__name__)
_LOOK_S = 0.5  # how soon a request to stop is noticed
_GRACE_S = 5.0  # for shards in work when the agent is told to stop: Spot gives 30 s in all
_FORKSERVER_LOST = 255  # multiprocessing's exit code for "the fork server went first": nobody's fault


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    ready: bool = False
    shard: Shard | None = None
    in_flight: list[int] = field(default_factory=list)


class Supervisor:
    """Scores the shards of one job on `workers` processes. `stop` may be set from a signal handler."""

    def __init__(
        self,
        context: ForkServerContext,
        setup: Setup,
        store: Store,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._context, self._setup, self._store, self._progress = context, setup, store, progress
        self._stop = stop
        self._waiting: deque[Shard] = deque()
        self._workers: list[_Worker] = []
        self._load_deaths = 0

    def run(self, shards: list[Shard]) -> None:
        """Returns when every shard is committed or failed (see progress). Raises what ends the whole job."""
        self._waiting.extend(shards)
        try:
            for _ in range(min(self._setup.job.workers, len(shards))):
                self._start_worker()
            while self._workers:
                if self._stop.is_set():
                    self._wind_down()
                self._look(_LOOK_S)
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()

    def _start_worker(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(self._setup, theirs), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))

    def _look(self, timeout_s: float) -> None:
        """Take what the workers say. What one said before it died is read first."""
        pipes = [worker.pipe for worker in self._workers]
        ready = wait([*pipes, *(worker.process.sentinel for worker in self._workers)], timeout_s)
        for worker in list(self._workers):
            # The sentinel too: what user code started may hold the pipe open after the worker is gone.
            gone = worker.process.sentinel in ready
            if gone or worker.pipe in ready:
                self._listen(worker, gone)

    def _listen(self, worker: _Worker, gone: bool) -> None:
        try:
            while worker.pipe.poll():
                self._heard(worker, *worker.pipe.recv())
        except (EOFError, ConnectionResetError, BrokenPipeError):
            gone = True
        if gone:
            self._ended(worker)

    def _heard(self, worker: _Worker, event: str, value: Any) -> None:
        shard_id = worker.shard.id if worker.shard else ""
        match event:
            case "ready":
                worker.ready = True
                self._give(worker)
            case "broken":
                kind, message = value
                raise BY_KIND[kind](message)
            case "begin":
                worker.in_flight = value
            case "item":
                _, status, rows = value
                self._progress.item_done(shard_id, status, rows)
            case "done":
                self._progress.shard_done(shard_id, value)
                logger.info("shard done", extra={"shard": shard_id})
                self._give(worker)
            case "failed":
                self._shard_failed(shard_id, *value)
                self._give(worker)

    def _give(self, worker: _Worker) -> None:
        worker.in_flight = []
        worker.shard = self._waiting.popleft() if self._waiting and not self._stop.is_set() else None
        if worker.shard:
            self._progress.shard_started(worker.shard.id)
        worker.pipe.send(worker.shard)

    def _shard_failed(self, shard_id: str, kind: str, message: str) -> None:
        logger.error("shard failed: %s", message, extra={"shard": shard_id})
        self._progress.shard_failed(shard_id, f"{kind}: {message}")
        if issubclass(BY_KIND[kind], StorageRefused):
            raise StorageRefused(message)  # the next shard would be refused as well

    def _ended(self, worker: _Worker) -> None:
        worker.process.join()
        self._workers.remove(worker)
        code = worker.process.exitcode or 0
        if worker.shard is None and worker.ready:
            return
        said = _how_it_ended(code)
        logger.warning("worker died: %s", said, extra={"shard": worker.shard.id if worker.shard else None})
        if code == _FORKSERVER_LOST:
            raise NodeError(f"a worker was lost with the fork server: {said}")
        if worker.shard is None:
            self._died_on_load(said)
        else:
            self._hold_to_account(worker.shard, worker.in_flight, said)
        self._start_worker()

    def _died_on_load(self, said: str) -> None:
        self._load_deaths += 1
        if self._load_deaths >= self._setup.job.attempts:
            raise ModelLoadError(f"{said} while loading the model, {self._load_deaths} times")

    def _hold_to_account(self, shard: Shard, in_flight: list[int], said: str) -> None:
        Ledger(self._store, self._setup.job, shard).died(
            in_flight, f"the process was {said} while it was scored"
        )
        self._waiting.appendleft(shard)

    def _wind_down(self) -> None:
        """Let shards in work finish for a while, then end them: a commit is one request, it happened or it did not."""
        deadline = time.monotonic() + _GRACE_S
        left = len(self._waiting)
        self._waiting.clear()
        while any(worker.shard for worker in self._workers) and time.monotonic() < deadline:
            self._look(0.1)
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            if worker.shard:
                left += 1
                Ledger(self._store, self._setup.job, worker.shard).excuse()
        self._workers.clear()
        raise Stopped(f"stopped by SIGTERM with {left} shards not scored")


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
