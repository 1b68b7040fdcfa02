"""SIGKILL, for real: of the whole host while tens of orchestrations run, and of workers on their own."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from localdev.clock import Clock
from localdev.runner.hub import Status, TaskHub
from tests.hub import crash_app

KILLS = int(os.environ.get("HUB_KILLS", "15"))
ROOT = Path(__file__).parents[2]


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A child of crash_app that has said it is ready; killed at the end, if it still runs."""
    command = [sys.executable, "-m", "tests.hub.crash_app", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            assert child.stdout and child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def test_killed_at_random_moments_every_orchestration_ends_right(tmp_path: Path) -> None:
    seed = int(os.environ.get("HUB_SEED", random.SystemRandom().randrange(10**6)))
    print(f"HUB_SEED={seed}")  # shown when the test fails
    chance = random.Random(seed)
    killed = 0
    for number in itertools.count(1):
        path = tmp_path / f"hub-{number}.db"
        killed += kill_until_done(path, chance, most=KILLS - killed)
        with TaskHub.open(path, clock=Clock()) as hub:
            check_outputs(hub)
            check_histories(hub)
            check_nothing_is_left(hub)
        if killed >= KILLS:
            break
    print(f"{killed} kills over {number} files")


def kill_until_done(path: Path, chance: random.Random, *, most: int) -> int:
    """How often the host was killed before all work of this file was done."""
    for killed in range(most):
        with process(str(path), "--killed-from-outside") as host:
            time.sleep(chance.uniform(0, 0.3))  # the moment of the kill is what is being varied
            if host.poll() is not None:
                return killed
    with process(str(path), "--killed-from-outside") as host:
        assert host.wait(60) == 0
    return most


def check_outputs(hub: TaskHub) -> None:
    for instance, (_, _, expected) in crash_app.plan().items():
        found = hub.get_instance(instance)
        assert found and found.status is Status.COMPLETED, found
        assert json.loads(found.output or "null") == expected, instance
    lockers = [keys for name, keys, _ in crash_app.plan().values() if name == "locker"]
    for key in crash_app.TALLIES:
        entity = hub.get_entity(f"@tally@{key}")
        assert entity and entity.state == str(sum(key in keys for keys in lockers)), key


def check_histories(hub: TaskHub) -> None:
    """Whatever was asked for was answered exactly once, whichever process was alive then."""
    page, _ = hub.query(page_size=1000)
    assert len(page) == len(crash_app.plan()) + 8 * 3
    for instance in page:
        events = hub.history(instance.id)
        for asked, answered, field in (
            ("taskScheduled", "taskCompleted", "taskScheduledId"),
            ("subOrchestrationInstanceCreated", "subOrchestrationInstanceCompleted", "taskScheduledId"),
            ("timerCreated", "timerFired", "timerId"),
        ):
            wanted = Counter(event.eventId for event in events if event.HasField(asked))
            got = Counter(getattr(getattr(e, answered), field) for e in events if e.HasField(answered))
            assert wanted == got, (instance.id, asked)


def check_nothing_is_left(hub: TaskHub) -> None:
    with hub.store.reading() as sql:
        for table in ("inbox", "activity", "timer", "operation"):
            assert sql.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        assert sql.execute("SELECT count(*) FROM entity WHERE owner IS NOT NULL").fetchone() == (0,)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TaskHub]:
    with TaskHub.open(tmp_path / "hub.db", clock=Clock(), visibility_s=0.1, max_deliveries=3) as hub:
        yield hub


def test_an_activity_whose_worker_died_is_given_to_the_next(hub: TaskHub, tmp_path: Path) -> None:
    address = f"127.0.0.1:{hub.serve_grpc()}"
    hub.start("survivor", instance_id="s", input=json.dumps(str(tmp_path / "died")))
    with process("--worker", address) as worker:
        assert worker.wait(30) == -9
    with process("--worker", address):
        found = hub.wait_for("s", timeout_s=30)
    assert found and found.output == '"survived"'


def test_an_activity_that_always_kills_its_worker_fails_and_says_so(hub: TaskHub, tmp_path: Path) -> None:
    address = f"127.0.0.1:{hub.serve_grpc()}"
    marker = tmp_path / "tries"
    hub.start("poison", instance_id="p", input=json.dumps(str(marker)))
    for _ in range(3):
        with process("--worker", address) as worker:
            assert worker.wait(30) == -9
    with process("--worker", address):
        found = hub.wait_for("p", timeout_s=10)
    assert found and found.status is Status.FAILED
    assert found.failure and "delivered 3 times and its worker died each time" in found.failure.errorMessage
    assert marker.read_text() == "xxx"


def test_deliveries_are_counted_over_restarts_of_the_hub(tmp_path: Path) -> None:
    """The hub dies with its worker each time, and still knows the third time that it is the activity."""
    path, marker = tmp_path / "hub.db", tmp_path / "tries"
    with TaskHub.open(path, clock=Clock()) as hub:
        hub.start("poison", instance_id="p", input=json.dumps(str(marker)))
    for _ in range(crashes := 5):
        with process(str(path)) as host:
            assert host.wait(30) == -9
    with process(str(path)) as host:
        assert host.wait(60) == 0
    with TaskHub.open(path, clock=Clock()) as hub:
        found: Any = hub.get_instance("p")
    assert found.status is Status.FAILED and f"delivered {crashes} times" in found.failure.errorMessage
    assert marker.read_text() == "x" * crashes
