"""Whatever dies, whenever: no machine is forgotten, no shard is lost or doubled, and what is published is the same.

`make test-crash` runs every crash point and more seeds than fit here; `python -m tests.crash replay TASK` one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from activities import conversion, endpoints, leases
from node import parts, shard, tracking
from orchestrators import deploy, score, sweep
from shared.domain.conversion import ParityVerdict
from shared.domain.lease import Operation
from shared.platforms import dsvm
from tests.crash import app
from tests.crash.__main__ import every_single, sample
from tests.crash.campaign import Result, Runner, Summary, Task, stalls, summed
from tests.crash.machine import Machine
from tests.crash.plans import Plan, Verdict
from tests.crash.rig import Rig
from tests.crash.scenarios import SCENARIOS
from tests.crash.verdict import violations

# A sample small enough for every test run; `make test-crash` has the whole, of which CI runs the random nights.
CRASHES, NIGHTS = (
    int(os.environ.get(f"MUSTER_{what}", count)) for what, count in (("CRASHES", 20), ("NIGHTS", 8))
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Rig() as rig:
        yield Runner(rig)


@pytest.mark.parametrize("night", SCENARIOS)
def test_a_night_without_crashes_ends_as_it_should(runner: Runner, night: str) -> None:
    result = runner.run(Task(night))
    assert (result.state, result.faults) == (SCENARIOS[night].state, ())


def test_a_crash_at_any_point_changes_nothing(runner: Runner) -> None:
    every = every_single(runner, SCENARIOS)
    summary = summed(runner.run(task) for task in sample(every, CRASHES))
    print(f"{summary.runs} of {len(every)} single crashes: {summary.states}")
    assert_well(summary)
    assert summary.crashes > CRASHES / 2


def test_random_nights_violate_nothing(runner: Runner) -> None:
    first = int(os.environ.get("MUSTER_FIRST_SEED", "1"))
    nights = list(SCENARIOS)
    tasks = [Task(nights[seed % len(nights)], seed=seed) for seed in range(first, first + NIGHTS)]
    summary = summed(runner.run(task) for task in tasks)
    print(f"seeds {first} to {first + NIGHTS - 1}: {summary.crashes} crashes, {summary.states}")
    assert_well(summary)
    assert summary.crashes > NIGHTS


def assert_well(summary: Summary) -> None:
    told = "\n".join(f"{result.task}: {fault}" for result in summary.failed for fault in result.faults)
    assert not summary.failed, f"repeat one with `python -m tests.crash replay TASK`:\n{told}"


@pytest.mark.parametrize("task", ["two-machines#12", "machine-lost:200d"])
def test_a_task_replays_exactly_in_another_process(runner: Runner, task: str) -> None:
    here = runner.run(Task.parse(task), trace=True)
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    command = [sys.executable, "-m", "tests.crash", "replay", task, "--trace"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert tuple(done.stdout.splitlines()[:-1]) == here.trace, done.stderr
    assert len(here.trace) > 100


def test_a_task_is_parsed_as_it_is_written() -> None:
    for task in (
        Task("plain", ((3, Verdict.DIE), (9, Verdict.STALLS))),
        Task("plain", seed=7),
        Task("plain"),
    ):
        assert Task.parse(str(task)) == task


class _MarkerStays(Plan):
    """Once, Blob Storage does not answer when the marker of a claim is to be deleted, whose run has been started."""

    name = "marker stays"

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def drops_request(self, machine: Machine, strand: str, label: str) -> bool:
        if self.dropped or not label.startswith("DELETE /muster/claims/unstarted/"):
            return False
        self.dropped.append(strand)
        return True


def test_who_asked_for_what_was_started_is_not_told_to_ask_again(runner: Runner) -> None:
    plan, answers, run_http = _MarkerStays(), list[int](), app.run_http

    def told(*asked: Any, **route: Any) -> Any:
        answer = run_http(*asked, **route)
        answers.append(answer.status_code)
        return answer

    with (
        mock.patch.object(app, "run_http", told),
        runner.rig.running(SCENARIOS["rollout-good"], plan) as machine,
    ):
        assert violations(machine) == []  # the next tick deletes the marker

    assert (plan.dropped, answers) == (["trigger post_deployment"], [202, 200])


class TestTheMachineSees:
    """A machine that finds nothing wrong must be able to: each of these takes a guard away, and it is seen."""

    def test_a_machine_made_under_a_closed_lease(self, runner: Runner) -> None:
        tasks = [
            t for t in stalls(runner, "plain") if _label(runner, t).startswith("activity begin_provision")
        ]
        with mock.patch.object(leases, "_closed", lambda *_: set()):
            assert _seen(runner, tasks, "I11", "I1")

    def test_a_part_that_nobody_takes_back(self, runner: Runner) -> None:
        runner.points("cancelled")  # without faults first, while the guard stands
        commit: Any = parts.commit_part
        with mock.patch.object(shard, "commit_part", lambda *args, run: commit(*args, run="")):
            assert _seen(runner, [Task("cancelled")], "I4")

    def test_other_bytes(self, runner: Runner) -> None:
        runner.points("plain")
        before: Any = parts.PartFile.append
        with mock.patch.object(parts.PartFile, "append", lambda part, table: before(part, table.slice(1))):
            assert _seen(runner, [Task("plain")], "I6")

    def test_a_machine_that_is_left(self, runner: Runner) -> None:
        runner.points("plain")
        begun = Operation(poll_after_s=1.0)
        with (
            mock.patch.object(dsvm.Dsvm, "begin_delete", lambda *_: begun),
            mock.patch.object(dsvm.Dsvm, "begin_removal", lambda *_: None),
        ):
            assert _seen(runner, [Task("plain")], "I17 not at rest")

    def test_a_sweep_that_is_not_ended_before_its_cluster(self, runner: Runner) -> None:
        runner.points("sweep-cancelled")

        def is_left_to_itself(*_: Any) -> Iterator[Any]:
            yield from ()

        with mock.patch.object(sweep, "_ask_to_end", is_left_to_itself):
            assert _seen(runner, [Task("sweep-cancelled")], "S2")

    def test_children_of_a_sweep_that_tell_azure_ml_nothing(self, runner: Runner) -> None:
        runner.points("sweep-cluster-fails")
        with mock.patch.object(tracking.Run, "log", lambda *_: True):
            assert _seen(runner, [Task("sweep-cluster-fails")], "S5")

    def test_traffic_that_nobody_agreed_to(self, runner: Runner) -> None:
        runner.points("rollout-good")

        def nobody_is_asked(*_: Any) -> Iterator[Any]:
            yield from ()

        with mock.patch.object(deploy, "_approve", nobody_is_asked):
            assert _seen(runner, [Task("rollout-good")], "I8")

    def test_a_converted_model_that_answers_otherwise(self, runner: Runner) -> None:
        runner.points("rollout-unlike")
        with mock.patch.object(conversion, "judge_parity", lambda *_: ParityVerdict(ok=True)):
            assert _seen(runner, [Task("rollout-unlike")], "C3")

    def test_a_map_that_is_written_long_after_it_was_decided(self, runner: Runner) -> None:
        every = stalls(runner, "rollout-good")
        tasks = [task for task in every if _label(runner, task).startswith("activity set_traffic")]
        with mock.patch.object(endpoints, "_check_in_time", lambda *_: None):
            assert _seen(runner, tasks[1:2], "ended RolledBack")

    def test_a_history_that_replays_otherwise(self, runner: Runner) -> None:
        with runner.rig.running(SCENARIOS["plain"], Plan()) as machine:
            assert violations(machine) == []
            with mock.patch.object(score, "FIRST_LOOK_S", 17.0):
                assert any(fault.startswith("I19") for fault in violations(machine))


def _seen(runner: Runner, tasks: list[Task], *names: str) -> list[Result]:
    results = [runner.run(task) for task in tasks]
    return [r for r in results if any(fault.startswith(names) for fault in r.faults)]


def _label(runner: Runner, task: Task) -> str:
    return runner.points(task.scenario)[task.crashes[0][0]].label
