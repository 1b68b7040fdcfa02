"""Nights on which a retraining's search is one sweep job of Azure ML, and what such a night must leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from localdev.azuresim import estate, tokens
from localdev.azuresim.ml.job_life import OVER
from localdev.azuresim.ml.mlflow import JOBS
from localdev.azuresim.store import Resource
from shared.domain import names
from tests.crash.retraining import Retraining
from tests.crash.scenario import SLOT, WORKLOAD, outcome_of
from tests.crash.tracked import METRIC

if TYPE_CHECKING:
    from tests.crash.machine import Machine

RUN = names.train_run_id(WORKLOAD, SLOT)
REPORTED = "agent * | POST */runs/log-metric"
RECORDED = f"agent * | PUT /muster/runs/{RUN}/trials/t???.json"
DRAWN: dict[str, Any] = {
    "sampling": "random", "seed": 7, "count": 4, "space": {"strength": {"logUniform": [0.01, 0.9]}},
}  # fmt: skip
GRID: dict[str, Any] = {"sampling": "grid", "space": {"strength": {"choice": [0.6, 0.1, 0.8, 0.7]}}}
LAGGARDS = {"type": "bandit", "slackFactor": 0.5, "delayEvaluation": 2}
_ARM, _VERSION = "https://management.azure.com", "2024-10-01"


@dataclass(frozen=True)
class Sweep(Retraining):
    """Azure ML draws the points, or walks a grid, and stops what has learned two thirds and is far behind."""

    trials: int = 4
    space: Mapping[str, Any] = field(default_factory=lambda: DRAWN)

    def declaration(self) -> dict[str, Any]:
        search = {"engine": "sweep", "concurrency": self.concurrency, "earlyTermination": LAGGARDS}
        declared = super().declaration()
        compute = {**declared["compute"], "regions": ["westeurope", "northeurope"]}
        return {**declared, "compute": compute, "trials": {**search, **self.space}}

    def unrest(self, machine: Machine) -> str:
        under_way = [job for job in _jobs(machine) if job.properties["status"] not in OVER]
        return f"{under_way[0].name} is {under_way[0].properties['status']}" if under_way else ""

    def unkept(self, machine: Machine, *, strict: bool) -> Iterator[str]:
        """S1 to S6: what a search by Azure ML promises besides."""
        yield from super().unkept(machine, strict=strict)
        records = _records(machine)
        won = outcome_of(machine).get("state") == "Completed"
        yield from _one_at_a_time(machine)
        yield from _ended_before_its_cluster(machine) if strict else ()
        yield from _foreign_records(machine, records)
        for sweep in _sweeps(machine):
            yield from _lost_trials(machine, sweep, records, won=won)
            yield from _untold(machine, sweep, records) if strict else ()
        if won:
            yield from _unjust_champion(machine, records)


def cluster(epoch: int) -> str:
    """A glob of the sweep's cluster in one epoch."""
    return f"*{names.cluster_name(names.lease_id(RUN, 'train', 0), epoch)}*"


def cut_off(machine: Machine) -> None:
    """Somebody ends the sweep where Azure ML shows it."""
    _outsider(machine, "POST", lambda: f"{_sweeps(machine)[0].id}/cancel")


def lose_cluster(machine: Machine) -> None:
    """Somebody deletes the cluster under the sweep."""
    _outsider(
        machine,
        "DELETE",
        lambda: str(_sweeps(machine)[0].properties["computeId"]),
        underlyingResourceAction="Delete",
    )


def _outsider(machine: Machine, method: str, of: Callable[[], str], **query: str) -> None:
    def call() -> None:
        token, _ = tokens.issue(tokens.Principal(estate.APP), _ARM)
        asked = requests.Request(
            method,
            _ARM + of(),
            params={"api-version": _VERSION, **query},
            headers={"Authorization": f"Bearer {token}"},
        )
        machine.exchange(asked.prepare())

    machine.asks("by an outsider", call)


def _one_at_a_time(machine: Machine) -> Iterator[str]:
    """S1: an epoch has one sweep, submitted once, and it begins when the epoch before it bills no more."""
    submitted = [
        event["resource_id"]
        for event in machine.cloud.world.events.since(type_="job")
        if event["status"] == "NotStarted"
    ]
    billed: dict[str, float] = {}
    for line in machine.cloud.world.meter.lines(machine.clock.time()):
        _, _, of_cluster = line.resource_id.partition("/computes/")
        name = of_cluster.split("/")[0]
        billed[name] = max(billed.get(name, 0.0), line.ended or machine.clock.time())
    epochs: list[str] = []
    for sweep in _sweeps(machine):
        epoch, lease = sweep.properties["tags"]["muster-epoch"], sweep.properties["tags"]["muster-lease"]
        if submitted.count(sweep.id) != 1 or epoch in epochs:
            yield f"S1 {sweep.name} is not the one sweep of epoch {epoch}, submitted once"
        epochs.append(epoch)
        for earlier in range(1, int(epoch)):
            if billed.get(names.cluster_name(lease, earlier), 0.0) > sweep.created:
                yield f"S1 {sweep.name} began while the cluster of epoch {earlier} billed"


def _ended_before_its_cluster(machine: Machine) -> Iterator[str]:
    """S2: who takes a sweep's cluster away has asked the sweep to end: it would submit further children."""
    for event in machine.cloud.world.events.since(type_="request"):
        if event["method"] not in ("PATCH", "DELETE") or event["status"] >= 400 or not event["user_agent"]:
            continue  # an outsider says nothing of himself
        for sweep in _sweeps(machine):
            if sweep.properties["computeId"].casefold() != str(event["resource_id"]).casefold():
                continue
            status = [status for status, at in sweep.state["timeline"] if at <= event["at"]][-1]
            if status not in (*OVER, "CancelRequested"):
                yield f"S2 the cluster of {sweep.name} was taken away while that was {status}"


def _foreign_records(machine: Machine, records: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """S3: a record tells of one child of the run's sweeps, of what was drawn for it, and no other record does."""
    children = {child.name: child for sweep in _sweeps(machine) for child in _children(machine, sweep)}
    told: dict[str, str] = {}
    for trial, record in records.items():
        child = children.get(str(record["azure_run"]))
        if child is None or child.name in told:
            yield f"S3 {trial} is on record as {record['azure_run']}, which is no child or {told} already"
            continue
        told[child.name] = trial
        if record["parameters"] != child.state["point"]:
            yield f"S3 {trial} has {record['parameters']}, {child.name} was given {child.state['point']}"


def _lost_trials(
    machine: Machine, sweep: Resource, records: Mapping[str, Mapping[str, Any]], *, won: bool
) -> Iterator[str]:
    """S4: a child that completed has its trial on record; of one that ended by itself, and won, so has every child."""
    ended_itself = sweep.properties["status"] == "Completed" or _tried_all(machine, sweep)
    slots = _document(machine, f"runs/{RUN}/jobs/{sweep.name.partition('-')[2].partition('-')[2]}.json")
    for number, child in enumerate(_children(machine, sweep)):
        if child.properties["status"] != "Completed" and not (won and ended_itself):
            continue
        trials = slots["sweep"]["trials"]
        if trials[0]["parameters"]:
            trial = next(each["id"] for each in trials if each["parameters"] == child.state["point"])
        else:
            trial = trials[number]["id"]
        if trial not in records:
            yield f"S4 {child.name} is {child.properties['status']}, and {trial} has no record"


def _tried_all(machine: Machine, sweep: Resource) -> bool:
    """Whether it failed since no child completed, not for want of its cluster."""
    return sweep.properties["status"] == "Failed" and len(_children(machine, sweep)) == len(
        sweep.state["plan"]
    )


def _untold(machine: Machine, sweep: Resource, records: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """S5: Azure ML compares the children by what is on record of them."""
    valid = {str(r["azure_run"]): r["metrics"][METRIC] for r in records.values() if r["status"] == "valid"}
    ours = {}
    for child in _children(machine, sweep):
        if child.properties["status"] == "Completed" and child.name in valid:
            ours[child.name] = valid[child.name]
            if child.state.get("metrics", {}).get(METRIC) != valid[child.name]:
                yield f"S5 Azure ML has {child.state.get('metrics')} of {child.name}, the record {valid[child.name]}"
    best = sweep.properties["properties"].get("best_child_run_id")
    if best in ours and ours[best] != max(ours.values()):
        yield f"S5 Azure ML holds {best} for the best of {ours}"


def _unjust_champion(machine: Machine, records: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """S6: the best valid trial on record has the title, the earlier one on a tie."""
    lineage = machine.cloud.storage.document("models", f"{WORKLOAD}-model/2/LINEAGE.json")
    valid = {trial: r["metrics"][METRIC] for trial, r in records.items() if r["status"] == "valid"}
    best = min(valid, key=lambda trial: (-valid[trial], trial), default="")
    if lineage.get("trial") != best or lineage.get("azureRun") != records[best]["azure_run"]:
        yield f"S6 {best} is the best of {valid}, and the champion is of {lineage.get('trial')}"


def _jobs(machine: Machine) -> list[Resource]:
    return list(machine.cloud.world.store.of_type(JOBS))


def _sweeps(machine: Machine) -> list[Resource]:
    """In the order of their submission."""
    found = [job for job in _jobs(machine) if job.properties["jobType"] == "Sweep"]
    return sorted(found, key=lambda job: int(job.state["number"]))


def _children(machine: Machine, sweep: Resource) -> list[Resource]:
    found = [job for job in _jobs(machine) if job.state.get("parent") == sweep.name]
    return sorted(found, key=lambda job: int(job.state["number"]))


def _records(machine: Machine) -> dict[str, dict[str, Any]]:
    """By trial."""
    paths = machine.cloud.storage.names("muster", f"runs/{RUN}/trials/")
    found = [_document(machine, path) for path in paths if path.count("/") == 3]
    return {record["trial"]: record for record in found}


def _document(machine: Machine, path: str) -> dict[str, Any]:
    return machine.cloud.storage.document("muster", path)
