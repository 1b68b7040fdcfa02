"""Timer triggers on a virtual clock that only the tests move."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from localdev.clock import Clock
from localdev.runner import AppError, Runner
from tests.runner.conftest import Trace
from tests.runner.support import APPS, call, until

NEVER = "0001-01-01T00:00:00+00:00"


def test_a_timer_fires_when_the_clock_gets_there_and_says_what_it_fires_for(
    basics: Runner, clock: Clock, trace: Trace
) -> None:
    assert trace("nightly") == []
    clock.advance(timedelta(hours=1, minutes=30))
    first = until(lambda: trace("nightly"))[0]
    assert first["past_due"] is False
    assert first["schedule"] == {"AdjustForDST": True}
    assert first["status"] == {"Last": NEVER, "Next": "2026-03-01T02:00:00+00:00", "LastUpdated": NEVER}
    clock.advance(timedelta(hours=24))
    second = until(lambda: trace("nightly")[1:])[0]
    assert second["status"] == {
        "Last": "2026-03-01T02:00:00+00:00",
        "Next": "2026-03-02T02:00:00+00:00",
        "LastUpdated": "2026-03-01T02:00:00+00:00",
    }


def test_occurrences_passed_in_one_jump_are_made_good_by_one_invocation(
    basics: Runner, clock: Clock, trace: Trace
) -> None:
    clock.advance(timedelta(days=10))
    assert until(lambda: trace("nightly"))[0]["status"]["Next"] == "2026-03-01T02:00:00+00:00"
    clock.advance(timedelta(days=1))
    until(lambda: trace("nightly")[1:])
    assert [t["status"]["Next"] for t in trace("nightly")] == [
        "2026-03-01T02:00:00+00:00",
        "2026-03-11T02:00:00+00:00",
    ]
    assert trace("nightly")[1]["status"]["Last"] == "2026-03-11T00:30:00+00:00"


def test_a_timer_of_less_than_a_minute_has_no_status(basics: Runner, clock: Clock, trace: Trace) -> None:
    clock.advance(timedelta(seconds=20))
    first = until(lambda: trace("often"))[0]
    assert (first["status"], first["schedule"]) == ({}, {"AdjustForDST": False})
    clock.advance(timedelta(seconds=20))
    until(lambda: trace("often")[1:])


def test_run_on_startup(basics: Runner, trace: Trace) -> None:
    assert until(lambda: trace("at_startup")) == [{"name": "at_startup", "past_due": False}]


def test_a_timer_missed_while_the_host_was_down_is_past_due_once(
    tmp_path: Path, clock: Clock, trace: Trace
) -> None:
    hub = tmp_path / "hub.db"
    with Runner(APPS / "basics", clock=clock, hub=hub):
        pass
    clock.advance(timedelta(days=3))
    with Runner(APPS / "basics", clock=clock, hub=hub):
        missed = until(lambda: trace("nightly"))[0]
        assert missed["past_due"] is True
        assert missed["status"]["Next"] == "2026-03-01T02:00:00+00:00"
        clock.advance(timedelta(hours=24))
        until(lambda: trace("nightly")[1:])
    with Runner(APPS / "basics", clock=clock, hub=hub):
        clock.advance(timedelta(hours=24))
        until(lambda: trace("nightly")[2:])
    assert [(t["past_due"], t["status"]["Next"]) for t in trace("nightly")] == [
        (True, "2026-03-01T02:00:00+00:00"),
        (False, "2026-03-04T02:00:00+00:00"),
        (False, "2026-03-05T02:00:00+00:00"),
    ]


def test_a_changed_schedule_is_not_past_due(
    tmp_path: Path, clock: Clock, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub.db"
    with Runner(APPS / "basics", clock=clock, hub=hub):
        pass
    clock.advance(timedelta(days=3))
    monkeypatch.setenv("NIGHTLY", "0 0 3 * * *")
    with Runner(APPS / "basics", clock=clock, hub=hub):
        clock.advance(timedelta(hours=3))
        fired = until(lambda: trace("nightly"))[0]
    assert (fired["past_due"], fired["status"]["Next"]) == (False, "2026-03-04T03:00:00+00:00")


def test_schedules_follow_the_time_zone_of_the_app(
    clock: Clock, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSITE_TIME_ZONE", "Europe/Berlin")
    with Runner(APPS / "basics", clock=clock):
        clock.advance(timedelta(minutes=30))
        fired = until(lambda: trace("nightly"))[0]
    assert fired["status"]["Next"] == "2026-03-01T02:00:00+01:00"


def test_a_timer_can_be_run_now(basics: Runner, trace: Trace) -> None:
    answer = call("POST", f"{basics.url}/admin/functions/nightly", {"input": ""})
    assert answer.status == 202
    fired = until(lambda: trace("nightly"))[0]
    assert (fired["past_due"], fired["status"]["Next"]) == (False, "2026-03-01T02:00:00+00:00")
    assert call("POST", f"{basics.url}/admin/functions/nobody", {}).status == 404


def test_a_disabled_function_does_not_run(
    clock: Clock, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AzureWebJobs.nightly.Disabled", "true")
    with Runner(APPS / "basics", clock=clock):
        clock.advance(timedelta(hours=2))
        until(lambda: trace("often"))
    assert trace("nightly") == []


@pytest.mark.parametrize(
    ("setting", "why"), [("every night", "nightly.*5 or 6 fields"), ("0 0 25 * * *", "hour")]
)
def test_a_bad_schedule_names_the_function(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, setting: str, why: str
) -> None:
    monkeypatch.setenv("NIGHTLY", setting)
    with pytest.raises(AppError, match=why):
        Runner(APPS / "basics", clock=clock).start()


def test_a_failed_timer_is_tried_again_as_its_retry_policy_says(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    marks = tmp_path / "marks"
    (tmp_path / "function_app.py").write_text(
        "import azure.functions as func\n"
        "app = func.FunctionApp()\n"
        "@app.timer_trigger(arg_name='timer', schedule='0 0 2 * * *')\n"
        "@app.retry(strategy='fixed_delay', max_retry_count='2', delay_interval='00:10:00')\n"
        "def tick(timer: func.TimerRequest) -> None:\n"
        f"    open({str(marks)!r}, 'a').write(timer.schedule_status['Next'][:10] + ' ')\n"
        "    raise ValueError('again')\n"
    )

    def seen() -> list[str]:
        return marks.read_text().split() if marks.exists() else []

    with Runner(tmp_path, clock=clock):
        clock.advance(timedelta(hours=1, minutes=29))
        advance_until(clock, lambda: seen() == ["2026-03-01"])
        advance_until(clock, lambda: seen() == ["2026-03-01"] * 2)
        advance_until(clock, lambda: seen() == ["2026-03-01"] * 3)
        clock.advance(timedelta(hours=24))
        until(lambda: seen()[3:] == ["2026-03-02"])


def advance_until(clock: Clock, look: Callable[[], bool]) -> None:
    """Let time pass minute by minute: only the runner knows when it began to wait."""

    def looked() -> bool:
        clock.advance(timedelta(minutes=1))
        return look()

    until(looked)
