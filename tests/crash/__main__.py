"""Campaigns of the test machine.

python -m tests.crash singles [--scenario NAME] [--sample N]   one crash at every point of every night
python -m tests.crash pairs [--sample N]                       two crashes, every pair of effects of the plain night
python -m tests.crash chaos --runs N [--first SEED]            random schedules of several faults at once
python -m tests.crash replay TASK [--trace]                    one run again, as a campaign named it

--part I/N of the first three: every N-th run from the I-th on, so that a campaign can be done in pieces or places.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Iterable, Sequence

from tests.crash.campaign import (
    Result,
    Runner,
    Summary,
    Task,
    agent_deaths,
    pairs,
    run_all,
    singles,
    stalls,
    with_rig,
)
from tests.crash.scenarios import SCENARIOS


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    logging.disable(logging.CRITICAL)
    if options.command == "replay":
        return _replay(Task.parse(options.task), trace=options.trace)
    tasks = _tasks(options)[options.part]
    print(f"{len(tasks)} runs", flush=True)
    summary = _report(run_all(tasks, processes=options.processes), len(tasks))
    return 1 if summary.failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("singles", "pairs", "chaos"):
        command = commands.add_parser(name)
        command.add_argument("--processes", type=int, default=0)
        command.add_argument("--sample", type=int, default=0, help="so many of them, evenly over all")
        command.add_argument("--scenario", choices=list(SCENARIOS), action="append")
        command.add_argument("--runs", type=int, default=500)
        command.add_argument("--first", type=int, default=1)
        command.add_argument("--part", type=_part, default=slice(None), metavar="I/N")
    again = commands.add_parser("replay")
    again.add_argument("task")
    again.add_argument("--trace", action="store_true")
    return parser.parse_args(arguments)


def _part(text: str) -> slice:
    """1/4 -> every fourth, from the first on."""
    number, count = (int(each) for each in text.split("/"))
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"{text} is not one of {count} parts")
    return slice(number - 1, None, count)


def _tasks(options: argparse.Namespace) -> list[Task]:
    scenarios = options.scenario or list(SCENARIOS)
    if options.command == "chaos":
        seeds = range(options.first, options.first + options.runs)
        return [Task(scenarios[seed % len(scenarios)], seed=seed) for seed in seeds]
    if options.command == "pairs":
        return sample(list(pairs(with_rig(), "plain")), options.sample)
    return sample(every_single(with_rig(), scenarios), options.sample)


def every_single(runner: Runner, scenarios: Iterable[str]) -> list[Task]:
    """Every point of the plain night, every effect of the others, every death and stall of the first two; a rollout's
    stalls too, after which two writers are at work."""
    found: list[Task] = []
    for scenario in scenarios:
        found += singles(runner, scenario, every_point=scenario == "plain")
        if scenario in ("plain", "two-machines"):
            found += [*agent_deaths(runner, scenario), *stalls(runner, scenario)]
        if scenario in ("rollout-good", "rollout-bad"):
            found += stalls(runner, scenario)
    return found


def sample(tasks: list[Task], count: int) -> list[Task]:
    """`count` of them (0: all), the same each time, spread over all."""
    if not count or count >= len(tasks):
        return tasks
    chance = random.Random(count)
    size = len(tasks) / count
    return [tasks[min(int((n + chance.random()) * size), len(tasks) - 1)] for n in range(count)]


def _report(results: Iterable[Result], total: int) -> Summary:
    summary, started, told = Summary(), time.monotonic(), 0
    for result in results:
        summary.add(result)
        for fault in result.faults:
            print(f"FAULT {result.task}: {fault}", flush=True)
        if summary.runs * 20 // total > told:
            told = summary.runs * 20 // total
            print(f"{summary.runs} of {total}, {time.monotonic() - started:.0f} s", flush=True)
    wall = time.monotonic() - started
    print(
        f"{summary.runs} runs with {summary.crashes} crashes, {summary.virtual_s / 86400:.1f} simulated days, "
        f"{wall:.0f} s ({summary.seconds / max(summary.runs, 1):.2f} s a run); ended {summary.states}; "
        f"{len(summary.failed)} runs with violations"
    )
    return summary


def _replay(task: Task, *, trace: bool) -> int:
    runner = with_rig()
    result = runner.run(task, trace=trace)
    for line in result.trace:
        print(line)
    print(f"{task}: {result.state}, {result.crashes} crashes, {len(result.faults)} violations")
    for fault in result.faults:
        print(f"FAULT {fault}")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
