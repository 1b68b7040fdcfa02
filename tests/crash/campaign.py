"""Many runs of the machine: which, in how many processes, and what they came to.

Each task is plain data and gives the same run in any process, so that what failed in a campaign of thousands is
repeated alone by its name: `python -m tests.crash replay TASK`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from tests.crash.machine import Machine, Stuck
from tests.crash.plans import CrashAt, Plan, Verdict
from tests.crash.points import Point
from tests.crash.rig import Rig
from tests.crash.scenario import state_of
from tests.crash.scenarios import SCENARIOS
from tests.crash.verdict import Baseline, violations

_EFFECTS = ("PUT ", "POST ", "DELETE ", "start ", "raise ", "after commit", "answered")


@dataclass(frozen=True)
class Task:
    """`crashes`: (number of the point, what dies). `seed`: a random schedule instead."""

    scenario: str
    crashes: tuple[tuple[int, Verdict], ...] = ()
    seed: int | None = None

    def __str__(self) -> str:
        if self.seed is not None:
            return f"{self.scenario}#{self.seed}"
        return ":".join(
            [self.scenario, *(f"{number}{_LETTERS[verdict]}" for number, verdict in self.crashes)]
        )

    @classmethod
    def parse(cls, text: str) -> Task:
        """Task.parse("plain:17d:203d"), Task.parse("plain#4711")."""
        if "#" in text:
            scenario, _, seed = text.partition("#")
            return cls(scenario, seed=int(seed))
        scenario, *crashes = text.split(":")
        by_letter = {letter: verdict for verdict, letter in _LETTERS.items()}
        return cls(scenario, tuple((int(each[:-1]), by_letter[each[-1]]) for each in crashes))

    def plan(self) -> Plan:
        if self.seed is not None:
            from tests.crash.chaos import Chaos

            return Chaos(self.seed)
        return CrashAt(dict(self.crashes))

    @property
    def keeps_state(self) -> bool:
        """Whether the run must end as it does without crashes."""
        return self.seed is None and all(v in (Verdict.DIE, Verdict.STALLS) for _, v in self.crashes)

    @property
    def is_strict(self) -> bool:
        return self.seed is None and all(verdict is Verdict.DIE for _, verdict in self.crashes)


_LETTERS = {
    Verdict.DIE: "d",
    Verdict.WORKER_DIES: "w",
    Verdict.AGENT_DIES: "a",
    Verdict.MACHINE_LOST: "m",
    Verdict.STALLS: "s",
}


@dataclass(frozen=True)
class Result:
    task: Task
    faults: tuple[str, ...]
    state: str = ""
    seconds: float = 0.0
    crashes: int = 0
    virtual_s: float = 0.0
    trace: tuple[str, ...] = field(default=(), repr=False)


class Runner:
    """Runs tasks in this process, one after the other."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._baselines: dict[str, tuple[Baseline, list[Point]]] = {}

    def points(self, scenario: str) -> list[Point]:
        return self._fault_free(scenario)[1]

    def run(self, task: Task, *, trace: bool = False) -> Result:
        baseline = self._baseline(task)
        started = time.perf_counter()
        machine: Machine | None = None
        try:
            with self.rig.running(SCENARIOS[task.scenario], task.plan()) as machine:
                faults = violations(machine, baseline, strict=task.is_strict)
                state = state_of(machine)
                if task.keeps_state and state != baseline.state:
                    faults.append(f"ended {state}, without crashes {baseline.state}")
        except Stuck as stuck:
            faults, state = [f"I17 {stuck}"], "stuck"
        except Exception as error:  # noqa: BLE001  # a campaign goes on, and names the task that did this
            faults, state = [f"the machine failed: {type(error).__name__}: {error}"], "error"
        machine = machine or self.rig.last
        return Result(
            task,
            tuple(faults),
            state,
            time.perf_counter() - started,
            machine.crashes if machine else 0,
            machine.clock.time() - machine.started if machine else 0.0,
            trace_of(machine) if trace and machine else (),
        )

    def _baseline(self, task: Task) -> Baseline:
        """What to compare with. A night that publishes nothing by itself may publish if its fault strikes elsewhere."""
        baseline, _ = self._fault_free(task.scenario)
        scenario = SCENARIOS[task.scenario]
        if task.is_strict or baseline.published or scenario.bad_files or not scenario.files:
            return baseline
        undisturbed = next(  # of each number of files the first in the list is
            s.name for s in SCENARIOS.values() if (s.files, s.state) == (scenario.files, "Completed")
        )
        return replace(baseline, published=self._fault_free(undisturbed)[0].published)

    def _fault_free(self, scenario: str) -> tuple[Baseline, list[Point]]:
        if scenario not in self._baselines:
            wanted = SCENARIOS[scenario]
            with self.rig.running(wanted, Plan()) as machine:
                baseline = Baseline.of(machine)
                faults = violations(machine, baseline, strict=True)
                if baseline.state != wanted.state or faults:
                    raise AssertionError(f"{scenario} without crashes ended {baseline.state}: {faults}")
                self._baselines[scenario] = baseline, machine.points
        return self._baselines[scenario]


def trace_of(machine: Machine) -> tuple[str, ...]:
    return tuple(f"{p.number} {p.at - machine.started:.2f} {p.label}" for p in machine.points)


def singles(runner: Runner, scenario: str, *, every_point: bool) -> Iterator[Task]:
    """One crash of the app at each point; without `every_point`, at those where something has changed."""
    for point in runner.points(scenario):
        if point.kind == "agent":
            continue
        if every_point or any(each in point.label for each in _EFFECTS):
            yield Task(scenario, ((point.number, Verdict.DIE),))


def agent_deaths(runner: Runner, scenario: str) -> Iterator[Task]:
    """One death of worker, agent or machine at each request of the agent."""
    for point in runner.points(scenario):
        if point.kind == "agent":
            for verdict in (Verdict.WORKER_DIES, Verdict.AGENT_DIES, Verdict.MACHINE_LOST):
                yield Task(scenario, ((point.number, verdict),))


def stalls(runner: Runner, scenario: str) -> Iterator[Task]:
    """One worker out of sight after each request of an activity: its work is given to another, and it comes back."""
    for point in runner.points(scenario):
        if point.kind == "activity" and not point.label.endswith(("| before", "| answered")):
            yield Task(scenario, ((point.number, Verdict.STALLS),))


def pairs(runner: Runner, scenario: str) -> Iterator[Task]:
    """Every pair of effects of the fault-free run, in order. The second is counted in the run that the first made."""
    numbers = [task.crashes[0][0] for task in singles(runner, scenario, every_point=False)]
    for index, first in enumerate(numbers):
        for second in numbers[index + 1 :]:
            yield Task(scenario, ((first, Verdict.DIE), (second, Verdict.DIE)))


def run_all(tasks: Sequence[Task], *, processes: int = 0) -> Iterator[Result]:
    """Run them in child processes; results come as they are ready."""
    count = processes or min(os.cpu_count() or 1, 8)
    if count == 1 or len(tasks) < 8:
        with Rig() as rig:
            runner = Runner(rig)
            yield from (runner.run(task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, initializer=_set_up) as pool:
        yield from pool.imap_unordered(_run_one, tasks, chunksize=4)


def with_rig() -> Runner:
    """A runner for the life of this process."""
    return _runner()


@cache
def _runner() -> Runner:
    return Runner(Rig().__enter__())


def _set_up() -> None:
    logging.disable(logging.CRITICAL)
    _die_with_parent()
    _runner()


def _run_one(task: Task) -> Result:
    return _runner().run(task)


def _die_with_parent() -> None:
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass
class Summary:
    runs: int = 0
    crashes: int = 0
    seconds: float = 0.0
    virtual_s: float = 0.0
    states: dict[str, int] = field(default_factory=dict)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.runs += 1
        self.crashes += result.crashes
        self.seconds += result.seconds
        self.virtual_s += result.virtual_s
        self.states[result.state] = self.states.get(result.state, 0) + 1
        if result.faults:
            self.failed.append(result)


def summed(results: Iterable[Result]) -> Summary:
    summary = Summary()
    for result in results:
        summary.add(result)
    return summary
