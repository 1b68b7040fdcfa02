"""`make run-deploy`: a model goes live under load, a better one takes over step by step, a bad one is taken back."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pyarrow.compute as pc

from localdev.clock import Clock
from localdev.demo import champion, flights, verify_deploy, versions
from localdev.demo.load import Load, Target
from localdev.demo.pace import Pace
from localdev.demo.run import say
from localdev.demo.world import ROOT, World, blob_service
from shared.domain.deployment import Deployment
from shared.triggers.workloads import read_workload

DECLARATION = ROOT / "workloads" / "flights-live.yaml"
RATE = 50.0  # requests a second
PATIENCE_S = 240


def main(state: Path, *, speed: float) -> int:
    """Exit status 0 only if all three deployments ended as they should and everything was read back."""
    shutil.rmtree(state, ignore_errors=True)
    workloads = state / "workloads"
    workloads.mkdir(parents=True)
    shutil.copy(DECLARATION, workloads)
    clock = Clock.create(state / "clock.json")
    workload = read_workload(DECLARATION)
    assert isinstance(workload, Deployment)
    began = time.monotonic()
    with World(state, clock=clock, workloads=workloads) as world:
        say(f"Azure is simulated on this machine; the app's log is {state / 'app.log'}")
        _prepare(world, workload)
        world.start_app()
        clock.set_speed(speed)
        say(f"the app is up at {world.url}; its clock runs at up to {speed:g} x")
        with _Client(world, workload.target.endpoint) as client, Pace(world, fastest=speed):
            first = _deploy(world, workload, champion.VERSION, client.start_when_live)
            better = _deploy(world, workload, versions.BETTER)
            good = client.report()
            bad = _deploy(world, workload, versions.CARELESS)
        told = {champion.VERSION: first, versions.BETTER: better, versions.CARELESS: bad}
        counted = client.report()
        checks = verify_deploy.verify(world, workload, told, good, counted)
        print(verify_deploy.summary(world, workload, told, counted))
    print(verify_deploy.verdict(checks, wall_s=time.monotonic() - began, state=state))
    return 0 if all(check.ok for check in checks) else 1


def _prepare(world: World, workload: Deployment) -> None:
    models = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"]).get_container_client("models")
    for version, what in (
        (champion.VERSION, "the champion"),
        (versions.BETTER, "the same on twice as many flights"),
        (
            versions.CARELESS,
            f"trained on an extract that ends at {versions.LAST_HOUR}:59, and nobody noticed",
        ),
    ):
        card = versions.register(models, workload.model.name, version)
        say(f"registered {card['name']}:{version}, {what}: AUC {card['metrics']['auc']:.3f}")


def _deploy(
    world: World, workload: Deployment, version: str, meanwhile: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Ask as one person, approve as another, follow it to its end. The last report, with what a requester may not do."""
    status, answer = world.api(
        "deployments",
        method="POST",
        body={"workload": workload.name, "model": {"version": version}, "reason": "the demonstration"},
        headers={"Idempotency-Key": f"version-{version}", "x-functions-key": world.keys["chief"]},
    )
    if status != 202:
        raise RuntimeError(f"the deployment was not taken: {status} {answer}")
    run = str(answer["id"])
    say(f"POST /api/deployments: 202, {run}")
    shown, pause, deadline = "", threading.Event(), time.monotonic() + PATIENCE_S
    own_word = ""
    while time.monotonic() < deadline:
        meanwhile()
        status, report = world.api(f"deployments/{run}")
        if status == 200 and (line := _line(world, report)) != shown:
            shown = line
            say(f"  {world.clock.now():%H:%M:%S} on the local clock  {line}")
        if status == 200 and report["over"]:
            outcome = report["outcome"] or {"state": report["state"], "reason": report["error"]}
            say(f"  {outcome['state']}: {outcome['reason']}")
            return {**report, "own_word": own_word}
        if not own_word and status == 200 and report["approval"]:
            own_word = _approve(world, run, report["approval"]["digest"])
        pause.wait(0.2)
    raise TimeoutError(f"{run} is not over after {PATIENCE_S} s: {shown}")


def _approve(world: World, run: str, digest: str) -> str:
    """The requester's own approval is refused; a second person's counts. What the requester was told."""
    refused, answer = _say(world, run, "chief", {"digest": digest})
    detail = answer.get("detail", "") if isinstance(answer, dict) else str(answer)
    say(f"  approve by the one who asked: {refused} {detail}")
    status, answer = _say(world, run, "approver", {"digest": digest, "note": "seen the tests"})
    if status != 200:
        raise RuntimeError(f"the approval was not taken: {status} {answer}")
    say("  approve by somebody else: taken")
    return f"{refused} {detail}"


def _say(world: World, run: str, who: str, body: dict[str, Any]) -> tuple[int, Any]:
    headers = {"x-functions-key": world.keys[who]}
    return world.api(f"deployments/{run}/approve", method="POST", body=body, headers=headers)


def _line(world: World, report: dict[str, Any]) -> str:
    weights = ", ".join(f"{name} {weight} %" for name, weight in (report.get("weights") or {}).items())
    waiting = f"  waiting for {report['waiting_for']}" if report.get("waiting_for") else ""
    return f"{report.get('phase', report['state']):<14} {weights}{waiting}"


class _Client:
    """The client of the endpoint, from its first traffic on, to the end of the block."""

    def __init__(self, world: World, endpoint: str) -> None:
        self._world, self._endpoint = world, endpoint
        self._load: Load | None = None

    def start_when_live(self) -> None:
        """Nobody calls an endpoint that serves nothing: there the first deployment waits for its first requests."""
        if self._load is None and any(
            any(event["traffic"].values())
            for event in verify_deploy.events(self._world, self._endpoint, "traffic_applied")
        ):
            target = target_of(self._world, self._endpoint)
            self._load = Load(
                [target], _rows(), folder=self._world.state, environment=self._world.environment
            )
            self._load.__enter__()
            say(f"a client in a process of its own asks {target.uri} {RATE:g} times a second")

    def report(self) -> dict[str, Any]:
        """Raises RuntimeError if there never was any traffic."""
        if self._load is None:
            raise RuntimeError(f"{self._endpoint} never served anything; the app's log says why")
        return self._load.report(self._endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._load is not None:
            self._load.stop()


def target_of(world: World, endpoint: str, rate: float = RATE) -> Target:
    """The endpoint as its clients know it: its address and its key, from Azure ML."""
    endpoints = verify_deploy.ml_client(world).online_endpoints
    uri, key = str(endpoints.get(endpoint).scoring_uri), str(endpoints.get_keys(endpoint).primary_key)
    return Target(endpoint, uri, key, rate)


def _rows() -> dict[str, Any]:
    """Every seventh flight of January, as the model takes it."""
    table = flights.all_flights()
    january = table.filter(pc.equal(table["month"], 1)).select(champion.INPUTS)
    return {"columns": champion.INPUTS, "data": [list(row.values()) for row in january.to_pylist()[::7]]}
