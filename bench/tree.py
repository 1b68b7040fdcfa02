"""100,000 no-op activities through a tree of orchestrations, each with a short history: `python -m bench.tree [N]`.

A root, lanes below it, chunks of 100 below those: the shape in which the app cuts what would be one huge fan-out. On a
hub file, with a worker in the hub's process, as the runner has it. Reported: time, peak memory, the file, the longest
history.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from durabletask import task
from durabletask.worker import TaskHubGrpcWorker

from bench.hub import nothing, peak_mb
from localdev.clock import Clock
from localdev.runner.hub import Status, TaskHub
from tests.hub.inprocess import InProcessWorker

ACTIVITIES = 100_000
CHUNK, CHUNKS = 100, 20  # activities of a chunk, chunks of a lane
AT_ONCE = 4  # chunks of a lane in flight
MOST_EVENTS = 500
_TIMEOUT_S = 3600

Steps = Generator[task.Task[Any], Any, Any]


def root(ctx: task.OrchestrationContext, lanes: int) -> Steps:
    done = yield task.when_all([ctx.call_sub_orchestrator(lane, input=number) for number in range(lanes)])
    return sum(done)


def lane(ctx: task.OrchestrationContext, number: int) -> Steps:
    done = 0
    for first in range(0, CHUNKS, AT_ONCE):
        chunks = [
            ctx.call_sub_orchestrator(chunk, input=first + i) for i in range(min(AT_ONCE, CHUNKS - first))
        ]
        done += sum((yield task.when_all(chunks)))
    return done


def chunk(ctx: task.OrchestrationContext, number: int) -> Steps:
    done = yield task.when_all([ctx.call_activity(nothing, input=i) for i in range(CHUNK)])
    return len(done)


def main(activities: int) -> int:
    logging.disable(logging.INFO)
    lanes = -(-activities // (CHUNK * CHUNKS))
    worker = TaskHubGrpcWorker(host_address="127.0.0.1:1")
    for orchestrator in (root, lane, chunk):
        worker.add_orchestrator(orchestrator)
    worker.add_activity(nothing)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub.db"
        with TaskHub.open(path, clock=Clock()) as hub:
            before = peak_mb()
            began = time.perf_counter()
            at_work = InProcessWorker(hub.connect("bench"), worker)
            at_work.start()
            found = hub.wait_for(
                hub.start("root", instance_id="root", input=str(lanes)), timeout_s=_TIMEOUT_S
            )
            seconds = time.perf_counter() - began
            at_work.stop()
            with hub.store.reading() as sql:
                (longest,) = sql.execute("SELECT max(events) FROM instance").fetchone()
        size = path.stat().st_size / 1e6
    expected = lanes * CHUNK * CHUNKS
    complete = found is not None and found.status is Status.COMPLETED and found.output == str(expected)
    print(
        f"{expected:,} activities in {1 + lanes + lanes * CHUNKS:,} orchestrations: {seconds:.0f} s"
        f" ({expected / seconds:,.0f} a second), peak {peak_mb():.0f} MB ({before:.0f} MB before),"
        f" file {size:.0f} MB, longest history {longest} events"
    )
    ok = complete and longest < MOST_EVENTS
    print("complete, histories bounded" if ok else "NOT as promised")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else ACTIVITIES))
