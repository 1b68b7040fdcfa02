"""Keeps one job on the user's own machine: starts it detached, ends it in time, writes down how it ended.

Run by path with the standard library alone: `python local_keeper.py FOLDER TIMEOUT_S -- COMMAND...`. It returns once
the job has begun (or had begun before: FOLDER is one job). The job outlives whoever asked for it. In FOLDER:
process.json {"pid", "started"} of the keeper, whose process group the job is in; stdout, stderr; exit.json
{"exit_code", "timed_out"}, written last.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

CANCELED = "canceled"  # a file of this name in FOLDER: the job was asked to stop
GRACE_S = 10  # for the agent to write its progress when it is told to stop


def main(folder: Path, timeout_s: float, command: list[str]) -> int:
    begun, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(begun, 1) else 1
    os.close(begun)
    os.setsid()  # of our own session and group: nobody's terminal or service manager takes us along
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # meant for the job, which is in our group; we see it end
    is_first = write_once(folder / "process.json", {"pid": os.getpid(), "started": started(os.getpid())})
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # whoever asked for the job may be reading ours until they close
        os.dup2(nothing, stream)
    os.write(tell, b"!")
    os.close(tell)
    if is_first:
        _keep(folder, timeout_s, command)
    return 0


def started(pid: int) -> str | None:
    """When `pid` began, in words that no other process of that number will ever repeat; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return _started_by_ps(pid) if not Path("/proc/self").exists() else None
    except ProcessLookupError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state == "Z" else f"{boot}/{rest[18]}"  # field 22: start time in ticks since boot


def write_once(path: Path, value: object) -> bool:
    """Write JSON to a path that must not exist; True if this call made it. Readers never see half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value))
    try:
        os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    return True


def _keep(folder: Path, timeout_s: float, command: list[str]) -> None:
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        job = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            preexec_fn=_leave_with_keeper,
        )
    if (folder / CANCELED).exists():  # its signal may have come before there was a job to hear it
        job.terminate()
    timed_out = not _ended(job, timeout_s)
    if timed_out:
        job.terminate()
        if not _ended(job, GRACE_S):
            job.kill()
    write_once(folder / "exit.json", {"exit_code": job.wait(), "timed_out": timed_out})
    os.killpg(0, signal.SIGKILL)  # what the job left behind, and this


def _leave_with_keeper() -> None:
    """In the job, before it runs: hear SIGTERM again, and do not outlive a keeper that was killed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _ended(job: subprocess.Popen[bytes], within_s: float) -> bool:
    try:
        job.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _started_by_ps(pid: int) -> str | None:
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[4:]))
