"""How fast the SQLite task hub is, beside the SDK's in-memory backend: `python -m bench.hub`.

Both sides run the same orchestrations through the SDK's own execution code, started and awaited over gRPC by the SDK's
client. "memory" is durabletask's test backend with its stock worker over gRPC; "hub" is our hub on a file with a worker
in its process, as the runner has it; "hub, gRPC" is our hub with the stock worker. Each run is a fresh process; sides
alternate, so that a busy machine slows both. Targets: issue 3.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import durabletask.internal.orchestrator_service_pb2_grpc as stubs
import grpc
from durabletask import task
from durabletask.client import TaskHubGrpcClient
from durabletask.testing.in_memory_backend import InMemoryOrchestrationBackend
from durabletask.worker import TaskHubGrpcWorker

from localdev.clock import Clock
from localdev.runner.hub import TaskHub
from tests.hub.inprocess import InProcessWorker

TARGET = 0.6
RESTART_TARGET_S = 2.0
FINISHED = 10_000
SIDES = ("memory", "hub", "hub, gRPC")
_BASELINE_HISTORY = 10**9  # its default cap of 10,000 events hangs a fan-out of 5,000
_TIMEOUT_S = 600
_QUIET = logging.getLogger("bench.quiet")
_QUIET.setLevel(logging.CRITICAL)

Steps = Generator[task.Task[Any], Any, Any]


def nothing(_: task.ActivityContext, value: int) -> int:
    return value


def chain(ctx: task.OrchestrationContext, length: int) -> Steps:
    for i in range(length):
        yield ctx.call_activity(nothing, input=i)
    return length


def fan_out(ctx: task.OrchestrationContext, width: int) -> Steps:
    values = yield task.when_all([ctx.call_activity(nothing, input=i) for i in range(width)])
    return len(values)


def small(ctx: task.OrchestrationContext, _: None) -> Steps:
    first = yield ctx.call_activity(nothing, input=1)
    return (yield ctx.call_activity(nothing, input=first))


def one_turn(_: task.OrchestrationContext, value: int) -> int:
    return value


def one(orchestrator: Any, size: int) -> Callable[[TaskHubGrpcClient], None]:
    def run(client: TaskHubGrpcClient) -> None:
        finish(client, client.schedule_new_orchestration(orchestrator, input=size))

    return run


def many_small(client: TaskHubGrpcClient) -> None:
    for instance in [client.schedule_new_orchestration(small) for _ in range(1000)]:
        finish(client, instance)


def finish(client: TaskHubGrpcClient, instance: str) -> None:
    state = client.wait_for_orchestration_completion(instance, timeout=_TIMEOUT_S)
    assert state is not None
    state.raise_if_failed()


SCENARIOS: dict[str, Callable[[TaskHubGrpcClient], None]] = {
    "fan-out of 1,000": one(fan_out, 1000),
    "fan-out of 5,000": one(fan_out, 5000),
    "1,000 small orchestrations": many_small,
    "chain of 1,000": one(chain, 1000),
}


@contextmanager
def side(name: str, folder: Path) -> Iterator[TaskHubGrpcClient]:
    """A client whose orchestrations run on that side."""
    if name == "memory":
        with _baseline() as address, _connected(address) as client:
            worker = _registry(address)
            worker.start()
            yield client
            worker.stop()
        return
    synchronous: Literal["NORMAL", "FULL"] = "FULL" if name == "hub, FULL" else "NORMAL"
    with TaskHub.open(folder / "hub.db", clock=Clock(), synchronous=synchronous) as hub:
        address = f"127.0.0.1:{hub.serve_grpc()}"
        registry = _registry(address)
        worker = registry if name == "hub, gRPC" else InProcessWorker(hub.connect("bench"), registry)
        worker.start()
        with _connected(address) as client:
            yield client
        worker.stop()


@contextmanager
def _baseline() -> Iterator[str]:
    """The SDK's backend as it starts itself (10 threads), but on loopback only and without its history cap."""
    server = grpc.server(ThreadPoolExecutor(max_workers=10))
    backend = InMemoryOrchestrationBackend(max_history_size=_BASELINE_HISTORY)
    stubs.add_TaskHubSidecarServiceServicer_to_server(backend, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


@contextmanager
def _connected(address: str) -> Iterator[TaskHubGrpcClient]:
    client = TaskHubGrpcClient(host_address=address, logger=_QUIET)
    yield client
    client.close()


def _registry(address: str) -> TaskHubGrpcWorker:
    worker = TaskHubGrpcWorker(host_address=address, logger=_QUIET)
    for orchestrator in (chain, fan_out, small, one_turn):
        worker.add_orchestrator(orchestrator)
    worker.add_activity(nothing)
    return worker


def measure_scenario(name: str, scenario: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, side(name, Path(folder)) as client:
        finish(client, client.schedule_new_orchestration(small))
        started = time.perf_counter()
        SCENARIOS[scenario](client)
        return {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}


def fill(folder: Path) -> dict[str, float]:
    """Make a file with many finished instances."""
    with side("hub", folder) as client:
        started = time.perf_counter()
        for instance in [client.schedule_new_orchestration(one_turn, input=i) for i in range(FINISHED)]:
            finish(client, instance)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "file_mb": (folder / "hub.db").stat().st_size / 1e6}


def reopen(folder: Path) -> dict[str, float]:
    """Open that file in a fresh process, until a new orchestration is done."""
    started = time.perf_counter()
    with TaskHub.open(folder / "hub.db", clock=Clock()) as hub:
        opened = time.perf_counter() - started
        worker = InProcessWorker(hub.connect("bench"), _registry("127.0.0.1:1"))
        worker.start()
        hub.wait_for(hub.start("small"), timeout_s=_TIMEOUT_S)
        ready = time.perf_counter() - started
        worker.stop()
    return {"opened": opened, "ready": ready, "peak_mb": peak_mb()}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.hub", "--child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeat", type=int, default=3, help="runs of each scenario on each side (median is shown)"
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        logging.disable(logging.INFO)
        print(json.dumps(_child(options.child)))
        return 0
    missed = compare(options.repeat) + restart()
    print(f"\n{missed} target(s) missed" if missed else "\nall targets reached")
    return 1 if missed else 0


def _child(arguments: list[str]) -> dict[str, float]:
    match arguments:
        case ["scenario", name, scenario]:
            return measure_scenario(name, scenario)
        case ["fill", folder]:
            return fill(Path(folder))
        case ["reopen", folder]:
            return reopen(Path(folder))
    raise SystemExit(f"unknown measurement {arguments}")


def compare(repeat: int) -> int:
    print(
        f"{'':28}"
        + "".join(f"{name + ' s':>14}{'MB':>6}" for name in SIDES)
        + f"{'hub/memory':>14}{'target':>8}"
    )
    missed = 0
    for scenario in SCENARIOS:
        runs = {name: list[dict[str, float]]() for name in SIDES}
        for _ in range(repeat):
            for name in SIDES:
                runs[name].append(in_child("scenario", name, scenario))
        seconds = {name: statistics.median(run["seconds"] for run in runs[name]) for name in SIDES}
        peaks = {name: max(run["peak_mb"] for run in runs[name]) for name in SIDES}
        ratio = seconds["hub"] / seconds["memory"]
        missed += ratio > TARGET
        cells = "".join(f"{seconds[name]:>14.2f}{peaks[name]:>6.0f}" for name in SIDES)
        print(f"{scenario:28}{cells}{ratio:>14.2f}{TARGET:>8}", flush=True)
    full = in_child("scenario", "hub, FULL", "1,000 small orchestrations")["seconds"]
    print(f"\nsafe against power loss too (synchronous=FULL): 1,000 small orchestrations in {full:.2f} s")
    return missed


def restart() -> int:
    with tempfile.TemporaryDirectory() as folder:
        filled = in_child("fill", folder)
        result = in_child("reopen", folder)
    print(
        f"\nfile with {FINISHED:,} finished instances ({filled['file_mb']:.0f} MB, made in {filled['seconds']:.1f} s):"
        f" opened in {result['opened']:.2f} s, new orchestration done after {result['ready']:.2f} s"
        f" (target {RESTART_TARGET_S} s), {result['peak_mb']:.0f} MB"
    )
    return int(result["ready"] > RESTART_TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
