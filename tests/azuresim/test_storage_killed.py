"""Storage in a folder does not forget what it acknowledged, whenever its process is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from localdev.azuresim import Simulator
from localdev.clock import Clock
from shared.azure import blob
from shared.domain.errors import AppError
from tests.support.cloud import environment


def killed(simulator: Simulator, state: Path) -> None:
    """SIGKILL its Azurite, at once: it saves its own tables five seconds after a change."""
    (pid_file,) = state.glob("**/azurite.pid")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    with environment(simulator.env), pytest.raises(AppError):
        blob.read("muster", "a")


def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    clock, state = Clock.create(tmp_path / "clock.json"), tmp_path / "state"
    with Simulator(clock=clock, state=state) as simulator:
        with environment(simulator.env):
            blob._service().create_container("muster")
            for name in ("a", "b", "c"):
                blob.create_only("muster", name, b"first")
            etag = blob.head("muster", "b").etag
            blob.write_if_match("muster", "b", b"second", etag=etag)
            blob.delete("muster", "c")
            before = [(f.name, f.etag) for f in blob.list_blobs("muster")]
        killed(simulator, state)
    with Simulator(clock=clock, state=state) as simulator:
        with environment(simulator.env):
            assert [(f.name, f.etag) for f in blob.list_blobs("muster")] == before
            assert (blob.read("muster", "a"), blob.read("muster", "b")) == (b"first", b"second")
            assert blob.create_only("muster", "a", b"again") is False
            blob.delete("muster", "a")
        killed(simulator, state)
    with Simulator(clock=clock, state=state) as simulator, environment(simulator.env):
        assert [f.name for f in blob.list_blobs("muster")] == ["b"]
