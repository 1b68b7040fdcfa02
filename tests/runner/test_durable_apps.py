"""Sample apps in the style of Microsoft's, end to end over HTTP."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from localdev.clock import Clock
from localdev.runner import Runner
from tests.runner.support import APPS, call, finished, instance_url, start, until


@pytest.fixture
def chaining() -> Iterator[Runner]:
    with Runner(APPS / "chaining") as runner:
        yield runner


def run(runner: Runner, name: str, body: Any = None) -> Any:
    started = call("POST", f"{runner.url}/api/orchestrators/{name}", body)
    assert started.status == 202
    assert started.headers["Location"] == started.json()["statusQueryGetUri"]
    return finished(started.json()["statusQueryGetUri"])


def test_chaining_of_sync_and_async_activities(chaining: Runner) -> None:
    state = run(chaining, "hello_chaining")
    assert (state["runtimeStatus"], state["name"]) == ("Completed", "hello_chaining")
    assert state["output"] == ["Hello Tokyo!", "Hello Seattle!", "Hello London!"]


def test_fan_out_and_fan_in_by_the_name_the_trigger_gives(chaining: Runner) -> None:
    assert run(chaining, "fan_out", list(range(300)))["output"] == sum(n * n for n in range(300))


def test_sub_orchestrations(chaining: Runner) -> None:
    assert run(chaining, "parent")["output"] == [5, 25]


def test_an_orchestrator_sees_of_a_failure_what_azure_would_show_it(chaining: Runner) -> None:
    message = run(chaining, "fails")["output"]
    assert "boom" in message
    assert "second line" not in message


def test_an_uncaught_failure_fails_the_orchestration(chaining: Runner) -> None:
    state = run(chaining, "fails_loudly")
    assert state["runtimeStatus"] == "Failed"
    assert "boom" in state["output"]
    started = call("POST", f"{chaining.url}/api/orchestrators/fails_loudly").json()["statusQueryGetUri"]
    finished(started)
    assert call("GET", f"{started}&returnInternalServerErrorOnFailure=true").status == 500


def test_a_name_nobody_has_fails_with_the_names_there_are(chaining: Runner) -> None:
    state = run(chaining, "calls_nobody")
    assert state["runtimeStatus"] == "Failed"
    assert "'no_such_activity' doesn't exist" in state["output"]
    assert "hello_async" in state["output"]
    unknown = finished(start(chaining.url, "no_such_orchestrator", "unknown-1"))
    assert unknown["runtimeStatus"] == "Failed"
    assert "hello_chaining" in unknown["output"]


def test_history_of_an_instance(chaining: Runner) -> None:
    url = start(chaining.url, "hello_chaining", "with-history")
    finished(url)
    plain = call("GET", url).json()
    assert "historyEvents" not in plain
    full = call("GET", f"{url}&showHistory=true&showHistoryOutput=true&showInput=false").json()
    kinds = [event["EventType"] for event in full["historyEvents"]]
    assert kinds[0] == "ExecutionStarted"
    assert kinds.count("TaskCompleted") == 3
    assert kinds[-1] == "ExecutionCompleted"


def test_instances_are_listed_page_by_page_and_purged(chaining: Runner) -> None:
    for index in range(5):
        finished(start(chaining.url, "fan_out", f"page-{index}", [index]))
    query = "instanceIdPrefix=page-&runtimeStatus=Completed&top=2"
    listing = f"{chaining.url}/runtime/webhooks/durabletask/instances?{query}"
    seen: list[str] = []
    token = ""
    while token is not None:
        answer = call("GET", listing, headers={"x-ms-continuation-token": token} if token else {})
        assert len(answer.json()) <= 2
        seen += [row["instanceId"] for row in answer.json()]
        token = answer.headers["x-ms-continuation-token"]
    assert seen == [f"page-{index}" for index in range(5)]
    url = instance_url(chaining.url, "page-0")
    assert call("DELETE", url).json() == {"instancesDeleted": 1}
    assert (call("GET", url).status, call("DELETE", url).status) == (404, 404)


def test_start_can_wait_for_the_outcome(chaining: Runner) -> None:
    url = f"{chaining.url}/runtime/webhooks/durabletask/orchestrators/fan_out?timeout=20&pollingInterval=1"
    answer = call("POST", url, [1, 2])
    assert (answer.status, answer.json()) == (200, 5)


def test_an_id_can_be_started_again_only_when_its_instance_is_over(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        start(runner.url, "approval", "one")
        again = f"{runner.url}/runtime/webhooks/durabletask/orchestrators/approval/one"
        until(lambda: call("GET", instance_url(runner.url, "one")).json()["runtimeStatus"] == "Running")
        assert call("POST", again).status == 409
        assert call("POST", instance_url(runner.url, "one", "/terminate?reason=enough")).status == 202
        assert finished(instance_url(runner.url, "one"))["output"] == "enough"
        assert call("POST", again).status == 202


def waiting(runner: Runner, instance_id: str, status: Any) -> None:
    url = instance_url(runner.url, instance_id)
    until(lambda: call("GET", url).json()["customStatus"] == status, f"{instance_id} {status}")


def test_a_human_answers_in_time(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        url = start(runner.url, "approval", "ask-1")
        waiting(runner, "ask-1", "waiting for approval")
        running = call("GET", url)
        assert (running.status, running.headers["Retry-After"]) == (202, "5")
        assert call("POST", instance_url(runner.url, "ask-1", "/raiseEvent/Approval"), raw=b"{").status == 400
        assert call("POST", instance_url(runner.url, "ask-1", "/raiseEvent/Approval"), "Ada").status == 202
        assert finished(url)["output"] == "approved by Ada"
        assert call("POST", instance_url(runner.url, "ask-1", "/raiseEvent/Approval"), "Bob").status == 410
        assert call("POST", instance_url(runner.url, "nobody", "/raiseEvent/Approval"), "Bob").status == 404


def test_a_human_does_not_answer_for_72_hours(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        url = start(runner.url, "approval", "ask-2")
        waiting(runner, "ask-2", "waiting for approval")
        clock.advance(timedelta(hours=71))
        assert call("GET", url).status == 202
        clock.advance(timedelta(hours=1, seconds=1))
        assert finished(url)["output"] == "escalated to the boss"


def test_an_eternal_monitor_counts_the_hours_until_it_is_stopped(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        url = start(runner.url, "monitor", "watch")
        for rounds in range(4):
            waiting(runner, "watch", {"rounds": rounds})
            clock.advance(timedelta(hours=1, seconds=1))
        waiting(runner, "watch", {"rounds": 4})
        call(
            "POST",
            instance_url(runner.url, "watch", "/raiseEvent/stop"),
            None,
            {"Content-Type": "application/json"},
        )
        assert finished(url)["output"] == 4


def test_suspend_resume_and_rewind_answer_as_the_extension_does(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        url = start(runner.url, "monitor", "watch")
        waiting(runner, "watch", {"rounds": 0})
        assert call("POST", instance_url(runner.url, "watch", "/suspend?reason=lunch")).status == 202
        until(lambda: call("GET", url).json()["runtimeStatus"] == "Suspended")
        assert call("POST", instance_url(runner.url, "watch", "/rewind")).status == 412
        assert call("POST", instance_url(runner.url, "watch", "/resume")).status == 202
        until(lambda: call("GET", url).json()["runtimeStatus"] == "Running")
        assert call("DELETE", url).status == 412
        assert call("POST", instance_url(runner.url, "watch", "/terminate")).status == 202
        finished(url)
        assert call("POST", instance_url(runner.url, "watch", "/suspend")).status == 410


def test_a_client_waits_for_the_outcome_inside_a_function(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        answer = call("POST", f"{runner.url}/api/wait/here")
        assert (answer.status, answer.json()) == (200, 21)


def test_a_timer_starts_an_orchestration(clock: Clock) -> None:
    with Runner(APPS / "interaction", clock=clock) as runner:
        clock.advance(timedelta(minutes=30))
        url = instance_url(runner.url, "started-by-timer")
        until(lambda: call("GET", url).status != 404)
        assert finished(url)["output"] == 42


def test_an_entity_is_called_signalled_and_read() -> None:
    with Runner(APPS / "entities") as runner:
        started = call("POST", f"{runner.url}/api/counters/a")
        assert finished(started.json()["statusQueryGetUri"])["output"] == 5
        entity = f"{runner.url}/runtime/webhooks/durabletask/entities/Counter/a"
        assert call("GET", entity).json() == 5
        assert call("POST", f"{entity}?op=add", 37).status == 202
        until(lambda: call("GET", entity).json() == 42)
        listed = call(
            "GET", f"{runner.url}/runtime/webhooks/durabletask/entities/counter?fetchState=true"
        ).json()
        assert [(e["entityId"], e["state"]) for e in listed] == [({"name": "counter", "key": "a"}, 42)]
        assert call("GET", f"{runner.url}/runtime/webhooks/durabletask/entities/Counter/b").status == 404
        wrong = finished(start(runner.url, "count_wrong", "wrong"))
        assert "no such sum" in wrong["output"]


def test_the_classic_style_with_blueprint_and_retries(tmp_path: Path, clock: Clock) -> None:
    with Runner(APPS / "classic", clock=clock) as runner:
        marks = tmp_path / "attempts"
        url = call("POST", f"{runner.url}/api/start/retried/r1?input={marks}").json()["statusQueryGetUri"]
        for attempt in ("1", "2"):
            until(functools.partial(read, marks, attempt))
            until(lambda: call("GET", url).json()["runtimeStatus"] == "Running")
            clock.advance(timedelta(seconds=2))
        assert finished(url)["output"] == "succeeded at attempt 3"


def test_an_app_whose_modules_are_already_imported_is_hosted_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the project's own tests do, which import the app's modules themselves."""
    monkeypatch.syspath_prepend(str(APPS / "classic"))
    importlib.import_module("function_app").app.get_functions()
    try:
        for _ in range(2):
            with Runner(APPS / "classic") as runner:
                names = [f["name"] for f in call("GET", f"{runner.url}/admin/functions").json()]
                assert {"flaky", "retried", "Starter"} <= set(names)
    finally:
        for name in ("function_app", "helpers"):
            sys.modules.pop(name, None)


def read(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def test_apps_with_modules_of_the_same_name_follow_each_other_in_one_process(tmp_path: Path) -> None:
    for number in (1, 2):
        app = tmp_path / str(number)
        app.mkdir()
        (app / "host.json").write_text('{"version": "2.0"}')
        (app / "helpers.py").write_text(f"NUMBER = '{number}'\n")
        (app / "function_app.py").write_text(
            "import azure.functions as func\n"
            "from helpers import NUMBER\n"
            "app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
            "@app.route(route='number')\n"
            "def number(req: func.HttpRequest) -> str:\n"
            "    return NUMBER\n"
        )
        with Runner(app) as runner:
            assert call("GET", f"{runner.url}/api/number").text == str(number)
