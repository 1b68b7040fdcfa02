"""What stands between a client and a model: the endpoint's router, and a rollout that is being judged.

`python -m bench.scoring [--seconds N]`. One world: the real app, the simulated Azure, Azure ML's inference server with a
model that answers at once, so that nothing hides what is measured. A client in a process of its own keeps four requests
under way; slices of some seconds take turns, so that whatever else the machine does falls on all alike:

straight     to the scoring server's own port.
routed       to the endpoint's address: name, key, TLS, weights, the deployment's queue, one record for the metrics.
judged       the same while a rollout is in its first step, with a look every wall second: 60 times as often as in Azure.

Ratios are to the slices beside them. Straight to routed is the simulator's router and its TLS proxy, one Python process:
Azure has azureml-fe or its own front there, and nothing of it is Muster's. Muster is in no request's path, there or here.
What the judged slices cost is that app, hub, judge and Azure share this machine's processors with server and client; in
Azure they do not, and what is left is green's share of the traffic.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localdev.demo.deploy import target_of
from localdev.demo.load import Target
from node.lifeline import die_with_parent
from shared.azure.scoring_client import ScoringClient
from shared.domain.names import deployment_name
from tests.support.deployments import ask, calmly, decide, deployment, finish, post, put_version, rows
from tests.support.estate import Estate, Ran, estate

AT_ONCE = 4
ROUNDS = 4
NAME = "measured"
# So many that version 1 has them soon, of all traffic, and version 2 in no slice, of its twentieth: its step stays open.
MANY = 2_000
DECLARED = deployment(
    NAME, rollout={"steps": [5, 100], "bake": "PT5M", "minRequests": MANY, "inconclusiveAfter": "P1D"},
    limits={"deadline": "P7D"},
)  # fmt: skip


@dataclass
class Slices:
    """What the client counted in the slices of one kind."""

    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        self.requests += len(told["latencies_ms"])
        self.failed += told["failed"]
        self.seconds += told["seconds"]
        self.latencies_ms += told["latencies_ms"]

    @property
    def figures(self) -> tuple[float, float, float]:
        """Requests a second, p50 and p95 in milliseconds."""
        cuts = statistics.quantiles(self.latencies_ms, n=20)
        return self.requests / self.seconds, statistics.median(self.latencies_ms), cuts[18]


def keep_asking(uri: str, key: str, seconds: float) -> dict[str, Any]:
    """In the client's process: four threads, each with its next request as soon as it has an answer."""
    table = rows()
    body = json.dumps({"input_data": {**table, "data": table["data"][:1]}}).encode()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    until = time.monotonic() + seconds
    with ScoringClient(uri, headers, timeout_s=20, connections=AT_ONCE) as client:

        def ask_on(_: int) -> tuple[list[float], int]:
            found, failed = [], 0
            while time.monotonic() < until:
                answer = client.score(body)
                failed += not answer.is_success
                found.append(answer.latency_s * 1000)
            return found, failed

        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            parts = list(threads.map(ask_on, range(AT_ONCE)))
    return {
        "latencies_ms": [each for found, _ in parts for each in found],
        "failed": sum(failed for _, failed in parts),
        "seconds": time.monotonic() - began,
    }


def asked(uri: str, key: str, seconds: float) -> dict[str, Any]:
    """One slice. The key is on no command line."""
    command = [sys.executable, "-m", "bench.scoring", "--client"]
    told = json.dumps({"uri": uri, "key": key, "seconds": seconds})
    done = subprocess.run(
        command, input=told, capture_output=True, text=True, check=True, timeout=seconds + 60,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def go_live(here: Estate) -> tuple[Ran, Target]:
    """Version 1 with all traffic, approved by a person and judged by what the client asks."""
    put_version(here, f"{NAME}-model", "1")
    run = ask(here, NAME, "1")
    assert decide(here, run, "approve")[0] == 200
    target = target_of(here.world, NAME)
    for _ in range(60):
        asked(target.uri, target.key, 2.0)
        if here.world.api(f"deployments/{run.id}")[1]["over"]:
            return finish(here, run), target
    raise AssertionError("version 1 is not live")


def port_of(here: Estate, run: Ran) -> int:
    """Where the deployment's first instance listens. The simulator tells nobody: it is looked up inside."""

    def found(world: Any) -> int:
        endpoint = world.serving._endpoints[NAME]
        return int(endpoint.deployments[deployment_name(run.id)]._instances[0].port)

    return int(here.world._simulator.act(found))


@contextmanager
def rollout(here: Estate) -> Iterator[None]:
    """Version 2 is in its first step, and judged, for the length of the block."""
    put_version(here, f"{NAME}-model", "2")
    run = ask(here, NAME, "2")
    calmly(lambda: _phase(here, run) == "baking", "the first step to be judged")
    yield
    assert _phase(here, run) == "baking", "the rollout ended while it was measured"
    assert post(here, f"deployments/{run.id}/cancel", "default")[0] == 202
    finish(here, run)


def _phase(here: Estate, run: Ran) -> str:
    return str(here.world.api(f"deployments/{run.id}")[1]["phase"])


def show(name: str, slices: Slices, beside: Slices | None = None) -> None:
    rate, p50, p95 = slices.figures
    line = f"{name:28} {rate:7.0f}/s   p50 {p50:7.2f} ms   p95 {p95:7.2f} ms   {slices.failed} failed"
    if beside is not None:
        theirs = beside.figures
        line += f"   x {rate / theirs[0]:.2f}   x {p50 / theirs[1]:.2f}   x {p95 / theirs[2]:.2f}"
    print(line)


def measure(here: Estate, seconds: float) -> int:
    run, target = go_live(here)
    straight, routed, before, judged = Slices(), Slices(), Slices(), Slices()
    port = port_of(here, run)
    for _ in range(ROUNDS):
        straight.add(asked(f"http://127.0.0.1:{port}/score", "", seconds))
        routed.add(asked(target.uri, target.key, seconds))
    for _ in range(ROUNDS // 2):
        before.add(asked(target.uri, target.key, seconds))
        with rollout(here):
            judged.add(asked(target.uri, target.key, seconds))
            judged.add(asked(target.uri, target.key, seconds))
        before.add(asked(target.uri, target.key, seconds))
    show("straight to the server", straight)
    show("through the router", routed, straight)
    show("no rollout", before)
    show("a rollout being judged", judged, before)
    return 0 if not any(each.failed for each in (straight, routed, before, judged)) else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scoring")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each slice")
    parser.add_argument("--client", action="store_true", help="ask as stdin says; for the bench itself")
    options = parser.parse_args(arguments)
    if options.client:
        told = json.load(sys.stdin)
        json.dump(keep_asking(told["uri"], told["key"], told["seconds"]), sys.stdout)
        return 0
    with tempfile.TemporaryDirectory() as folder, estate(Path(folder) / "world", [DECLARED]) as here:
        return measure(here, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
