"""How functions run: side by side up to the limits of host.json, apart from the host, and failing alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from localdev.runner import Runner
from tests.runner.support import call, finished, start, until

_HEAD = """\
import asyncio, os, sys, threading, time
import azure.durable_functions as df
import azure.functions as func
app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
"""
MakeApp = Callable[..., Path]


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    def make(source: str, durable_settings: str = "{}") -> Path:
        host = f'{{"version": "2.0", "functionTimeout": "00:00:01", "extensions": {{"durableTask": {durable_settings}}}}}'
        (tmp_path / "host.json").write_text(host)
        (tmp_path / "function_app.py").write_text(_HEAD + source)
        return tmp_path

    return make


_CROWD = """
inside, most = 0, 0

@app.orchestration_trigger(context_name="context")
def crowd(context):
    return max((yield context.task_all([context.call_activity("enter", i) for i in range(12)])))

@app.activity_trigger(input_name="number")
async def enter(number: int) -> int:
    global inside, most
    inside += 1
    most = max(most, inside)
    await asyncio.sleep(0.02)
    inside -= 1
    return most
"""


def test_as_many_activities_run_at_once_as_host_json_allows(make_app: MakeApp) -> None:
    with Runner(make_app(_CROWD, '{"maxConcurrentActivityFunctions": 3}')) as runner:
        assert finished(start(runner.url, "crowd", "c"))["output"] == 3


def test_activities_that_wait_do_not_hold_up_orchestrations(make_app: MakeApp) -> None:
    source = """
gate = asyncio.Event()

@app.orchestration_trigger(context_name="context")
def blocked(context):
    yield context.task_all([context.call_activity("wait", i) for i in range(5)])

@app.activity_trigger(input_name="number")
async def wait(number: int) -> None:
    await gate.wait()

@app.orchestration_trigger(context_name="context")
def quick(context):
    return "done"
    yield

@app.route(route="open")
async def open_gate(req: func.HttpRequest) -> str:
    gate.set()
    return "open"
"""
    with Runner(make_app(source, '{"maxConcurrentActivityFunctions": 2}')) as runner:
        slow = start(runner.url, "blocked", "slow")
        assert finished(start(runner.url, "quick", "quick"))["output"] == "done"
        assert call("GET", slow).status == 202
        call("GET", f"{runner.url}/api/open")
        assert finished(slow)["runtimeStatus"] == "Completed"


def test_a_function_that_blocks_its_loop_does_not_stop_the_host(make_app: MakeApp) -> None:
    source = """
@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
async def block(timer: func.TimerRequest) -> None:
    while not os.path.exists("{gate}"):
        time.sleep(0.01)

@app.route(route="quick")
async def quick(req: func.HttpRequest) -> str:
    return "quick"
"""
    app = make_app("")
    gate = app / "gate"
    with Runner(make_app(source.replace("{gate}", str(gate)))) as runner:
        assert call("GET", f"{runner.url}/admin/host/status").json()["state"] == "Running"
        gate.touch()
        assert call("GET", f"{runner.url}/api/quick").text == "quick"


@pytest.mark.parametrize("definition", ["def", "async def"])
def test_a_function_that_ends_the_process_fails_alone(make_app: MakeApp, definition: str) -> None:
    source = f"""
@app.route(route="leave")
{definition} leave(req: func.HttpRequest) -> str:
    sys.exit(3)

@app.route(route="stay")
{definition} stay(req: func.HttpRequest) -> str:
    return "still here"
"""
    with Runner(make_app(source)) as runner:
        assert call("GET", f"{runner.url}/api/leave").status == 500
        assert call("GET", f"{runner.url}/api/stay").text == "still here"


def test_a_return_value_without_a_binding_is_an_error_as_on_azure(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
def returns(timer: func.TimerRequest):
    return "nobody takes this"

@app.route(route="nothing")
def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None
"""
    with Runner(make_app(source)) as runner:
        assert call("GET", f"{runner.url}/api/nothing").status == 500
    assert "without a $return binding returned a non-None value" in caplog.text


def test_a_binding_that_nothing_serves_here_is_announced(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
@app.queue_trigger(arg_name="message", queue_name="q", connection="C")
def on_message(message: func.QueueMessage) -> None: ...

@app.route(route="copy")
@app.blob_input(arg_name="blob", path="c/b", connection="C")
def copy(req: func.HttpRequest, blob: str) -> str:
    return blob

@app.route(route="send")
@app.queue_output(arg_name="out", queue_name="q", connection="C")
def send(req: func.HttpRequest, out: func.Out[str]) -> str:
    out.set("message")
    return "sent"
"""
    with Runner(make_app(source)) as runner:
        assert call("GET", f"{runner.url}/api/copy").status == 500
        assert call("GET", f"{runner.url}/api/send").text == "sent"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for pattern in (
        "on_message: nothing fires a queueTrigger",
        "copy: the blob binding",
        "send: the queue binding",
    ):
        assert any(re.match(pattern, warning) for warning in warnings), pattern
    assert "input binding 'blob' of type blob is not offered" in caplog.text


def test_an_orchestrator_that_cannot_answer_fails_instead_of_running_for_ever(make_app: MakeApp) -> None:
    source = """
class Unencodable: ...

@app.orchestration_trigger(context_name="context")
def bad_result(context):
    return Unencodable()
    yield

@app.orchestration_trigger(context_name="context")
def leaves(context):
    sys.exit(1)
    yield

@app.function_name("garbles")
@app.generic_trigger(arg_name="context", type="orchestrationTrigger")
def garbles(context):
    return "no protobuf in base64"
"""
    with Runner(make_app(source)) as runner:
        garbled = finished(start(runner.url, "garbles", "garbled"))
        assert (garbled["runtimeStatus"], "'garbles' failed" in garbled["output"]) == ("Failed", True)
        assert "could not be encoded" in finished(start(runner.url, "bad_result", "bad"))["output"]
        state = finished(start(runner.url, "leaves", "leaves"))
        assert state["runtimeStatus"] == "Failed"
        assert "leaves" in state["output"]


def test_a_function_over_its_time_is_reported(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    source = """
gate = asyncio.Event()

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
async def lingers(timer: func.TimerRequest) -> None:
    await gate.wait()

@app.route(route="open")
async def open_gate(req: func.HttpRequest) -> str:
    gate.set()
    return "open"
"""
    with Runner(make_app(source)) as runner:
        until(lambda: "lingers has run longer than functionTimeout (1 s)" in caplog.text)
        call("GET", f"{runner.url}/api/open")
