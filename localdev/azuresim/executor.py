"""Runs the scripts of a simulated machine as real child processes, the way Azure's Linux agent runs them.

Source: Azure/run-command-handler-linux, internal/exec/exec.go (0eacc04), internal/cmds/cmds.go (0285bd6),
internal/commandProcessor/commandProcessor.go (054ba06). What it does, and what is imitated here:

- The script text is written, unchanged, to `script.sh` (mode 0500) in a directory of its own, which is also
  its working directory; `stdout` and `stderr` are files in it. It is run by `/bin/bash -c
  "<path><arguments>"`, so a `#!` line chooses another interpreter.
- Parameters, first the plain, then the protected ones: a *named* parameter becomes an environment variable
  of that name and nothing else; a parameter without a name is appended to the command line, unquoted, with
  a space before it, so the shell splits and expands it. A parameter with an empty value is dropped. A later
  name wins.
- The instance view carries the last 4,096 bytes of each stream. Exit code -1 stands for "ended by a
  signal", which is also what a timeout looks like.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

State = Literal["Running", "Succeeded", "Failed", "TimedOut", "Canceled"]
Parameter = tuple[str, str]

TAIL_BYTES = 4096  # cmds.go: maxTailLen
_INIT = Path(__file__).with_name("machine_init.py")
_MARKER = "AZURESIM_EXECUTION"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineGone(RuntimeError):
    """The machine was destroyed: nothing can be run on it."""


class Execution:
    """One script on one machine. All of it may be read from any thread; times are the machine's clock."""

    def __init__(
        self, init: subprocess.Popen[bytes], marker: str, directory: Path, clock: Callable[[], float]
    ) -> None:
        self.started = clock()
        self.ended: float | None = None
        self.exit_code: int | None = None
        self.state: State = "Running"
        self._init, self._marker, self._directory, self._clock = init, marker, directory, clock
        self._lock = threading.Lock()
        self._over = threading.Event()
        threading.Thread(target=self._listen, name=f"init-{init.pid}", daemon=True).start()

    @property
    def stdout(self) -> str:
        return _tail(self._directory / "stdout")

    @property
    def stderr(self) -> str:
        return _tail(self._directory / "stderr")

    @property
    def message(self) -> str:
        """What the agent reports as `executionMessage`."""
        if self.state == "Running":
            return "Execution in progress"
        if self.state == "Succeeded":
            return "Execution completed"
        failure = f"failed to execute command: command terminated with exit status={self.exit_code}"
        return f"Execution failed: {failure}"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wall seconds; True once the script itself has ended, whatever it left running."""
        return self._over.wait(timeout_s)

    def kill(self) -> None:
        """End the script and its process group: state Canceled. A script that has ended stays as it is."""
        self._tell(b"kill\n")

    def destroy(self) -> None:
        """End the script and everything it ever started, and return when none of it is left."""
        if self._init.stdin:
            with self._lock:
                self._init.stdin.close()
        self._init.wait()
        self._over.wait()

    def _tell(self, word: bytes) -> None:
        assert self._init.stdin is not None
        with self._lock:
            try:
                self._init.stdin.write(word)
            except (BrokenPipeError, ValueError):
                return  # the init has left, or was told to: nothing is running any more

    def _listen(self) -> None:
        assert self._init.stdout is not None
        for line in self._init.stdout:
            report = json.loads(line)
            self._end(int(report["exited"]), timed_out=report["timed_out"], killed=report["killed"])
        if self._init.wait() != 0:
            _kill_marked(self._marker)
        self._end(-1, killed=True)

    def _end(self, exit_code: int, *, timed_out: bool = False, killed: bool = False) -> None:
        if self._over.is_set():
            return
        self.exit_code, self.ended = exit_code, self._clock()
        if timed_out:
            self.state = "TimedOut"
        elif killed:
            self.state = "Canceled"
        else:
            self.state = "Succeeded" if exit_code == 0 else "Failed"
        self._over.set()


class Machine:
    """A machine's file system and processes: a directory, and what runs in it.

    `env` is the whole environment of its scripts; nothing of the simulator's own is inherited.
    """

    def __init__(self, root: Path, env: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self.root = root
        self._env = {"PATH": _PATH, "HOME": str(root), "LANG": "C.UTF-8", **env}
        self._clock = clock
        self._lock = threading.Lock()
        self._executions: list[Execution] = []
        self._gone = False
        root.mkdir(parents=True, exist_ok=True)

    @property
    def executions(self) -> tuple[Execution, ...]:
        return tuple(self._executions)

    def run(
        self,
        script: str,
        parameters: list[Parameter],
        protected: list[Parameter],
        timeout_s: float | None,
    ) -> Execution:
        """Start `script` and return at once. `timeout_s` is wall time. Raises MachineGone after `destroy`."""
        with self._lock:
            if self._gone:
                raise MachineGone(f"{self.root.name} was destroyed")
            directory = self.root / "run-command" / "download" / str(len(self._executions))
            directory.mkdir(parents=True, mode=0o700)
            execution = self._start(directory, script, [*parameters, *protected], timeout_s)
            self._executions.append(execution)
            return execution

    def destroy(self) -> None:
        """Kill every process of the machine, in whatever group, and remove its files. Safe to repeat."""
        with self._lock:
            self._gone = True
            executions, self._executions = self._executions, []
        for execution in executions:
            execution.destroy()
        shutil.rmtree(self.root, ignore_errors=True)

    def _start(
        self, directory: Path, script: str, parameters: list[Parameter], timeout_s: float | None
    ) -> Execution:
        path = directory / "script.sh"
        path.write_text(script, newline="")
        path.chmod(0o500)
        named = {name: value for name, value in parameters if name and value}
        unnamed = "".join(f" {value}" for name, value in parameters if value and not name)
        marker = f"{_MARKER}={uuid.uuid4()}"
        init = subprocess.Popen(
            [
                sys.executable,
                *("-I", "-S", str(_INIT)),
                "" if timeout_s is None else str(timeout_s),
                *(str(directory / "stdout"), str(directory / "stderr")),
                *("/bin/bash", "-c", f"{shlex.quote(str(path))}{unnamed}"),
            ],
            cwd=directory,
            env={**self._env, **named, _MARKER: marker.partition("=")[2]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # words are sent at once, and none is left to fail when the pipe is closed
            start_new_session=True,
        )
        return Execution(init, marker, directory, self._clock)


def _kill_marked(marker: str) -> None:
    """The init was killed, so its children are nobody's: find them by the variable they were started with."""
    found = True
    while found:
        found = False
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marker.encode() in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
                    found = True


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
