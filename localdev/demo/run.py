"""`make run`: a night of batch scoring in under a minute, and everything it did read back."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from localdev.clock import Clock
from localdev.demo import champion, flights, verify
from localdev.demo.world import ROOT, World, blob_service, wait_for
from shared.domain import names
from shared.domain.schedule import Slot, next_slot
from shared.domain.workload import BatchScoring
from shared.triggers.workloads import read_workload

DECLARATION = ROOT / "workloads" / "flights-nightly.yaml"
BEFORE_SLOT = timedelta(seconds=100)
A_TICK = timedelta(minutes=1)  # between two of the app's looks at its schedules; less than BEFORE_SLOT
PATIENCE_S = 600
QUIET_S = 10  # a line at least so often while only the money runs


def main(state: Path, *, speed: float, resume: bool) -> int:
    """Exit status 0 only if everything was verified by reading it back."""
    if not resume:
        shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, exist_ok=True)
    clock_file = state / "clock.json"
    clock = Clock(clock_file) if resume and clock_file.exists() else Clock.create(clock_file)
    workload = read_workload(DECLARATION)
    assert isinstance(workload, BatchScoring)
    began = time.monotonic()
    with World(state, clock=clock) as world:
        say(f"Azure is simulated on this machine; the app's log is {state / 'app.log'}")
        run_id = _prepare(world, workload)
        clock.set_speed(0)
        world.start_app()
        _await_first_tick(world, workload)
        clock.set_speed(speed)
        say(f"the app is up at {world.url}; its clock runs at {speed:g} x, its timer is due")
        wait_for(f"run {run_id}", lambda: world.api(f"runs/{run_id}")[0] == 200, world=world)
        report = follow(world, run_id)
        checks = verify.verify(world, workload, report)
    print(verify.summary(report, checks, wall_s=time.monotonic() - began, state=state))
    return 0 if all(check.ok for check in checks) else 1


def _prepare(world: World, workload: BatchScoring) -> str:
    """Data and champion in place, the clock shortly before the next slot. Gives the id of the run that will come."""
    remembered = world.state / "run-id"
    if remembered.exists() and _has_seen(world, workload):  # else that slot will never fire
        return remembered.read_text()
    service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
    listed = flights.upload_month(
        service.get_container_client(workload.input.container), workload.input.prefix
    )
    say(f"landing: {listed.files} daily files of January 2013, {listed.rows:,} flights")
    card = champion.train_and_store(service.get_container_client("models"), workload.model.name)
    say(
        f"champion {card['name']}:{card['version']} trained: AUC {card['metrics']['auc']:.3f} on flights it had not seen"
    )
    assert workload.schedule is not None
    slot = next_slot(workload.schedule, world.clock.now() + BEFORE_SLOT)
    assert slot is not None
    _jump_before(world.clock, slot)
    say(f"the local clock now shows {world.clock.now():%Y-%m-%d %H:%M:%S} UTC, shortly before the slot")
    run_id = names.score_run_id(workload.name, slot.id)
    remembered.write_text(run_id)
    return run_id


def _await_first_tick(world: World, workload: BatchScoring) -> None:
    """A slot that is past when the app first sees the declaration never fires: until it has, time stands still."""
    if not _has_seen(world, workload):
        world.clock.advance(A_TICK)
        wait_for("the app's first tick", lambda: _has_seen(world, workload), world=world)


def _has_seen(world: World, workload: BatchScoring) -> bool:
    service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
    return bool(service.get_blob_client("muster", f"schedules/{workload.name}.json").exists())


def _jump_before(clock: Clock, slot: Slot) -> None:
    clock.advance(slot.at - BEFORE_SLOT - clock.now())


def follow(world: World, run_id: str) -> dict[str, Any]:
    """Show the run's own report, a line whenever it changes, until it is over. Gives the last report."""
    shown, seen, said = "", tuple[Any, ...](), 0.0
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        _, report = world.api(f"runs/{run_id}")
        line = progress_line(report)
        told = (report["phase"], report["percent"], report["waiting_for"])
        if told != seen or (time.monotonic() - said > QUIET_S and line != shown):
            say(line)
            shown, seen, said = line, told, time.monotonic()
        if report["state"] not in ("Running", "Pending"):
            return dict(report)
        pause.wait(0.3)
    raise TimeoutError(f"{run_id} is not over after {PATIENCE_S} s: {shown}")


def progress_line(report: dict[str, Any]) -> str:
    """Phase, percent, machines, spend so far, what it waits for."""
    waiting = f"  waiting for {report['waiting_for']}" if report["waiting_for"] else ""
    return (
        f"{report['phase']:<16} {report['percent']:3.0f} %  {len(report['machines'])} machines  "
        f"${report['spent_usd']:.4f}{waiting}"
    )


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)
    sys.stdout.flush()
