"""Nights on which a model is trained anew: the declaration, its labelled days, the champion to beat, who may win."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from shared.domain import names
from shared.domain.units import SCHEMA, unit_key
from tests.crash.scenario import SLOT, WORKLOAD, Scenario, deploy_yesterday, outcome_of
from tests.crash.storage import BlobStorage
from tests.support import training

if TYPE_CHECKING:
    from tests.crash.machine import Machine

DAYS = training.WINTER + training.SUMMER
CARRIERS = ("AA", "B6", "DL", "UA")
CLUSTER = {"platform": "amlcompute", "sizes": ["Standard_D2s_v5"], "regions": ["westeurope"]}


@dataclass(frozen=True)
class Retraining(Scenario):
    """`trials`: how many, drawn at random. Each is as good as its parameter, which is the metric it tells.

    `units`: a model for each of these values of `unit_column` instead; each has a champion, which the loyal one keeps.
    """

    trials: int = 3
    concurrency: int = 2
    units: tuple[str, ...] = ()
    is_cut_off: bool = False  # somebody ends the search before each trial was tried
    unit_column: str = "carrier"
    run: str = field(default=names.train_run_id(WORKLOAD, SLOT))
    horizon: timedelta = timedelta(hours=12)

    def declaration(self) -> dict[str, Any]:
        random = {"sampling": "random", "seed": 7, "count": self.trials, "concurrency": self.concurrency,
                  "space": {"strength": {"logUniform": [0.01, 0.9]}}}  # fmt: skip
        cluster = {**CLUSTER, "instances": self.concurrency}
        declared = training.retraining(
            WORKLOAD, schedule={"cron": "0 2 * * *"}, compute=cluster, trials=random, **self.changes
        )
        by_unit = {"unitColumn": self.unit_column, "concurrency": self.concurrency}
        return {**declared, "trials": by_unit} if self.units else declared

    def land(self, put: Callable[[str, str, bytes], None]) -> None:
        deploy_yesterday(put)
        for day in range(DAYS):
            put("landing", f"{training.PREFIX}{day:03d}.parquet", _day(day))
        champion = _champion_of_units(self.unit_column, self.units) if self.units else _champion()
        for name, data in champion.items():
            put("models", f"{WORKLOAD}-model/{name}", data)

    def published(self, storage: BlobStorage) -> dict[str, bytes]:
        return {name: storage.read("models", name) or b"" for name in storage.names("models")}

    def unkept(self, machine: Machine, *, strict: bool) -> Iterator[str]:
        """T1 to T4."""
        yield from _unfair_titles(machine.cloud.storage, self, outcome_of(machine))


def _unfair_titles(storage: BlobStorage, scenario: Retraining, outcome: Mapping[str, Any]) -> Iterator[str]:
    """T1 to T3: every planned trial has one record; one version more and the title for a run that won it, else none."""
    model, run = f"{WORKLOAD}-model", scenario.run
    versions = {name.split("/")[1] for name in storage.names("models", f"{model}/") if name.count("/") > 1}
    champion = storage.document("models", f"{model}/champion.json")["version"]
    won = outcome.get("state") == "Completed"
    if won and (champion, sorted(versions)) != ("2", ["1", "2"]):
        yield f"T2 {run} won, and of versions {sorted(versions)} the champion is {champion}"
    if not won and champion != "1":
        yield f"T2 {run} is {outcome.get('state')}, and {champion} is champion"
    if won and scenario.units:
        yield from _unfair_units(storage, model, scenario)
    records = [n for n in storage.names("muster", f"runs/{run}/trials/") if n.count("/") == 3]
    if won and len(records) != scenario.trials and not scenario.is_cut_off:
        yield f"T1 {len(records)} records of {scenario.trials} trials"


def _unfair_units(storage: BlobStorage, model: str, scenario: Retraining) -> Iterator[str]:
    """T4: a version holds each unit's model as its index says: the loyal one's of before, the others' of the run."""
    index = storage.document("models", f"{model}/2/UNITS.json")
    told = {unit["unit"]: unit["run"] for unit in index["units"]}
    if told != {unit: "before" if unit == training.LOYAL else scenario.run for unit in scenario.units}:
        yield f"T4 {scenario.run} won, and its units come from {told}"
    for unit in index["units"]:
        found = storage.read("models", f"{model}/2/units/{unit['key']}/{unit['file']}") or b""
        if hashlib.sha256(found).hexdigest() != unit["sha256"]:
            yield f"T4 the model of {unit['unit']} is not what the index names"


@cache
def trained(strength: float) -> dict[str, bytes]:
    """What a training program leaves: a model of the summer, its card, and a metric."""
    card = {"flavor": "sklearn", "inputs": list(training.INPUTS), "keys": ["id"],
            "output": {"name": "late_probability", "type": "double"}}  # fmt: skip
    return {
        "model.joblib": _summer_model(),
        "MODEL.json": json.dumps(card).encode(),
        "metrics.json": json.dumps({"auc": strength}).encode(),
    }


@cache
def _summer_model() -> bytes:
    return training.model_of(range(training.WINTER, DAYS), summer=True)


@cache
def _day(day: int) -> bytes:
    return training.a_day(day, summer=day >= training.WINTER)


@cache
def _champion() -> dict[str, bytes]:
    data = training.winter_model()
    return training.first_version(f"{WORKLOAD}-model", data, known=b'{"train": []}')


@cache
def _champion_of_units(column: str, units: tuple[str, ...]) -> dict[str, bytes]:
    """Version 1 with a model of the winter for each unit."""
    data = training.winter_model()
    blobs = training.first_version(f"{WORKLOAD}-model", data, known=b'{"train": []}')
    card = json.loads(blobs["1/MODEL.json"])
    contract = {name: card[name] for name in ("inputs", "output", "keys")}
    told = {"file": "model.joblib", "sha256": card["sha256"], "size": len(data), "flavor": "sklearn", "contract": "c",
            "run": "before"}  # fmt: skip
    listed = [{"unit": unit, "key": unit_key(unit), **told} for unit in units]
    index = json.dumps(
        {"schema_version": SCHEMA, "column": column, "contracts": {"c": contract}, "units": listed}
    )
    whole = {
        **card,
        "flavor": "units",
        "file": "UNITS.json",
        "sha256": hashlib.sha256(index.encode()).hexdigest(),
    }
    del blobs["1/model.joblib"]
    models = {f"1/units/{unit_key(unit)}/model.joblib": data for unit in units}
    return {**blobs, **models, "1/UNITS.json": index.encode(), "1/MODEL.json": json.dumps(whole).encode()}
