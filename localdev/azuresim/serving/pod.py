"""One instance of a deployment, as the kubelet keeps it: its server started, measured, and started again.

Run as a program by instance.py on a machine of its own, with the path of a JSON document; uses the standard library
only. What happens is told in a status file, replaced whole: {"phase", "reason", "restarts", "port"}, with the phases
starting, running, waiting (for the next try), given_up and stopped, and the reasons crash and memory. It is told to stop
by a file: the server then gets SIGTERM and a while to end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_LOOK_S, _FIND_S = 0.05, 0.4
_CALM_LOOK_S, _CALM_FIND_S = 0.25, 2.0  # once it is ready: there may be dozens of pods on a laptop
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0
_STEADY_S = 10.0  # a server that was ready so long is not in a crash loop
_TRIES, _GRACE_S = 5, 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Pod:
    """`plan`: command, folder; log, status, ready, stop (files); memory_bytes, of all its processes together."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._status, self._ready, self._stop = (Path(plan[name]) for name in ("status", "ready", "stop"))
        self._restarts = 0

    def run(self) -> None:
        failures, reason = 0, ""
        while failures < _TRIES:
            self._tell("starting", reason)
            reason, was_ready_s, how = self._serve()
            if reason == "stopped":
                self._tell(reason)
                return
            failures = 1 if was_ready_s >= _STEADY_S else failures + 1
            pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
            self._tell("waiting" if failures < _TRIES else "given_up", reason)
            self._note(f"container {how}; failures in a row: {failures}")
            time.sleep(pause_s)
            self._restarts += 1

    def _serve(self) -> tuple[str, float, str]:
        """From the server's start to its end: why, how long it was ready, and how to say it."""
        self._ready.unlink(missing_ok=True)
        with open(self._plan["log"], "ab") as log:
            server = subprocess.Popen(
                self._plan["command"],
                cwd=self._plan["folder"],
                env={**os.environ, "AZURESIM_READY_FILE": str(self._ready)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return self._watch(server)
        finally:
            _kill_session(server.pid)
            server.wait()

    def _watch(self, server: subprocess.Popen[bytes]) -> tuple[str, float, str]:
        ready_at, found_at, processes = 0.0, 0.0, [server.pid]
        while server.poll() is None:
            now = time.monotonic()
            if not ready_at and self._ready.exists():
                ready_at = now
                self._tell("running", port=json.loads(self._ready.read_text())["port"])
            if now - found_at >= (_CALM_FIND_S if ready_at else _FIND_S):
                processes, found_at = _session(server.pid), now
            if self._stop.exists():
                return "stopped", 0.0, _terminate(server)
            if _private_bytes(processes) > self._plan["memory_bytes"]:
                return "memory", _since(ready_at), "was killed: OOMKilled, it used more memory than its limit"
            time.sleep(_CALM_LOOK_S if ready_at else _LOOK_S)
        code = server.returncode
        ended = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        return "crash", _since(ready_at), ended

    def _tell(self, phase: str, reason: str = "", port: int = 0) -> None:
        told = {"phase": phase, "reason": reason, "restarts": self._restarts, "port": port}
        fresh = self._status.with_suffix(".new")
        fresh.write_text(json.dumps(told))
        fresh.replace(self._status)

    def _note(self, line: str) -> None:
        with open(self._plan["log"], "a") as log:
            log.write(f"{line}\n")


def _terminate(server: subprocess.Popen[bytes]) -> str:
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE_S)
    return "was stopped"


def _since(moment: float) -> float:
    return time.monotonic() - moment if moment else 0.0


def _session(leader: int) -> list[int]:
    """The processes of a session: a server's workers, and what a script starts in the plain way."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(stat[3]) == leader:
                    found.append(int(name))
    return found


def _private_bytes(processes: list[int]) -> int:
    """Resident memory that is not shared: what a container's limit counts, but for its files."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{process}/statm").read_bytes().split()
            total += (int(fields[1]) - int(fields[2])) * _PAGE
    return total


def _kill_session(leader: int) -> None:
    for process in {leader, *_session(leader)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def main(document: Path) -> None:
    plan = json.loads(document.read_text())
    document.unlink()
    Pod(plan).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
