"""Retrainings as far as their activities need them: a declaration, data with columns, and trials as agents leave them."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from activities import training
from shared.azure import blob, ledger
from shared.domain import names
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.retrain import (
    EvaluateRequest,
    FrozenData,
    PlanRequest,
    ResultsQuery,
    RetrainRequest,
    TrainJobRequest,
    TrialPlan,
    TrialResults,
    TrialsRequest,
)
from shared.domain.retraining import Retraining
from shared.domain.workload import parse_workload

COLUMNS: dict[str, list[Any]] = {"carrier": ["AA", "UA"], "distance": [1.0, 2.0], "late": [0, 1]}
OFFER = Offer(size="Standard_D2s_v5", region="westeurope", vcpus=2, price_usd_per_hour=0.36)


def parquet(rows: dict[str, list[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer)
    return buffer.getvalue()


@dataclass
class Retrained:
    """One run on data of its own under `prefix`."""

    changes: dict[str, Any] = field(default_factory=dict)
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    slot: str = field(default_factory=lambda: f"manual-{uuid.uuid4().hex[:16]}")

    @property
    def prefix(self) -> str:
        return f"train-{self.tag}/"

    @property
    def model(self) -> str:
        return f"m-{self.tag}"

    @cached_property
    def workload(self) -> Retraining:
        declared: dict[str, Any] = {
            "kind": "Retraining",
            "name": f"w-{self.tag}",
            "data": {"container": "landing", "prefix": self.prefix, "test": {"newest": 2}, "label": "late"},
            "model": {"name": self.model},
            "training": {"code": "workloads/flights_training"},
            "trials": {"count": 4, "seed": 7, "space": {"rate": {"uniform": [0, 1]}}, "timeout": "PT5M"},
            "compute": {"platform": "dsvm", "instances": 2},
        }
        for section, values in self.changes.items():
            declared[section] = {**declared.get(section, {}), **values}
        if "unitColumn" in declared["trials"]:
            declared["trials"] = {k: v for k, v in declared["trials"].items() if k not in ("count", "space")}
        parsed = parse_workload(yaml.safe_dump(declared), source="test", platforms=("dsvm", "amlcompute"))
        assert isinstance(parsed, Retraining)
        return parsed

    @property
    def run(self) -> str:
        return names.train_run_id(self.workload.name, self.slot)

    @cached_property
    def request(self) -> RetrainRequest:
        return RetrainRequest(run=self.run, slot=self.slot, workload=self.workload, started_by="test")

    def land(self, *blobs: str, **changes: Any) -> None:
        """Put Parquet blobs of these names where the declaration looks, with columns changed or (None) gone."""
        rows = {name: values for name, values in (COLUMNS | changes).items() if values is not None}
        for name in blobs:
            blob.create_only("landing", self.prefix + name, parquet(rows))

    def freeze(self) -> FrozenData:
        return training.freeze_data(self.request)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = blob.read_json("muster", f"runs/{self.run}/data.json")
        return found

    @cached_property
    def data(self) -> FrozenData:
        return self.freeze()

    @cached_property
    def plan(self) -> TrialPlan:
        return training.plan_trials(PlanRequest(request=self.request, data=self.data))

    def job(self, index: int, *, epoch: int = 1, attempt: int = 1) -> TrainJobRequest:
        trials = TrialsRequest(
            request=self.request, data=self.data, plan=self.plan, offers=(OFFER,), lane=0, start=0, stop=self.plan.jobs
        )  # fmt: skip
        return TrainJobRequest(trials=trials, index=index, attempt=attempt, epoch=epoch)

    def record(self, trial: str, metric: float | None = 0.7, **changes: Any) -> None:
        """What an agent writes of a trial that is over."""
        record = {
            "trial": trial, "job": f"{trial}-e1", "status": "valid" if metric is not None else "failed",
            "reason": "" if metric is not None else "exit code 1",
            "metrics": {"auc": metric} if metric is not None else {}, "parameters": {}, "seconds": 100.0,
            "model": {"container": "muster", "prefix": f"runs/{self.run}/trials/{trial}/x/", "file": "model.joblib",
                      "sha256": "a" * 64, "flavor": "sklearn"},
        } | changes  # fmt: skip
        ledger.create(f"runs/{self.run}/trials/{trial}.json", record)

    def results(self) -> TrialResults:
        return training.read_results(
            ResultsQuery(request=self.request, plan=self.plan, usd_per_hour=OFFER.usd_per_hour)
        )

    def evaluation(self, champion: ModelRef | None, challenger: str = "t001") -> EvaluateRequest:
        return EvaluateRequest(
            request=self.request, data=self.data, challenger=challenger, champion=champion, offers=(OFFER,)
        )

    def crown(self, *, inputs: list[dict[str, str]], trained_on: FrozenData | None = None) -> None:
        """A champion with these inputs, trained on what a run froze."""
        blob.create_only("models", f"{self.model}/champion.json", b'{"version": "1"}')
        blob.create_only("models", f"{self.model}/1/MODEL.json", ledger.encode({"inputs": inputs}))
        if trained_on:
            lineage = {"run": "r", "data": trained_on.manifest.model_dump()}
            blob.create_only("models", f"{self.model}/1/LINEAGE.json", ledger.encode(lineage))
