"""How events come in: `python -m bench.events [--deliveries N]`.

Acknowledgement: real HTTP to the local runner's Event Grid webhook, with the deployed app in a process of its own and
real Azurite behind the simulator's proxy; one fresh fact after the other, from the request to the 202. The ledger write
and, for a drift, the start of what considers it lie in between: one a second shows the acknowledgement, five a second
what the considerations of those before add to it, which run in the same process here. The minute's timers fire as they
do for a user. Target: p99 below 50 ms.

Once: 1,000 facts in 100,000 deliveries, doubled, disordered, up to a day late, in both schemas and casings, some at one
moment; the app's own trigger function in this process, its real ledger in Azurite, a real task hub. After each 5,000 the
process forgets what it took, as if the next came to another worker. Target: one consideration for each fact, and each
fact on record.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from localdev.clock import Clock
from localdev.demo.world import World
from localdev.runner.hub import TaskHub
from shared.azure import blob
from tests.crash.clock import VirtualClock
from tests.events.deliveries import AT, Deliveries, Event, as_cloud_event, breach, event, key_of, pascal
from tests.support.cloud import forget, simulated_azure

ACKNOWLEDGED = 600
DRIFTS = 200
WARM_UP = 50
TARGET_MS = 50.0
FACTS = 1_000
BATCH = 5_000


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection in this process, which is the client and Azure: neither is what is measured."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def app(folder: Path) -> Iterator[World]:
    """The deployed app without declarations: what is measured is the way in, not what is decided."""
    (folder / "workloads").mkdir()
    clock = Clock.create(folder / "clock.json", start=AT)
    with World(folder, clock=clock, workloads=folder / "workloads") as world:
        world.start_app()
        yield world


def acknowledgements(world: World) -> dict[str, list[float]]:
    """Milliseconds from request to 202, of facts that are only recorded, drifts that are considered, and copies."""
    key = json.loads((world.state / "keys.json").read_text())["systemKeys"]["eventgrid_extension"]
    connection = http.client.HTTPConnection(urlsplit(world.url).netloc, timeout=60)
    path = f"/runtime/webhooks/EventGrid?functionName=ml_event&code={key}"
    headers = {"aeg-event-type": "Notification", "Content-Type": "application/json"}

    def sent(raw: Event) -> float:
        body = json.dumps([raw])
        began = time.perf_counter()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status
        return (time.perf_counter() - began) * 1000

    def drifts(name: str, pause_s: float) -> list[float]:
        found = []
        for number in range(DRIFTS + WARM_UP):
            time.sleep(pause_s)
            found.append(sent(breach(f"{name}-{number}")))
        return found

    def recorded(number: int) -> Event:
        return event("Microsoft.MachineLearningServices.RunCompleted", f"experiments/x/runs/job-{number}", {})

    total = ACKNOWLEDGED + WARM_UP
    found = {
        "a fact, recorded": [sent(recorded(n)) for n in range(total)],
        "a drift, one a second": drifts("calm", 1.0),
        "a drift, five a second": drifts("storm", 0.2),
        "a copy of a fact": [sent(recorded(n)) for n in range(total)],
    }
    return {name: times[WARM_UP:] for name, times in found.items()}


def storm(deliveries: Deliveries, total: int) -> tuple[Counter[str], set[str], float]:
    """Considerations by key, the keys on record, and deliveries per second."""
    chance = random.Random(4)
    facts = [breach(f"fact-{n}", at=AT - timedelta(seconds=86 * n)) for n in range(FACTS)]
    forms = [[f, as_cloud_event(f), {**f, "data": pascal(f["data"])}] for f in facts]
    copies = [chance.choice(forms[n % FACTS]) for n in range(total)]
    chance.shuffle(copies)
    began = time.perf_counter()
    for start in range(0, total, BATCH):
        forget()
        answers = deliveries.send(*copies[start : start + BATCH])
        assert not any(answers), next(a for a in answers if a)
    rate = total / (time.perf_counter() - began)
    wanted = {key_of(fact) for fact in facts}
    paths = [found.name for found in blob.list_blobs("muster", "events/")]
    on_record = {path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths}
    return Counter(deliveries.considered()), on_record & wanted, rate


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.events")
    parser.add_argument("--deliveries", type=int, default=100_000)
    options = parser.parse_args(arguments)
    good = True
    with tempfile.TemporaryDirectory() as folder, app(Path(folder)) as world, uncollected():
        for name, times in acknowledgements(world).items():
            p99 = statistics.quantiles(times, n=100)[98]
            good &= p99 < TARGET_MS
            print(
                f"{name:20} p50 {statistics.median(times):5.1f} ms, p99 {p99:5.1f} ms (target: below {TARGET_MS:.0f})"
            )
    with (
        tempfile.TemporaryDirectory() as folder,
        simulated_azure(Path(folder)) as cloud,
        cloud.inhabited(),
        TaskHub.open(None, clock=VirtualClock()) as hub,
    ):
        deliveries = Deliveries(hub)
        considered, on_record, rate = storm(deliveries, options.deliveries)
        once = len(considered) == len(on_record) == len(deliveries.starts) == FACTS
        print(
            f"{options.deliveries} deliveries of {FACTS} facts: {len(on_record)} on record, "
            f"{len(deliveries.starts)} considerations started for {len(considered)} keys, {rate:.0f} deliveries/s"
        )
    return 0 if good and once else 1


if __name__ == "__main__":
    sys.exit(main())
