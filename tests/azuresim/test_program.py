"""`python -m localdev.azuresim` as a program: what it gives to a command, how it ends, what outlives it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from localdev.azuresim import Control
from localdev.azuresim.simulator import Simulator
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure, until, vm_id
from tests.azuresim.test_run_commands import is_alive, start_sleeper

_PROGRAM = [sys.executable, "-m", "localdev.azuresim"]
_ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_PROGRAM, *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A simulator that serves, and the environment block it printed. Killed at the end, if it is still there."""
    server = subprocess.Popen([*_PROGRAM, *arguments], cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    environment: dict[str, str] = {}
    try:
        for line in server.stdout:
            (assignment,) = shlex.split(line.removeprefix("export "))
            name, _, value = assignment.partition("=")
            environment[name] = value
            if name == "AZURESIM_CONTROL_URL":
                break
        yield server, environment
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in listed for child in path.read_text().split()]
    return found + [grandchild for child in found for grandchild in children(child)]


def test_a_command_sees_azure_and_its_exit_status_is_ours() -> None:
    script = (
        "import json, os, sys\n"
        "from azure.identity import DefaultAzureCredential\n"
        "token = DefaultAzureCredential().get_token('https://management.azure.com/.default').token\n"
        "print(json.dumps({'dots': token.count('.'), 'group': os.environ['MUSTER_RESOURCE_GROUP']}))\n"
        "sys.exit(7)\n"
    )
    done = run("--", sys.executable, "-c", script)
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == {"dots": 2, "group": "muster-burn"}


def test_a_command_that_is_not_there_or_died_says_so() -> None:
    assert run("--", "no-such-command").returncode == 127
    assert run("--", "bash", "-c", "kill -9 $$").returncode == 128 + 9


def test_a_wrong_fault_file_keeps_it_from_starting(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(
        "- {operation: Microsoft.Compute/virtualMachines/write, kind: magic}\n- {preset: nope}\n"
    )
    done = run("--fault", str(faults), "--", "true")
    assert done.returncode == 2
    assert "faults[0].kind" in done.stderr and "nope" in done.stderr
    assert run("--specs", str(tmp_path / "none"), "--", "true").returncode == 2


def test_it_serves_until_it_is_told_to_stop_and_leaves_nothing() -> None:
    with serving() as (server, environment):
        assert Control(environment["AZURESIM_CONTROL_URL"]).clock()["speed"] > 1
        helpers = children(server.pid)
        assert helpers
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        until(lambda: [pid for pid in helpers if is_alive(pid)], lambda left: not left)
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(environment["AZURESIM_CONTROL_URL"], timeout=5)
        folder = Path(environment["REQUESTS_CA_BUNDLE"]).parent
        assert not folder.exists()


def test_nothing_of_it_survives_its_being_killed() -> None:
    with serving() as (server, _):
        helpers = children(server.pid)
        server.kill()
        until(lambda: [pid for pid in helpers if is_alive(pid)], lambda left: not left)


def test_a_clock_file_is_shared_with_whoever_holds_it(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock.json", speed=0)
    script = "from localdev.clock import Clock; print(Clock.from_environment().time())"
    done = run("--clock", str(tmp_path / "clock.json"), "--", sys.executable, "-c", script)
    assert float(done.stdout) == clock.time()


def test_a_killed_simulator_comes_back_with_the_same_world(tmp_path: Path) -> None:
    state, clock = tmp_path / "state", Clock.create(tmp_path / "clock.json", speed=0)
    with serving("--state", str(state), "--clock", str(tmp_path / "clock.json")) as (server, environment):
        azure = Azure.at(environment)
        azure.create_vm()
        pid = start_sleeper(azure, tmp_path)
        operation = azure.post("a", "deallocate").headers["Azure-AsyncOperation"]
        azure.control.advance(10)
        azure.create_vm("b")
        azure.run("b", "exec sleep 1000", asyncExecution=True)
        blob = "https://musterdev.blob.core.windows.net/kept?restype=container"
        token = azure.identity(resource="https://storage.azure.com").json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2024-05-04"}
        assert azure.plain("PUT", blob, headers=headers).status_code == 201
        bill, events = azure.control.bill(), len(azure.control.events())
        server.kill()
        server.wait()
        until(lambda: is_alive(pid), lambda alive: not alive)

    with Simulator(clock=clock, state=state) as simulator:
        azure = Azure(simulator)
        assert azure.get(operation)["status"] == "Succeeded"
        assert azure.power("a") == "PowerState/deallocated"
        assert azure.power("b") == "PowerState/running"
        assert azure.script("b")["executionState"] == "Failed"
        assert azure.control.bill()["lines"] == bill["lines"]
        assert len(azure.control.events()) > events
        assert azure.plain("PUT", blob, headers=headers).status_code == 409
        azure.control.advance(100)
        running = [line for line in azure.control.bill()["lines"] if not line["ended"]]
        assert {line["resource_id"] for line in running if line["meter"].startswith("VM")} == {vm_id("b")}
        assert azure.outcome("echo again", "b")["output"] == "again\n"
        azure.send("DELETE", vm_id("b"))
        azure.control.advance(30)
        assert azure.existing("Microsoft.Compute/virtualMachines") == {"a"}
