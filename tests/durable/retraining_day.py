"""A day on which a retraining goes well: what Azure, Blob Storage and the agents answer to each of its steps."""

from __future__ import annotations

from typing import Any

import yaml

from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import (
    JobGlance,
    JobLook,
    JobReport,
    JobRequest,
    JobsQuery,
    JobsReport,
    JobState,
    JobStep,
    Progress,
    WrittenJob,
)
from shared.domain.lease import Operation
from shared.domain.offers import Headroom, HeadroomReport
from shared.domain.registry import ModelRef
from shared.domain.retrain import (
    FrozenData,
    Registered,
    RetrainRequest,
    TrainJobRequest,
    TrialPlan,
    TrialResult,
    TrialResults,
)
from shared.domain.retraining import Retraining
from shared.domain.wire import Wire
from shared.domain.workload import parse_workload
from tests.durable.night import OFFERS, Night, _blob

RUN = "train-flights-manual-0123456789abcdef"
CHAMPION = ModelRef(
    name="m", version="1", flavor="sklearn", container="models", prefix="m/1/", file="model.joblib", sha256="a" * 64
)  # fmt: skip
CHALLENGER = CHAMPION.model_copy(update={"version": "2", "prefix": "m/2/"})
OVER = JobReport(
    look=JobLook(state=JobState.SUCCEEDED, exit_code=0),
    progress=Progress(state="succeeded", shards_total=1, shards_done=1),
)


def request(**changes: Any) -> RetrainRequest:
    """8 trials, 4 at once, on 4 machines; `changes` are merged into the declaration, section by section."""
    declared: dict[str, Any] = {
        "kind": "Retraining",
        "name": "flights",
        "data": {"container": "landing", "prefix": "in/", "test": {"newest": 2}, "label": "late"},
        "model": {"name": "m"},
        "training": {"code": "workloads/flights_training"},
        "trials": {"count": 8, "space": {"rate": {"uniform": [0, 1]}}, "timeout": "PT10M", "minValid": 5},
        "compute": {"platform": "amlcompute", "instances": 4},
        "limits": {"deadline": "PT2H", "ttl": "PT3H"},
    }
    for section, values in changes.items():
        declared[section] = {**declared.get(section, {}), **values} if isinstance(values, dict) else values
    if "unitColumn" in declared["trials"]:
        declared["trials"] = {k: v for k, v in declared["trials"].items() if k not in ("count", "space")}
    workload = parse_workload(yaml.safe_dump(declared), source="test", platforms=("amlcompute", "dsvm"))
    assert isinstance(workload, Retraining)
    slot = RUN.removeprefix("train-flights-")
    return RetrainRequest(run=RUN, slot=slot, workload=workload, started_by="test", cause="e" * 32)


class Day(Night):
    """Every job is over after `looks` looks. `most_at_once` is how many of them were under way on one lease.

    The cancellation is put on record while the step `cancelled_in` is under way.
    """

    def __init__(
        self, trials: int = 8, *, cluster: bool = True, looks: int = 1, cancelled_in: str = ""
    ) -> None:
        super().__init__()
        self._cancelled_in, self._is_cancelled = cancelled_in, False
        self.most_at_once = 0
        self.trained: list[str] = []
        self._trials, self._cluster, self._looks = trials, cluster, looks
        self._under_way: dict[str, dict[str, int]] = {}

    def __call__(self, step: str, payload: Any) -> Wire:
        self._is_cancelled |= step == self._cancelled_in
        return super().__call__(step, payload)

    def read_model(self, _: Any) -> Wire:
        return CHAMPION

    def freeze_data(self, _: Any) -> Wire:
        return FrozenData(manifest=_blob("data.json"), train_blobs=5, test_blobs=2, new_blobs=7)

    def plan_trials(self, _: Any) -> Wire:
        return TrialPlan(trials=_blob("trials.json"), count=self._trials)

    def check_headroom(self, _: Any) -> Wire:
        looks = tuple(Headroom(offer=offer, available=True) for offer in OFFERS)
        return HeadroomReport(looks=looks, shares_machine=self._cluster)

    def write_train_job(self, payload: Any) -> Wire:
        asked = TrainJobRequest.model_validate(payload)
        id_ = f"t{asked.index:04d}-e{asked.epoch}r{asked.attempt}"
        self.trained.append(id_)
        return self._job(id_)

    def write_evaluation_job(self, payload: Any) -> Wire:
        return self._job(f"evaluate-e{payload['epoch']}")

    def submit_job(self, payload: Any) -> Wire:
        step = JobStep.model_validate(payload)
        here = self._under_way.setdefault(step.lease.id, {})
        here[step.job.id] = 0
        self.most_at_once = max(self.most_at_once, len(here))
        return Operation(poll_after_s=1.0)

    def observe_jobs(self, payload: Any) -> Wire:
        query = JobsQuery.model_validate(payload)
        here = self._under_way.setdefault(query.lease.id, {})
        glances = []
        for job in query.jobs:
            here[job.id] = here.get(job.id, 0) + 1
            is_over = here[job.id] >= self._looks
            state = JobState.SUCCEEDED if is_over else JobState.RUNNING
            glances.append(JobGlance(id=job.id, state=state, is_over=is_over))
            if is_over:
                del here[job.id]
        return JobsReport(jobs=tuple(glances), cancel_requested=self._is_cancelled)

    def observe_job(self, _: Any) -> Wire:
        return OVER

    def read_results(self, _: Any) -> Wire:
        results = tuple(TrialResult(trial=f"t{n:03d}", valid=True, metric=0.7) for n in range(8))
        return TrialResults(valid=self._trials, best=results[3], shown=results)

    def judge_models(self, _: Any) -> Wire:
        return Verdict(ruling=Ruling.PROMOTE, reason="auc 0.70 -> 0.72")

    def register_model(self, _: Any) -> Wire:
        return Registered(model=CHALLENGER, promoted=True, deployment="deployments/requests/r.json")

    record_retraining = Night._nothing

    def _job(self, id_: str) -> Wire:
        job = JobRequest(id=id_, agent=_blob("code.zip"), job=_blob(f"jobs/{id_}.json"))
        return WrittenJob(job=job, open_shards=1)
