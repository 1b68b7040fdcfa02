"""The runner as its users start it: a process with a command line, a port, signals and an exit status."""

from __future__ import annotations

import json
import signal
import socket
import stat
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localdev.clock import Clock
from tests.runner.conftest import START
from tests.runner.support import APPS, Child, call, finished, instance_url, start, until


def marks(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_frees_the_port(number: signal.Signals, tmp_path: Path) -> None:
    with Child("--hub", str(tmp_path / "hub.db"), app=APPS / "chaining") as child:
        child.ready()
        finished(start(child.url, "hello_chaining", "one"))
        child.process.send_signal(number)
        status, errors = child.ended()
    assert status == 0
    assert "Traceback" not in errors
    assert "Executed hello (Succeeded, Reason='activity', Id=" in errors
    socket.create_server(("127.0.0.1", urlsplit(child.url).port or 0)).close()


def test_quiet_says_nothing_when_all_is_well(tmp_path: Path) -> None:
    with Child("--memory", "--quiet", app=APPS / "chaining") as child:
        finished(start(child.ready().url, "hello_chaining", "one"))
        child.process.terminate()
        assert child.ended() == (0, "")


def test_killed_in_the_middle_it_finishes_after_a_restart(tmp_path: Path) -> None:
    """kill -9 while an activity is half done: that activity runs again, finished ones do not."""
    hub, log, gate = str(tmp_path / "hub.db"), tmp_path / "marks", tmp_path / "gate"
    order = {"steps": 4, "marks": str(log), "gate": str(gate)}
    with Child("--hub", hub, app=APPS / "chaining") as first:
        start(first.ready().url, "slow_steps", "survivor", order)
        start(first.url, "slow_steps", "done", {"steps": 1, "marks": str(tmp_path / "other")})
        finished(instance_url(first.url, "done"))
        until(lambda: marks(log) == [0])
        first.kill()
    gate.touch()
    with Child("--hub", hub, app=APPS / "chaining") as second:
        state = finished(instance_url(second.ready().url, "survivor"))
        assert finished(instance_url(second.url, "done"))["output"] == [0]
    assert (state["runtimeStatus"], state["output"]) == ("Completed", [0, 1, 2, 3])
    assert marks(log) == [0, 0, 1, 2, 3]
    assert marks(tmp_path / "other") == [0]


def test_killed_again_and_again_a_fan_out_still_ends_right(tmp_path: Path) -> None:
    hub = str(tmp_path / "hub.db")
    with Child("--hub", hub, app=APPS / "chaining") as child:
        child.ready()
        for index in range(10):
            start(child.url, "parent", f"p-{index}")
            start(child.url, "fan_out", f"f-{index}", list(range(50)))
    for _ in range(3):
        with Child("--hub", hub, app=APPS / "chaining") as child:
            child.ready()
    with Child("--hub", hub, app=APPS / "chaining") as child:
        child.ready()
        for index in range(10):
            assert finished(instance_url(child.url, f"p-{index}"))["output"] == [5, 25]
            assert finished(instance_url(child.url, f"f-{index}"))["output"] == sum(n * n for n in range(50))


def test_stopped_in_the_middle_work_that_does_not_end_is_redelivered(tmp_path: Path) -> None:
    hub, log, gate = str(tmp_path / "hub.db"), tmp_path / "marks", tmp_path / "gate"
    with Child("--hub", hub, app=APPS / "chaining") as first:
        start(first.ready().url, "slow_steps", "stuck", {"steps": 2, "marks": str(log), "gate": str(gate)})
        until(lambda: marks(log) == [0])
        first.process.terminate()
        status, errors = first.ended()
    assert (status, "will be redelivered" in errors) == (0, True)
    gate.touch()
    with Child("--hub", hub, app=APPS / "chaining") as second:
        assert finished(instance_url(second.ready().url, "stuck"))["output"] == [0, 1]
    assert marks(log) == [0, 0, 1]


def test_a_second_runner_cannot_take_a_hub_that_is_in_use(tmp_path: Path) -> None:
    hub = str(tmp_path / "hub.db")
    with Child("--hub", hub, app=APPS / "chaining") as first:
        first.ready()
        with Child("--hub", hub, app=APPS / "chaining") as second:
            status, errors = second.ended()
        assert status == 1
        assert "hub.db" in errors
        assert "Traceback" not in errors


def test_the_clock_may_be_moved_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    clock = Clock.create(path, start=START, speed=0)
    with Child("--memory", "--clock", str(path), app=APPS / "interaction") as child:
        url = start(child.ready().url, "approval", "ask")
        until(lambda: call("GET", url).json()["customStatus"])
        clock.advance(timedelta(hours=72, seconds=1))
        assert finished(url)["output"] == "escalated to the boss"
        assert finished(instance_url(child.url, "started-by-timer"))["output"] == 42


def test_keys_are_made_and_enforced(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with Child("--memory", "--keys", str(path), app=APPS / "chaining") as child:
        child.ready()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        master = json.loads(path.read_text())["masterKey"]
        assert call("GET", f"{child.url}/admin/host/status").status == 401
        assert call("GET", f"{child.url}/admin/host/status?code={master}").status == 200


def test_the_app_runs_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "beside.txt").write_text("beside the app")
    (tmp_path / "function_app.py").write_text(
        "import azure.functions as func\n"
        "from pathlib import Path\n"
        "TEXT = Path('beside.txt').read_text()\n"
        "app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
        "@app.route(route='text')\n"
        "def text(req: func.HttpRequest) -> str:\n"
        "    return TEXT\n"
    )
    with Child("--memory", app=tmp_path) as child:
        assert call("GET", f"{child.ready().url}/api/text").text == "beside the app"


_HEAD = "import azure.functions as func, azure.durable_functions as df\napp = df.DFApp()\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            _HEAD + "@app.activity_trigger(input_name='x')\ndef a(x: str): ...\n" * 2,
            "a does not have a unique",
        ),
        (
            _HEAD + "@app.activity_trigger(input_name='x')\ndef a(x: list[str]): ...\n",
            "invalid non-type annotation",
        ),
    ],
)
def test_a_bad_app_ends_with_the_reason_and_exit_status_1(source: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(source)
    with Child("--memory", app=tmp_path) as child:
        status, errors = child.ended()
    assert status == 1
    assert errors.strip().splitlines()[-1].startswith("runner: ")
    assert reason in errors.strip().splitlines()[-1]
