"""Process 1 of one script on a simulated machine. Run as a program by executor.py; uses the standard
library only.

It starts the command line given as arguments in a new process group, adopts whatever that leaves behind (it
is a child subreaper) and kills all of it when told to, or when its standard input closes: the simulator
holds the other end, so nothing on the machine outlives the simulator, however that dies and whatever group
or session it fled to.

Standard output, one JSON object a line: {"exited": code, "timed_out": bool, "killed": bool} when the script
ends. Standard input, one word a line: `kill` ends the script's process group, end of file ends everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main(timeout_s: float | None, stdout: str, stderr: str, command: list[str]) -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    children_changed, wake_up = os.pipe()
    os.set_blocking(wake_up, False)
    signal.set_wakeup_fd(wake_up)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with open(stdout, "wb") as out, open(stderr, "wb") as err:
        script = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    try:
        _watch(script.pid, timeout_s, children_changed)
    finally:
        _kill_descendants()


def _watch(script: int, timeout_s: float | None, children_changed: int) -> None:
    """Return when nothing of the script is left, or when the simulator is gone."""
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    ended = timed_out = killed = False
    while True:
        left = max(0.0, deadline - time.monotonic()) if deadline is not None and not ended else None
        ready, _, _ = select.select([sys.stdin, children_changed], [], [], left)
        if not ready and not ended:
            timed_out, deadline = True, None
            _kill_group(script)
        if sys.stdin in ready:
            word = sys.stdin.readline()
            if not word:
                return
            killed = killed or not ended
            _kill_group(script)
        if children_changed in ready:
            os.read(children_changed, 4096)
        codes, alone = _reap()
        if script in codes:
            ended = True
            print(json.dumps({"exited": codes[script], "timed_out": timed_out, "killed": killed}), flush=True)
        if alone:
            return


def _reap() -> tuple[dict[int, int], bool]:
    """Exit codes of the children that ended (-1 for a signal, as in Go), and whether none is left."""
    codes: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes, True
        if pid == 0:
            return codes, False
        codes[pid] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _kill_descendants() -> None:
    """Kill until no child is left: orphans of the killed become our children, then it is their turn."""
    while True:
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _, alone = _reap()
        if alone:
            return
        time.sleep(0.005)


def _descendants(root: int) -> list[int]:
    parents = {pid: parent for pid in os.listdir("/proc") if pid.isdigit() and (parent := _parent(pid))}
    found = {root}
    while fresh := {int(pid) for pid, parent in parents.items() if parent in found} - found:
        found |= fresh
    return sorted(found - {root})


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1] else None, sys.argv[2], sys.argv[3], sys.argv[4:])
