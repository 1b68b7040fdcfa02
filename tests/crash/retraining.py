"""Nights on which a model is trained anew: the declaration, its labelled days, the champion to beat, who may win."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from shared.domain import names
from tests.crash.scenario import SLOT, WORKLOAD, Scenario, deploy_yesterday
from tests.crash.storage import BlobStorage
from tests.support import training

DAYS = training.WINTER + training.SUMMER
CLUSTER = {"platform": "amlcompute", "sizes": ["Standard_D2s_v5"], "regions": ["westeurope"]}


@dataclass(frozen=True)
class Retraining(Scenario):
    """`trials`: how many, drawn at random. Each is as good as its parameter, which is the metric it tells."""

    trials: int = 3
    concurrency: int = 2
    run: str = field(default=names.train_run_id(WORKLOAD, SLOT))
    horizon: timedelta = timedelta(hours=12)

    def declaration(self) -> dict[str, Any]:
        random = {"sampling": "random", "seed": 7, "count": self.trials, "concurrency": self.concurrency,
                  "space": {"strength": {"logUniform": [0.01, 0.9]}}}  # fmt: skip
        cluster = {**CLUSTER, "instances": self.concurrency}
        return training.retraining(
            WORKLOAD, schedule={"cron": "0 2 * * *"}, compute=cluster, trials=random, **self.changes
        )

    def land(self, put: Callable[[str, str, bytes], None]) -> None:
        deploy_yesterday(put)
        for day in range(DAYS):
            put("landing", f"{training.PREFIX}{day:03d}.parquet", _day(day))
        for name, data in _champion().items():
            put("models", f"{WORKLOAD}-model/{name}", data)

    def published(self, storage: BlobStorage) -> dict[str, bytes]:
        return {name: storage.read("models", name) or b"" for name in storage.names("models")}


def unfair_titles(storage: BlobStorage, scenario: Retraining, outcome: Mapping[str, Any]) -> Iterator[str]:
    """T1 to T3: every planned trial has one record; one version more and the title for a run that won it, else none."""
    model, run = f"{WORKLOAD}-model", scenario.run
    versions = {name.split("/")[1] for name in storage.names("models", f"{model}/") if name.count("/") > 1}
    champion = json.loads(storage.read("models", f"{model}/champion.json") or b"{}")["version"]
    won = outcome.get("state") == "Completed"
    if won and (champion, sorted(versions)) != ("2", ["1", "2"]):
        yield f"T2 {run} won, and of versions {sorted(versions)} the champion is {champion}"
    if not won and champion != "1":
        yield f"T2 {run} is {outcome.get('state')}, and {champion} is champion"
    records = [n for n in storage.names("muster", f"runs/{run}/trials/") if n.count("/") == 3]
    if won and len(records) != scenario.trials:
        yield f"T1 {len(records)} records of {scenario.trials} trials"


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
