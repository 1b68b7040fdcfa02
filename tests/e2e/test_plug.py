"""Pulling the plug in the middle of `make run` and carrying on ends with the same verified summary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

AZURITE_SAVES_EVERY_S = 5
ROOT = Path(__file__).resolve().parents[2]


def demo(state: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "localdev.demo", "run", "--state", str(state), *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def kill_world(child: subprocess.Popen[str], state: Path) -> None:
    """Stop every process of this world dead, at this moment, and SIGKILL it.

    Between the two lies Azurite's save interval: Azure's storage does not forget what it acknowledged, Azurite, killed
    within five seconds, does.
    """
    ours = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_of(p, state)]
    for process in (child.pid, *ours):
        os.kill(process, signal.SIGSTOP)
    threading.Event().wait(AZURITE_SAVES_EVERY_S + 1)
    for process in (child.pid, *ours):
        os.kill(process, signal.SIGKILL)
    child.wait()


def _is_of(process: Path, state: Path) -> bool:
    """Whether the process names this world in its command line or environment, and is not its Azurite."""
    try:
        command = (process / "cmdline").read_bytes()
        environment = (process / "environ").read_bytes()
    except OSError:
        return False
    return b"azurite" not in command and str(state).encode() in command + environment


@pytest.mark.parametrize("words", ["provisioning", "releasing"])
def test_a_run_whose_plug_was_pulled_is_carried_on_to_the_same_summary(tmp_path: Path, words: str) -> None:
    state = tmp_path / "run"
    child = demo(state)
    assert child.stdout is not None
    for line in child.stdout:
        if words in line:
            break
    kill_world(child, state)
    again = demo(state, "--resume")
    out, _ = again.communicate(timeout=240)
    assert again.returncode == 0, out[-3000:]
    assert "31 listed = 31 scored + 0 quarantined" in out
    assert "27,004 in 16 parts" in out
    assert "orphans left: 0" in out
