"""`make run-retrain`: drift arrives, a cluster trains challengers, the better model wins, and all of it is read back."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localdev.clock import Clock
from localdev.demo import drift, verify_retrain
from localdev.demo.run import follow, say
from localdev.demo.world import ROOT, World, blob_service, wait_for
from shared.domain.retraining import Retraining
from shared.triggers.workloads import read_workload

DECLARATION = ROOT / "workloads" / "flights-retrain.yaml"
SUMMER_IS_OVER = datetime(2013, 9, 1, 3, 0, tzinfo=UTC)
MONITOR_RUN = "monitor-flights-20130901"
PATIENCE_S = 300


def main(state: Path, *, speed: float) -> int:
    """Exit status 0 only if a run came to a verdict and everything it claims was read back."""
    shutil.rmtree(state, ignore_errors=True)
    workloads = state / "workloads"
    workloads.mkdir(parents=True)
    shutil.copy(DECLARATION, workloads)
    clock = Clock.create(state / "clock.json")
    clock.advance(SUMMER_IS_OVER - clock.now())
    workload = read_workload(DECLARATION)
    assert isinstance(workload, Retraining) and workload.trigger is not None
    began = time.monotonic()
    with World(state, clock=clock, workloads=workloads) as world:
        say(f"Azure is simulated on this machine; the app's log is {state / 'app.log'}")
        _prepare(world, workload)
        world.start_app()
        clock.set_speed(speed)
        world.subscribe_events()
        say(f"the app is up at {world.url}; Event Grid delivers the workspace's events to it")
        status = drift.breach(world, workload.trigger.monitor, MONITOR_RUN)
        say(f"monitor run {MONITOR_RUN} is {status}: its event is on its way")
        run_id = wait_for(
            "the decision", lambda: _started(world, workload.name), world=world, seconds=PATIENCE_S
        )
        wait_for(
            f"run {run_id}", lambda: world.api(f"runs/{run_id}")[0] == 200, world=world, seconds=PATIENCE_S
        )
        report = follow(world, run_id)
        checks = verify_retrain.verify(world, workload, report)
    print(verify_retrain.summary(report, checks, wall_s=time.monotonic() - began, state=state))
    return 0 if all(check.ok for check in checks) else 1


def _prepare(world: World, workload: Retraining) -> None:
    """Labelled data from January to August, and a champion that knows January and February."""
    service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
    data = workload.data
    known = drift.land_labelled(service.get_container_client(data.container), data.prefix)
    say("landing: a file of labelled flights for each day from January to August 2013")
    card = drift.crown(service.get_container_client("models"), workload.model.name, data.container, known)
    say(
        f"champion {card['name']}:{card['version']} knows January and February: AUC {card['metrics']['auc']:.3f} "
        "on their flights that it had not seen"
    )


def _started(world: World, workload: str) -> str:
    """The run that an event started; "" while there is none."""
    _, found = world.api(f"decisions?workload={workload}")
    decisions: list[dict[str, Any]] = found["decisions"] if isinstance(found, dict) else []
    for decision in decisions:
        if decision["action"] == "START":
            for reason in decision["reasons"]:
                say(f"  decided: {reason}")
            return str(decision["run"])
    return ""
