"""The agent's own code, in this process: node.agent from the job's reference to its last word, without its children.

The supervisor's bookkeeping, the worker's life and the scorer are the real ones; only the fork server between them is
left out (tests/node has it with real processes). A worker that dies here dies of an exception nobody catches.
"""

from __future__ import annotations

import base64
import importlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, tzinfo
from itertools import batched
from pathlib import Path
from typing import Any, Self
from unittest import mock

from node import (
    agent,
    checkpoints,
    child,
    convert,
    document,
    evaluation,
    frozen,
    progress,
    supervisor,
    training,
    trial,
    unit_evaluation,
    worker,
)
from node.errors import NodeError
from node.job import Shard, decode_reference
from tests.crash import tracked
from tests.crash.conversion import convert_step
from tests.crash.retraining import trained
from tests.crash.strands import OneAfterAnother, Strand


class WorkerDied(BaseException):
    """A worker process was killed, by the kernel or by what it scored."""


class AgentRun:
    """One run of the agent on one machine, as the simulator's executor shows a script."""

    stdout = stderr = ""

    def __init__(
        self,
        name: str,
        reference: dict[str, Any],
        clock: Callable[[], float],
        environment: Mapping[str, str],
    ) -> None:
        self.state, self.exit_code, self.ended = "Running", None, None
        self._clock = clock
        encoded = base64.b64encode(json.dumps(reference).encode()).decode()
        self.strand = Strand(name, lambda: run_agent(encoded, environment))

    exit_code: int | None
    ended: float | None

    def reap(self) -> None:
        """Take note that the strand is over."""
        if not self.strand.over or self.state != "Running":
            return
        killed = self.strand.error is not None
        self._end(-1 if killed else int(self.strand.result), "Canceled" if killed else None)

    def kill(self) -> None:
        self.strand.kill()
        self.reap()

    destroy = kill

    def _end(self, exit_code: int, state: str | None = None) -> None:
        self.exit_code, self.ended = exit_code, self._clock()
        self.state = state or ("Succeeded" if exit_code == 0 else "Failed")


def run_agent(reference: str, environment: Mapping[str, str]) -> int:
    """What `python -m node.agent REFERENCE` does, but for signals and logging."""
    tracked.begin(environment)
    try:
        return agent._run(decode_reference(reference), threading.Event())
    except NodeError as error:
        return error.exit_code


@contextmanager
def in_process(clock: Callable[[tzinfo | None], datetime]) -> Iterator[None]:
    """Within the block an agent has no children, one worker, and tells its progress when there is some."""
    patches: list[AbstractContextManager[Any]] = [
        mock.patch.object(agent, "_fork_server", lambda job: None),
        mock.patch.object(agent, "Supervisor", _Supervisor),
        mock.patch.object(agent, "Reporter", _Reporter),
        mock.patch.object(progress, "datetime", _Now(clock)),
        mock.patch.object(worker, "_belong_to_the_agent", lambda: None),
        mock.patch.object(worker, "log_as_json", lambda: None),
        *(
            mock.patch.object(each, "ThreadPoolExecutor", OneAfterAnother)
            for each in (frozen, training, evaluation, unit_evaluation)
        ),
        mock.patch.object(training, "close_own_memory", lambda: None),
        mock.patch.object(document, "close_own_memory", lambda: None),
        mock.patch.object(trial, "run_child", _train),
        mock.patch.object(trial, "Mirror", _Mirror),
        mock.patch.object(child, "run_child", _run_ours),
        *tracked.patches(),
        mock.patch.object(convert, "run_child", convert_step),
    ]
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield


class _Mirror(checkpoints.Mirror):
    """Mirrors at the end alone, not every ten seconds of wall time on a thread of its own."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mirror()


def _train(command: Sequence[str], *, writable: Path, **_: Any) -> child.Ended:
    """The user's program: what it leaves is the same each time, but for the metric, which is its parameter's."""
    given = dict(batched((word.removeprefix("--") for word in command[2:]), 2, strict=True))
    strength = float(given.get("strength", 0.7))
    tracked.learn(strength, writable / "out")
    for name, data in trained(strength).items():
        (writable / "out" / name).write_bytes(data)
    return child.Ended(code=0, log=b"trained\n", sealed=True, seconds=1.0)


def _run_ours(command: Sequence[str], **_: Any) -> child.Ended:
    """A step of the agent's own, which would be a sealed child: these models are not strangers'."""
    module, arguments = importlib.import_module(command[2]), map(Path, command[3:])
    return child.Ended(code=module.main(*arguments), log=b"", sealed=True, seconds=1.0)


class _Now:
    def __init__(self, clock: Callable[[tzinfo | None], datetime]) -> None:
        self.now = clock


class _Reporter(progress.Reporter):
    """Writes when it is begun, when a shard is over and at the end, instead of every second of wall time."""

    latest: _Reporter

    def start(self) -> None:
        self._write()
        _Reporter.latest = self

    def write_now(self) -> None:
        self._write()


class _Supervisor(supervisor.Supervisor):
    """One worker at a time, called instead of forked."""

    _count = 0

    def _start_worker(self) -> None:
        if self._workers:
            return
        line: Any = _Line(self)
        process: Any = _NoProcess()
        self._workers.append(supervisor._Worker(process, line))
        line.worker = self._workers[-1]

    def _look(self, timeout_s: float) -> None:
        (member,) = self._workers
        self._count += 1
        place = self._setup.work / f"life-{self._count}"
        place.mkdir()
        setup = replace(self._setup, work=place, job=replace(self._setup.job, workers=1))
        pipe: Any = member.pipe
        process: Any = member.process
        try:
            worker.work(setup, pipe)
        except WorkerDied:
            process.exitcode = -9
        self._ended(member)


class _NoProcess:
    exitcode = 0

    def join(self) -> None: ...

    def kill(self) -> None: ...


class _Line:
    """Both ends of the pipe between supervisor and worker: what one sends, the other has heard."""

    worker: supervisor._Worker

    def __init__(self, owner: _Supervisor) -> None:
        self._owner = owner
        self._next: list[Shard | None] = []

    def send(self, said: Any) -> None:
        if said is None or isinstance(said, Shard):
            self._next.append(said)
            return
        self._owner._heard(self.worker, *said)

    def recv(self) -> Shard | None:
        if not self._next:
            raise EOFError
        return self._next.pop(0)
