"""Days on which a second version takes an endpoint over, or fails to: what was live before, who asks and who approves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from localdev.azuresim.ml.endpoint_spec import DEPLOYMENTS, ENDPOINTS
from shared.domain import names
from tests.crash.app import user_id
from tests.crash.scenario import WORKLOAD, Act, Scenario, outcome_of
from tests.crash.storage import BlobStorage
from tests.support import deployments
from tests.support.checker import TAGS

if TYPE_CHECKING:
    from localdev.azuresim.store import Resource
    from tests.crash.machine import Machine

ASKER, APPROVER, KEY = "ann", "bob", "the second version"
_ASKED = (
    f"{WORKLOAD}|{user_id(ASKER)}|{KEY}"  # shared.triggers.deployments makes the same slot of a key each time
)
RUN = names.deploy_run_id(WORKLOAD, f"key-{hashlib.sha256(_ASKED.encode()).hexdigest()[:16]}")
GREEN = names.deployment_name(RUN)
FIRST = names.deploy_run_id(WORKLOAD, f"manual-{'1' * 16}")
BLUE = names.deployment_name(FIRST)
RECORD = f"endpoints/{WORKLOAD}.json"
SHIFTED = f"activity set_traffic of {RUN} | PUT */onlineEndpoints/{WORKLOAD}"
# Azure's faults that a rollout survives or that end it cleanly. Nobody deletes anything behind its back here.
PRESETS = (
    "arm-throttled", "slow", "token-expired", "metrics-missing", "metrics-stale", "image-build-failure", "crash-loop",
    "deployment-stuck", "deployment-canceled", "unschedulable", "traffic-conflict", "traffic-canceled",
    "traffic-failed", "traffic-stuck", "traffic-timeout", "traffic-timeout",
)  # fmt: skip
_PLENTY = timedelta(hours=1)
_CONFIRMED = ("passed", "approved")


def _ask(machine: Machine) -> None:
    body = {"workload": WORKLOAD, "model": {"version": "2"}}
    machine.user("post_deployment", who=ASKER, body=lambda: body, key=KEY)


def _approve(machine: Machine) -> None:
    def looked_at() -> dict[str, Any]:
        return {"digest": _read(machine, f"deployments/{RUN}/approval-request.json").get("digest", "0" * 64)}

    machine.user("approve_deployment", who=APPROVER, body=looked_at, id=RUN)


def cancel(machine: Machine) -> None:
    machine.user("cancel_deployment", id=RUN)


@dataclass(frozen=True)
class Deployment(Scenario):
    """A rollout in two steps over a live version. `fails_at`: with so much of the traffic the new one answers 500s."""

    fails_at: int = 101
    acts: tuple[tuple[str, Act], ...] = ()
    run: str = RUN
    horizon: timedelta = timedelta(hours=12)
    presets: tuple[str, ...] = PRESETS
    stall_s: float = (
        400.0  # into the next step, or the time after the run in which green or blue still stands by
    )

    def __post_init__(self) -> None:
        asked = (("trigger tick | *", _ask), (f"activity ask_approval of {RUN} | PUT *", _approve))
        object.__setattr__(self, "acts", (*asked, *self.acts))

    def declaration(self) -> dict[str, Any]:
        base: dict[str, Any] = {
            "scoring": None,
            "tests": {"load": {"requests": 3, "concurrency": 1, "p95": "PT5S"}},
            "rollout": {
                "steps": [20, 100], "bake": "PT2M", "inconclusiveAfter": "PT20M", "hold": "PT5M", "keepFailed": "PT5M",
            },
            "approval": {"required": True, "timeout": "PT4H", "fourEyes": True},
        }  # fmt: skip
        return deployments.deployment(WORKLOAD, **{**base, **self.changes})

    def land(self, put: Callable[[str, str, bytes], None]) -> None: ...

    def furnish(self, machine: Machine) -> None:
        """Two versions are registered, and the first is live: by the requests of a first rollout, one after the other."""
        machine.cloud.serving.misbehaves = lambda version, weight: version == "2" and weight >= self.fails_at
        here: Any = SimpleNamespace(service=_Account(machine.cloud.storage))
        for version in ("1", "2"):
            self.register(here, version)
        _make_live(machine, self.declaration())

    def register(self, here: Any, version: str) -> None:
        deployments.put_version(here, f"{WORKLOAD}-model", version)

    def unkept(self, machine: Machine, *, strict: bool) -> Iterator[str]:
        """I7 to I9, from what Azure accepted: whole maps, one writer, only who may, and one deployment at the end."""
        events = machine.cloud.world.events
        maps = [event for event in events.since(type_="traffic") if event["endpoint"] == WORKLOAD]
        yield from _whole(maps)
        yield from (f"I7 {fault}" for fault in machine.cloud.serving.unanswered(WORKLOAD))
        yield from _one_writer(machine, maps)
        yield from _only_the_approved(machine, maps)
        yield from _step_by_step(machine, maps)
        yield from _at_rest(machine, outcome_of(machine))
        for event in deployed(machine):
            if missing := TAGS - set(event["tags"]):
                yield f"I12 {event['resource_id']} was made without {sorted(missing)}"

    def unrest(self, machine: Machine) -> str:
        record = _read(machine, RECORD)
        if record["frozen"]:
            return ""
        if record["holder"]:
            return f"{WORKLOAD} is held by {record['holder']}"
        return next(
            (f"{each.name} stands by" for each in _there(machine) if each.name != record["live"]["name"]), ""
        )

    def published(self, storage: BlobStorage) -> dict[str, bytes]:
        """Who is live, and what the run says it did; not when."""
        record = storage.document("muster", RECORD)
        outcome = storage.document("muster", f"runs/{RUN}/outcome.json")
        told = ("state", "live", "previous", "weights", "model", "model_sha256", "approved_by", "teardown")
        return {
            "record": json.dumps([record["live"], record["previous"], record["kept"]]).encode(),
            "outcome": json.dumps({name: outcome.get(name) for name in told}).encode(),
        }


def _make_live(machine: Machine, declaration: Mapping[str, Any]) -> None:
    from shared.domain.deployment import Deployment as Declared
    from shared.domain.serving import DeploymentPlan, DeploymentState, EndpointPlan, TrafficChange
    from shared.platforms import platform

    declared = Declared.model_validate(declaration)
    server, model = platform("aks").serving, _model(machine, "1")
    deadline = machine.clock.now() + _PLENTY
    server.begin_endpoint(EndpointPlan(target=declared.target, run=FIRST, epoch=1, deadline=deadline))
    _pass(machine, 120)
    plan = DeploymentPlan(
        target=declared.target, name=BLUE, run=FIRST, epoch=1, deadline=deadline, model=model,
        model_asset=f"azureml:{model.name}:1", entry="muster_score.py", resources=declared.resources,
    )  # fmt: skip
    _pass(machine, server.begin_deployment(plan).poll_after_s)
    while (look := server.observe_deployment(plan)).state is not DeploymentState.READY:
        _pass(machine, look.poll_after_s)
    change = TrafficChange(platform="aks", endpoint=WORKLOAD, weights={BLUE: 100}, epoch=1, run=FIRST)
    server.set_traffic(change)
    _pass(machine, 300)
    live = {"name": BLUE, "model": str(model), "sha256": model.sha256, "run": FIRST}
    record = {"endpoint": WORKLOAD, "platform": "aks", "workload": WORKLOAD, "epoch": 1, "live": live}
    machine.cloud.storage.put("muster", RECORD, json.dumps(record).encode())


def _pass(machine: Machine, seconds: float) -> None:
    """Let Azure get on with it, each step at its moment."""
    until = machine.clock.time() + seconds
    while (step := machine.cloud.next_step()) is not None and step <= until:
        machine.clock.move_to(step)
        machine.cloud.world.scheduler.run_due()
    machine.clock.move_to(until)
    machine.cloud.world.scheduler.run_due()


def _model(machine: Machine, version: str) -> Any:
    from shared.domain.registry import ModelRef

    name = f"{WORKLOAD}-model"
    card = machine.cloud.storage.document("models", f"{name}/{version}/MODEL.json")
    return ModelRef(
        name=name, version=version, flavor=card["flavor"], container="models", prefix=f"{name}/{version}/",
        file=card["file"], sha256=card["sha256"],
    )  # fmt: skip


def strays(events: Iterable[Mapping[str, Any]], within: timedelta) -> Iterator[str]:
    """Which of these were not made as the run's, by their tags, or have no deadline so soon after they were made."""
    for event in events:
        tags, name = event["tags"], event["resource_id"].rpartition("/")[2]
        if missing := TAGS - set(tags):
            yield f"{name} was made without {sorted(missing)}"
            continue
        if tags["muster-owner"] != RUN:
            yield f"{name} is owned by {tags['muster-owner']}"
        until = datetime.fromisoformat(tags["muster-deadline"]).timestamp()
        if until > event["at"] + within.total_seconds():
            yield f"{name}, made at {event['at']:.0f}, has until {until:.0f}"


def _whole(maps: list[dict[str, Any]]) -> Iterator[str]:
    for event in maps:
        weights = {name: weight for name, weight in event["traffic"].items() if weight}
        if sum(weights.values()) != 100:
            yield f"I7 {weights} was accepted though the endpoint is live"
        for name in weights:
            if event["deployments"].get(name) != "Succeeded":
                yield f"I7 {name} got {weights[name]} % and is {event['deployments'].get(name)}"


def _one_writer(machine: Machine, maps: list[dict[str, Any]]) -> Iterator[str]:
    """Each epoch is one run's, and who comes later writes under a higher one: its own, or that of green's tag."""
    epochs = [int(event["tags"]["muster-epoch"]) for event in maps]
    if epochs != sorted(epochs):
        yield f"I9 epochs {epochs} were accepted"
    made = {e["tags"]["muster-epoch"] for e in deployed(machine) if e["resource_id"].endswith(f"/{GREEN}")}
    for event in maps:
        if event["traffic"].get(GREEN) and {event["tags"]["muster-epoch"]} != made:
            yield f"I9 {GREEN}, made under {made}, got traffic under {event['tags']['muster-epoch']}"


def _only_the_approved(machine: Machine, maps: list[dict[str, Any]]) -> Iterator[str]:
    first = next((event for event in maps if event["traffic"].get(GREEN)), None)
    if first is None:
        return
    asked = _read(machine, f"deployments/{RUN}/approval-request.json")
    said = _read(machine, f"deployments/{RUN}/approval.json")
    if (
        said.get("decision") != "approve"
        or said.get("digest") != asked.get("digest")
        or said["by"] == asked["requested_by"]
    ):
        yield f"I8 {GREEN} has traffic, asked was {asked}, said was {said}"
        return
    if datetime.fromisoformat(said["at"]).timestamp() > first["at"]:
        yield f"I8 {GREEN} had traffic before it was approved"
    for event in deployed(machine):
        if (
            event["resource_id"].endswith(f"/{GREEN}")
            and event["tags"]["muster-model-sha256"] != asked["model_sha256"]
        ):
            yield f"I8 {GREEN} serves {event['tags']['muster-model-sha256']}, approved was {asked['model_sha256']}"


def _step_by_step(machine: Machine, maps: list[dict[str, Any]]) -> Iterator[str]:
    """Green's shares rise by the declared steps, each after the one before it was put on record as passed."""
    steps = machine.scenario.declaration()["rollout"]["steps"]
    shares = [(event["traffic"].get(GREEN, 0), event["at"]) for event in maps]
    given = [next(group) for _, group in groupby(shares, key=lambda share: share[0])]
    rising = [share for share in given if share[0]]
    if [weight for weight, _ in rising] != steps[: len(rising)]:
        yield f"I8 {GREEN} had {[weight for weight, _ in given]}, declared are {steps}"
    for number, (weight, at) in enumerate(rising[1:], start=1):
        step = _read(machine, f"deployments/{RUN}/steps/{number}.json")
        passed = step.get("outcome") in _CONFIRMED and datetime.fromisoformat(step["ended"]).timestamp() <= at
        if not passed:
            yield f"I8 {GREEN} got {weight} % before step {number} was passed: {step}"


def _at_rest(machine: Machine, outcome: Mapping[str, Any]) -> Iterator[str]:
    """Record, tag and map agree on who is live; a frozen endpoint says what to type."""
    record, store = _read(machine, RECORD), machine.cloud.world.store
    (endpoint,) = store.of_type(ENDPOINTS)
    if record["frozen"]:
        if not record["commands"] or not record["holder"]:
            yield f"I9 the endpoint is frozen without commands or a holder: {record}"
        return
    if record["holder"]:
        yield f"I9 the endpoint is held by {record['holder']}"
    live = record["live"]["name"]
    applied = {name: weight for name, weight in endpoint.state["applied"].items() if weight}
    if applied != {live: 100}:
        yield f"I7 the map is {applied}, on record {live} is live"
    if int(endpoint.tags["muster-epoch"]) > record["epoch"]:
        yield f"I9 the tag says epoch {endpoint.tags['muster-epoch']}, the record {record['epoch']}"
    if [each.name for each in _there(machine)] != [live]:
        yield f"I2 there are {[each.name for each in _there(machine)]}, live is {live}"
    won = outcome.get("state") == "Completed"
    if live != (GREEN if won else BLUE):
        yield f"I7 the run ended {outcome.get('state')}, and {live} is live"
    told = [event for event in machine.cloud.told if event["type"].endswith("Deployment.Completed")]
    if told and not won:
        yield f"{told} was told of a run that ended {outcome.get('state')}"


def deployed(machine: Machine) -> list[dict[str, Any]]:
    return [e for e in machine.cloud.world.events.since(type_="deployment") if e["status"] == "Creating"]


def _there(machine: Machine) -> list[Resource]:
    return machine.cloud.world.store.of_type(DEPLOYMENTS)


def _read(machine: Machine, path: str) -> dict[str, Any]:
    return machine.cloud.storage.document("muster", path)


class _Account:
    """As much of a storage client as tests.support.deployments.put_version writes through."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    def get_container_client(self, name: str) -> Any:
        def upload_blob(blob: str, data: bytes, *, overwrite: bool) -> None:
            self._storage.put(name, blob, data)

        return SimpleNamespace(upload_blob=upload_blob)
