"""Orchestrations for being killed in: `python -m tests.hub.crash_app FILE` starts what is not there, runs all, exits 0.

`python -m tests.hub.crash_app --worker ADDRESS` is a stock worker on its own, for a hub elsewhere.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from durabletask import task
from durabletask.entities import EntityInstanceId
from durabletask.worker import TaskHubGrpcWorker

from localdev.clock import Clock
from localdev.runner.hub import InstanceExists, Limits, TaskHub
from tests.hub.inprocess import InProcessWorker

Steps = Generator[task.Task[Any], Any, Any]

TALLIES = ("x", "y", "z")
WIDTH, ITEMS = 12, 20
_PR_SET_PDEATHSIG = 1


def work(_: task.ActivityContext, value: int) -> int:
    time.sleep(0.03)
    return value * value


def die_first(_: task.ActivityContext, marker: str) -> str:
    """Kills its own worker, the first time it runs."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def die_always(_: task.ActivityContext, marker: str) -> None:
    with Path(marker).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def fan(ctx: task.OrchestrationContext, offset: int) -> Steps:
    return sum((yield task.when_all([ctx.call_activity(work, input=offset + i) for i in range(WIDTH)])))


def parent(ctx: task.OrchestrationContext, offset: int) -> Steps:
    children = [ctx.call_sub_orchestrator(child, input=offset + i) for i in range(3)]
    return (yield task.when_all(children))


def child(ctx: task.OrchestrationContext, value: int) -> Steps:
    yield ctx.create_timer(timedelta(milliseconds=300))
    squared = yield ctx.call_activity(work, input=value)
    yield ctx.create_timer(timedelta(milliseconds=300))
    return [squared, ctx.parent_instance_id]


def locker(ctx: task.OrchestrationContext, keys: list[str]) -> Steps:
    entities = [EntityInstanceId("tally", key) for key in keys]
    with (yield ctx.lock_entities(entities)):
        seen = []
        for entity in entities:
            seen.append((yield ctx.call_entity(entity, "get")))
        yield ctx.call_activity(work, input=1)
        for entity, value in zip(entities, seen, strict=True):
            yield ctx.call_entity(entity, "set", value + 1)
    return "done"


def collector(ctx: task.OrchestrationContext, got: list[int]) -> Steps:
    """Runs a generation per item."""
    got = [*got, (yield ctx.wait_for_external_event("item"))]
    yield ctx.call_activity(work, input=1)
    if len(got) == ITEMS:
        return got
    ctx.continue_as_new(got, save_events=True)
    return None


def feeder(ctx: task.OrchestrationContext, target: str) -> Steps:
    for i in range(ITEMS):
        ctx.send_event(target, "item", data=i)
        yield ctx.create_timer(timedelta(milliseconds=100))
    return "fed"


def survivor(ctx: task.OrchestrationContext, marker: str) -> Steps:
    return (yield ctx.call_activity(die_first, input=marker))


def poison(ctx: task.OrchestrationContext, marker: str) -> Steps:
    return (yield ctx.call_activity(die_always, input=marker))


def tally(ctx: Any, value: Any) -> Any:
    if ctx.operation == "set":
        ctx.set_state(value)
    return ctx.get_state(int, 0)


def plan() -> dict[str, tuple[str, Any, Any]]:
    """Every instance: its orchestrator, its input, and the only right output."""
    todo: dict[str, tuple[str, Any, Any]] = {}
    for n in range(8):
        todo[f"fan-{n}"] = ("fan", n, sum((n + i) ** 2 for i in range(WIDTH)))
        todo[f"parent-{n}"] = ("parent", n, [[(n + i) ** 2, f"parent-{n}"] for i in range(3)])
    for n in range(12):
        todo[f"locker-{n}"] = ("locker", [TALLIES[n % 3], TALLIES[(n + 1) % 3]], "done")
    for n in range(4):
        todo[f"collector-{n}"] = ("collector", [], list(range(ITEMS)))
        todo[f"feeder-{n}"] = ("feeder", f"collector-{n}", "fed")
    return todo


def register(worker: TaskHubGrpcWorker) -> TaskHubGrpcWorker:
    for orchestrator in (fan, parent, child, locker, collector, feeder, survivor, poison):
        worker.add_orchestrator(orchestrator)
    for activity in (work, die_first, die_always):
        worker.add_activity(activity)
    worker.add_entity(tally)
    return worker


def run_all(path: Path, *, max_deliveries: int = 5) -> None:
    """The host: hub and worker in one process. Ends when every planned instance is finished."""
    with TaskHub.open(path, clock=Clock(), max_deliveries=max_deliveries) as hub:
        worker = InProcessWorker(
            hub.connect_remote("crash", Limits(activities=8)), register(quiet_worker("127.0.0.1:1"))
        )
        print("ready", flush=True)
        worker.start()
        for instance, (name, input, _) in plan().items():
            with suppress(InstanceExists):
                hub.start(name, instance_id=instance, input=json.dumps(input), replaceable=())
        for instance in plan():
            hub.wait_for(instance)
        worker.stop()


def quiet_worker(address: str) -> TaskHubGrpcWorker:
    quiet = logging.getLogger("tests.hub.sdk")
    quiet.setLevel(logging.CRITICAL)
    return TaskHubGrpcWorker(host_address=address, logger=quiet)


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    match sys.argv[1:]:
        case ["--worker", address]:
            print("ready", flush=True)
            register(quiet_worker(address)).start()
            signal.pause()
        case [path]:
            run_all(Path(path))
        case [path, "--killed-from-outside"]:
            # However often, it is no activity's doing: none is given up for it.
            run_all(Path(path), max_deliveries=1_000)


if __name__ == "__main__":
    main()
