"""Pulling the plug of `make run`, of everything at once and again and again, ends with the same verified summary."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

MOMENTS = ("champion", "its timer is due", "provisioning", "scoring", "publishing|releasing")
# PLUG_SEED repeats the moments of a run. Without PLUG_ROUNDS the plug is pulled at any three of them: each restart takes
# seconds; `make test-kills` pulls about 20 plugs.
SEED = int(os.environ.get("PLUG_SEED", random.SystemRandom().randrange(10**6)))
ROUNDS = int(os.environ.get("PLUG_ROUNDS", "0"))
ROOT = Path(__file__).resolve().parents[2]


def demo(state: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "localdev.demo", "run", "--state", str(state), *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def kill_world(child: subprocess.Popen[str], state: Path) -> None:
    """SIGKILL every process of this world, as one: none sees another die."""
    ours = [
        child.pid,
        *(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_of(p, state)),
    ]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in ours:
            os.kill(process, number)
    child.wait()


def _is_of(process: Path, state: Path) -> bool:
    """Whether the process names this world in its command line or environment."""
    try:
        return str(state).encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except OSError:
        return False


def read_until(child: subprocess.Popen[str], words: str) -> str:
    """What it prints up to a line with one of `words`, or to its end."""
    read: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        read.append(line)
        if re.search(words, line):
            break
    return "".join(read)


def test_a_run_whose_plug_is_pulled_at_any_phase_ends_with_the_same_summary(tmp_path: Path) -> None:
    print(f"PLUG_SEED={SEED}")  # shown when the test fails
    chance = random.Random(SEED)
    some = sorted(chance.sample(range(len(MOMENTS)), 3))
    for number, moments in enumerate([MOMENTS] * ROUNDS or [tuple(MOMENTS[index] for index in some)]):
        pulled, out = pull_plugs(tmp_path / f"run-{number}", moments, chance)
        assert pulled >= 2, out
        assert "31 listed = 31 scored + 0 quarantined" in out
        assert "27,004 in 16 parts" in out
        assert "orphans left: 0" in out


def pull_plugs(state: Path, moments: tuple[str, ...], chance: random.Random) -> tuple[int, str]:
    """How often the plug was pulled, and what the last process printed."""
    pulled = 0
    child = demo(state)
    for index in range(len(moments)):
        read = read_until(child, "|".join(moments[index:]))
        threading.Event().wait(chance.uniform(0, 1.0))  # the moment is what is being varied
        if child.poll() is not None:
            break
        kill_world(child, state)
        pulled += 1
        child = demo(state, "--resume")
    rest, _ = child.communicate(timeout=240)
    assert child.returncode == 0, (read + rest)[-3000:]
    return pulled, read + rest
