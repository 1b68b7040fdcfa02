"""The keeper of a local job: one job a folder, ended in time, and nothing of it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.platforms import local_keeper

_PATIENCE_S = 20.0
_TICK_S = 0.02


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    if (process := _read(tmp_path / "process.json")) and local_keeper.started(process["pid"]):
        os.killpg(process["pid"], signal.SIGKILL)


def _keep(place: Path, script: str, *, timeout_s: float = 60.0) -> None:
    subprocess.run(
        [
            sys.executable,
            "-I",
            local_keeper.__file__,
            str(place),
            str(timeout_s),
            "--",
            "/bin/sh",
            "-c",
            script,
        ],
        cwd=place,
        stderr=subprocess.PIPE,
        check=True,
        timeout=_PATIENCE_S,
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _until(condition: Callable[[], Any]) -> Any:
    never = threading.Event()
    for _ in range(int(_PATIENCE_S / _TICK_S)):
        if found := condition():
            return found
        never.wait(_TICK_S)
    raise AssertionError("it did not come about")


def _exit(place: Path) -> Any:
    return _until(lambda: _read(place / "exit.json"))


def test_a_job_s_exit_and_words_are_written_down(place: Path) -> None:
    _keep(place, "echo out; echo err >&2; exit 3")

    assert _exit(place) == {"exit_code": 3, "timed_out": False}
    assert (place / "stdout").read_text() == "out\n"
    assert (place / "stderr").read_text() == "err\n"


def test_a_job_begun_twice_is_one_job(place: Path) -> None:
    _keep(place, "echo ran >> ran; while [ ! -e go ]; do sleep 0.05; done")
    _keep(place, "echo ran >> ran")
    (place / "go").touch()

    assert _exit(place)["exit_code"] == 0
    assert (place / "ran").read_text() == "ran\n"


def test_a_job_outlives_whoever_began_it(place: Path) -> None:
    starter = [sys.executable, "-I", local_keeper.__file__, str(place), "60", "--"]
    shell = subprocess.run(
        [
            "/bin/sh",
            "-c",
            '"$@"; kill -9 $$',
            "sh",
            *starter,
            "/bin/sh",
            "-c",
            "while [ ! -e go ]; do sleep 0.05; done",
        ],
        cwd=place,
        check=False,
        timeout=_PATIENCE_S,
    )
    assert shell.returncode == -signal.SIGKILL

    assert local_keeper.started(_read(place / "process.json")["pid"])
    (place / "go").touch()
    assert _exit(place)["exit_code"] == 0


def test_a_job_that_takes_too_long_is_ended_and_said_to_be(place: Path) -> None:
    _keep(place, "sleep 600", timeout_s=0.1)

    assert _exit(place) == {"exit_code": -signal.SIGTERM, "timed_out": True}


def test_a_job_that_was_cancelled_before_it_could_hear_is_ended_all_the_same(place: Path) -> None:
    (place / local_keeper.CANCELED).touch()
    _keep(place, "sleep 600")

    assert _exit(place) == {"exit_code": -signal.SIGTERM, "timed_out": False}


def test_what_a_job_leaves_running_goes_with_it(place: Path) -> None:
    _keep(place, "sleep 600 & echo $! > left; exit 0")

    _exit(place)
    left = int((place / "left").read_text())
    _until(lambda: local_keeper.started(left) is None)


def test_a_job_does_not_outlive_a_killed_keeper(place: Path) -> None:
    _keep(place, "echo $$ > job; while true; do sleep 0.05; done")
    job = int(_until(lambda: (place / "job").exists() and (place / "job").read_text()))

    os.kill(_read(place / "process.json")["pid"], signal.SIGKILL)

    _until(lambda: local_keeper.started(job) is None)
    assert _read(place / "exit.json") is None


def test_a_process_is_known_by_more_than_its_number() -> None:
    assert local_keeper.started(os.getpid()) == local_keeper.started(os.getpid())
    assert local_keeper.started(os.getpid()) != local_keeper.started(1)
    child = subprocess.Popen(["/bin/true"])
    _until(lambda: local_keeper.started(child.pid) is None)  # ended, though nobody has asked for its exit yet
    child.wait()
