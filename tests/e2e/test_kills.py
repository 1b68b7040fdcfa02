"""SIGKILL of the app, its worker and its hub, at random moments of run after run: each ends as if nothing had been.

`make test-kills` kills 200 times.
"""

from __future__ import annotations

import os
import random
import threading
from itertools import count

from tests.support.estate import Estate, Ran

KILLS = int(os.environ.get("APP_KILLS", "6"))
SEED = int(os.environ.get("APP_KILLS_SEED", random.SystemRandom().randrange(10**6)))
WORKLOADS = ("killed-dsvm", "killed-local")
MOST_BETWEEN_S = 3.0  # longer than the app takes to start, so that a run gets on


def test_an_app_killed_at_random_moments_ends_every_run_as_if_nothing_had_been(here: Estate) -> None:
    print(f"APP_KILLS_SEED={SEED}")  # shown when the test fails
    chance = random.Random(SEED)
    here.land("killed", 5)
    undisturbed = {workload: here.score(workload, key="undisturbed") for workload in WORKLOADS}
    killed = 0
    for number in count():
        workload = WORKLOADS[number % len(WORKLOADS)]
        run = here.start(workload, key=f"{SEED}-{number}")
        killed += kill_until_over(here, run, chance, most=KILLS - killed)
        here.finish(run)
        assert_same(here, workload, run, undisturbed[workload])
        if killed >= KILLS:
            break
    print(f"{killed} kills over {number + 1} runs")


def kill_until_over(here: Estate, run: Ran, chance: random.Random, *, most: int) -> int:
    """How often the app was killed, and started again, before the run was over."""
    for killed in range(most):
        threading.Event().wait(chance.uniform(0, MOST_BETWEEN_S))  # the moment is what is being varied
        _, report = here.world.api(f"runs/{run.id}")
        if report["state"] not in ("Running", "Pending"):
            return killed
        here.world.kill_app()
        here.world.start_app()
    return most


def assert_same(here: Estate, workload: str, run: Ran, undisturbed: Ran) -> None:
    """The same bytes, from as many machines, all of them gone and paid for in the run's own account."""
    assert run.outcome["state"] == "Completed", run.outcome
    parts, expected = (
        {n: d for n, d in here.published(r, workload).items() if "part-" in n} for r in (run, undisturbed)
    )
    assert parts == expected != {}
    assert len(machines_made(here, run)) == len(machines_made(here, undisturbed))
    billed = sum(
        float(line["usd"])
        for line in here.world.control.bill()["lines"]
        if line["tags"].get("muster-owner") == run.id
    )
    assert run.outcome["usd"] >= billed - 0.0001


def machines_made(here: Estate, run: Ran) -> set[str]:
    return {
        event["resource_id"]
        for event in here.world.control.events()
        if event["type"] == "vm" and event["tags"].get("muster-owner") == run.id
    }
