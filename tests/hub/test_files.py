"""The file: what a restart keeps, who may open it, and what is refused with a reason and left as it was."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from durabletask.client import OrchestrationStatus
from durabletask.entities import EntityInstanceId

from localdev.clock import Clock
from localdev.runner.hub import (
    HubDamaged,
    HubLocked,
    HubTooNew,
    InstanceExists,
    Status,
    TaskHub,
)
from localdev.runner.hub.schema import SCHEMA_VERSION
from shared.cli.offline import HubFile
from shared.domain.errors import AppError
from tests.hub import app
from tests.hub.rig import Rig, until

ROOT = Path(__file__).parents[2]


def make_hub(path: Path) -> None:
    """A closed hub file with some history in it."""
    with TaskHub.open(path, clock=Clock()) as hub:
        for i in range(200):
            hub.start("o", instance_id=f"i-{i}", input='"' + "x" * 100 + '"')


def test_a_restart_keeps_timers_starts_signals_events_and_locks(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock.json", start=datetime(2030, 1, 1, tzinfo=UTC), speed=0)
    rig = Rig(tmp_path / "hub.db", clock, "in process")
    later = clock.now() + timedelta(hours=1)
    tally, locked = EntityInstanceId("counter", "t"), EntityInstanceId("counter", "l")
    sleeper, scheduled = rig.start(app.sleep, 3600), rig.start(app.chain, 2, start_at=later)
    rig.client.signal_entity(tally, "add", 5, signal_time=later)
    waiter, holder = rig.start(app.two_events), rig.start(app.locked_wait, [locked.key])
    rig.client.raise_orchestration_event(waiter, "b", data=2)
    until(lambda: rig.custom_status(holder) == "locked")
    rig.client.signal_entity(locked, "add", 100)
    until(lambda: rig.status(sleeper) is OrchestrationStatus.RUNNING)
    rig.close()

    clock.advance(timedelta(hours=1))
    rig = Rig(tmp_path / "hub.db", clock, "in process")
    assert rig.output(sleeper) >= 3600
    assert rig.output(scheduled) == 2
    until(lambda: rig.hub.get_entity(str(tally)) is not None)
    for value in (1, 3):
        rig.client.raise_orchestration_event(waiter, "a", data=value)
    assert rig.output(waiter) == [1, 2, 3]
    rig.client.raise_orchestration_event(holder, "go")
    assert rig.output(holder) == [0, 1]
    rig.close()


def test_a_hub_without_a_file_works_and_forgets(tmp_path: Path) -> None:
    rig = Rig(None, Clock(), "in process")
    assert rig.run(app.fan_out, 20) == sum(range(1, 21))
    rig.close()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    code = (
        "import sys; from pathlib import Path; from localdev.clock import Clock\n"
        "from localdev.runner.hub import TaskHub\n"
        "hub = TaskHub.open(Path(sys.argv[1]), clock=Clock()); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout and holder.stdin and holder.stdout.readline() == "open\n"
        with pytest.raises(HubLocked, match=rf"in use by pid {holder.pid} on .*python.*, since 20\d\d-"):
            TaskHub.open(path, clock=Clock())
        holder.kill()
    TaskHub.open(path, clock=Clock()).close()


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    with TaskHub.open(tmp_path / "hub.db", clock=Clock()), pytest.raises(HubLocked):
        TaskHub.open(tmp_path / "hub.db", clock=Clock())


def test_a_file_locked_by_another_program_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with TaskHub.open(path, clock=Clock()) as hub:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HubLocked, match="locked by another program"):
            hub.start("o")
        other.execute("ROLLBACK")
        other.close()
        hub.start("o")


def test_a_file_that_was_locked_as_it_was_opened_can_be_opened_later(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    make_hub(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HubLocked, match="locked by another program") as refused:
        TaskHub.open(path, clock=Clock())
    other.close()
    TaskHub.open(path, clock=Clock()).close()
    assert refused.value.__traceback__ is not None  # as a debugger, or whoever tells the user, would keep it


def newer(path: Path) -> None:
    make_hub(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


def text_file(path: Path) -> None:
    path.write_text("not a database, but somebody's notes\n" * 20)


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    make_hub(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribbled(path: Path) -> None:
    """Where nothing looks as it is opened: in the index of ids."""
    make_hub(path)
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_instance_1'"
        ).fetchone()
    content = bytearray(path.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xa5" * 4096
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (newer, HubTooNew, "use the newer program"),
        (foreign, HubDamaged, "not a task hub"),
        (text_file, HubDamaged, "not an SQLite file"),
        (empty, HubDamaged, "is empty"),
        (truncated, HubDamaged, "is truncated"),
        (scribbled, HubDamaged, "is damaged"),
    ],
)
def test_an_unusable_file_is_refused_and_left_as_it_was(
    tmp_path: Path, spoil: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    path = tmp_path / "hub.db"
    spoil(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(error, match=message):
        TaskHub.open(path, clock=Clock())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(newer, "has schema 2, this program reads 1"), (foreign, "no task hub"), (truncated, "cannot be read")],
)
def test_who_lists_the_runs_of_a_file_is_told_why_not(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "hub.db"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(AppError, match=message):
        HubFile(path).runs()
    assert path.read_bytes() == before


def test_a_hub_may_refuse_to_reuse_any_id(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "hub.db", Clock(), "in process", replaceable="Never")
    rig.run(app.chain, 1, instance_id="once")
    with pytest.raises(InstanceExists, match="COMPLETED"):
        rig.hub.start("chain", instance_id="once")
    rig.hub.start("chain", instance_id="once", input="2", replaceable=[Status.COMPLETED])
    assert rig.output("once") == 2
    assert rig.run(app.retried_child, {"name": "never", "times": 1}) == "run 2"
    rig.close()


def test_a_hub_may_leave_children_of_the_terminated_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "hub.db", Clock(), "in process", terminate_recursively=False)
    rig.start(app.waiting_parent, 1, instance_id="top")
    until(lambda: rig.status("top/0") is OrchestrationStatus.RUNNING)
    rig.client.terminate_orchestration("top", recursive=True)
    rig.finish("top")
    assert rig.run(app.chain, 2) == 2
    assert rig.status("top/0") is OrchestrationStatus.RUNNING
    rig.close()
