"""A retraining's data, trials and jobs: what is frozen, what is planned, and what the trials came to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from shared.azure import agent, blob, job_blobs, ledger, ml_data, tables, training_data
from shared.azure.blob import Found
from shared.config import settings
from shared.domain import columns, names
from shared.domain.errors import NotFoundError, SpecError
from shared.domain.jobs import BlobRef, WrittenJob
from shared.domain.ml_events import OWN
from shared.domain.retrain import (
    FrozenData,
    PlanRequest,
    ResultsQuery,
    RetrainRequest,
    TrainJobRequest,
    TrialPlan,
    TrialResult,
    TrialResults,
)
from shared.domain.retraining import MAX_UNITS, Retraining
from shared.domain.trials import Trial, plan_units, units_per_job
from shared.domain.trials import plan_trials as trials_of_space
from shared.durable import contracts
from shared.durable.blueprint import activity

SCHEMA = "muster.train-job/1"
READERS = 16
MOST_CHECKED = 500  # blobs of each side whose columns are looked at, the newest: a look is one short read
MOST_COLUMNS_TOLD = 100
MOST_SHOWN = 10  # trials in a history; all of them are in the run's results
AGENT_GRACE_S = 600  # for fetching code and data, beside the trials' own time


@activity(contracts.FREEZE_DATA)
def freeze_data(request: RetrainRequest) -> FrozenData:
    """Fix by etag what trains and what judges, once, after a look at the columns of both.

    Called again it gives what was frozen the first time. Raises SpecError with the difference if a column that is needed
    is missing or has become another: then nothing was bought yet.
    """
    path = f"runs/{request.run}/data.json"
    if ledger.read(path) is None:
        blob.create_only(settings().state_container, path, ledger.encode(_choose_data(request.workload)))
    data = blob.read(settings().state_container, path)
    frozen = json.loads(data)
    manifest = BlobRef(
        container=settings().state_container, blob=path, sha256=hashlib.sha256(data).hexdigest()
    )
    asset = _register(request, manifest)
    return FrozenData(
        manifest=manifest,
        asset=asset,
        note="" if asset else ml_data.NO_WORKSPACE,
        train_blobs=len(frozen["train"]),
        test_blobs=len(frozen["test"]),
        new_blobs=frozen["new"],
        columns=tuple(f"{name}: {type_}" for name, type_ in frozen["schema"].items())[:MOST_COLUMNS_TOLD],
    )


def _register(request: RetrainRequest, manifest: BlobRef) -> str:
    """What was frozen, as a data asset of Azure ML where there is a workspace; its ARM id."""
    workload = request.workload
    place = f"{workload.data.container}/{workload.data.prefix}{workload.data.pattern}"
    return ml_data.register_data(
        f"{workload.model.name}-data",
        manifest,
        tags={"run": request.run, "causedBy": f"{OWN} {request.cause or request.started_by}"},
        description=f"Frozen by {request.run}: blobs of {place} by their etags",
    )


def _choose_data(workload: Retraining) -> dict[str, object]:
    data = workload.data
    listed = training_data.list_data(data)
    test = listed[-data.test.newest :]
    train = listed[: -data.test.newest]
    train = train[-data.train.newest :] if data.train else train
    if not train:
        raise SpecError(
            f"{data.container}/{data.prefix}{data.pattern} has {len(listed)} blobs; the newest {data.test.newest} "
            "judge (data.test.newest), and none is left to train on"
        )
    known = training_data.known_to_champion(workload.model.name)
    return {
        "train": training_data.as_items(data.container, train),
        "test": training_data.as_items(data.container, test),
        "label": data.label,
        "schema": _checked_columns(workload, train, test),
        "new": sum((found.name, found.etag) not in known for found in listed),
    }


def _checked_columns(workload: Retraining, train: Sequence[Found], test: Sequence[Found]) -> dict[str, str]:
    """The columns that every blob looked at has. Raises SpecError naming the first that lacks what is needed."""
    container = workload.data.container
    looked = [*train[-MOST_CHECKED:], *test[-MOST_CHECKED:]]
    with ThreadPoolExecutor(READERS) as readers:
        found = list(readers.map(lambda each: tables.read_columns(container, each), looked))
    wanted = _demanded(workload, found[0])
    wrong = [(blob_, each) for blob_, each in zip(looked, found, strict=True) if columns.faults(wanted, each)]
    if wrong:
        more = f" (and {len(wrong) - 1} more of {len(looked)})" if len(wrong) > 1 else ""
        raise SpecError(
            f"the columns of {container}/{wrong[0][0].name}{more} are not those that are needed: "
            f"{columns.difference(wanted, wrong[0][1])}; nothing was bought"
        )
    return {name: type_ for name, type_ in found[0].items() if all(name in each for each in found)}


def _demanded(workload: Retraining, first: columns.Columns) -> dict[str, str]:
    """What the champion was trained on; without one, what the oldest blob has. And what the declaration names."""
    own = [workload.data.label, *(each.column for each in workload.gate.slices)]
    card = training_data.champion_card(workload.model.name)
    inputs = card["inputs"] if card else [{"name": name, "type": type_} for name, type_ in first.items()]
    return columns.demanded(inputs, *own, workload.trials.unit_column or "")


@activity(contracts.PLAN_TRIALS)
def plan_trials(plan: PlanRequest) -> TrialPlan:
    """Fix the trials in a create-only blob, and put the training code in place. Raises SpecError if that is absent.

    Called again it gives what was planned the first time.
    """
    workload, path = plan.request.workload, f"runs/{plan.request.run}/trials.json"
    agent.upload_training_code(workload)
    planned = ledger.read(path)
    if planned is None:
        blob.create_only(settings().state_container, path, _encoded(_plan(plan)))
        planned = ledger.read(path) or []
    machines = min(workload.compute.instances, workload.trials.concurrency)
    return TrialPlan(
        trials=BlobRef(container=settings().state_container, blob=path),
        count=len(planned),
        per_job=units_per_job(len(planned), machines) if workload.trials.unit_column else 1,
        unit_column=workload.trials.unit_column or "",
    )


def _plan(plan: PlanRequest) -> Iterator[Trial]:
    trials = plan.request.workload.trials
    if trials.unit_column is None:
        return trials_of_space(trials)
    units = _units(plan.data, trials.unit_column)
    if not 0 < len(units) <= MAX_UNITS:
        raise SpecError(
            f"{trials.unit_column} has {len(units)} values; 1 to {MAX_UNITS} units can be trained"
        )
    return plan_units(units)


def _units(data: FrozenData, column: str) -> set[str]:
    """Every value of the column in what trains, as it was frozen."""
    frozen = _frozen(data)["train"]

    def read(item: dict[str, Any]) -> set[str]:
        return tables.read_values(
            item["container"], _Frozen(item["blob"], item["etag"], item["size"]), column
        )

    with ThreadPoolExecutor(READERS) as readers:
        return set().union(*readers.map(read, frozen))


class _Frozen(NamedTuple):
    name: str
    etag: str
    size: int


def _encoded(trials: Iterator[Trial]) -> bytes:
    """A JSON list with a trial in each line."""
    return b"[" + b",\n".join(trial.model_dump_json().encode() for trial in trials) + b"]"


def _frozen(data: FrozenData) -> dict[str, Any]:
    frozen = ledger.read(data.manifest.blob)
    if frozen is None:
        raise NotFoundError(f"{data.manifest.blob} is gone; it was frozen by this run", code="BlobNotFound")
    found: dict[str, Any] = frozen
    return found


def read_plan(plan: TrialPlan) -> list[Trial]:
    planned = ledger.read(plan.trials.blob)
    if planned is None:
        raise NotFoundError(f"{plan.trials.blob} is gone; it was planned by this run", code="BlobNotFound")
    return [Trial.model_validate(each) for each in planned]


@activity(contracts.WRITE_TRAIN_JOB)
def write_train_job(request: TrainJobRequest) -> WrittenJob:
    """The job for one trial, or for some units: those that have no record yet. All of them have one: there is no job."""
    trials = request.trials
    run, plan = trials.request.run, trials.plan
    mine = read_plan(plan)[request.index * plan.per_job : (request.index + 1) * plan.per_job]
    job = names.train_job_id(mine[0].id, request.epoch, request.attempt)
    timeout_s = int(trials.request.workload.trials.timeout.total_seconds())

    def make() -> dict[str, object] | None:
        todo = [trial for trial in mine if not ledger.exists(record_path(run, trial.id))]
        return _train_job(request, job, todo, timeout_s) if todo else None

    written = job_blobs.write_once(
        run, job, make, timeout_s=timeout_s * len(mine) + AGENT_GRACE_S, parts=_trials_in
    )
    if written.job is None:
        return written
    return written.model_copy(
        update={"job": written.job.model_copy(update={"data_asset": trials.data.asset})}
    )


def _trials_in(job: job_blobs.Document) -> int:
    return len(job["units"]) if "units" in job else 1


def _train_job(
    request: TrainJobRequest, job: str, todo: Sequence[Trial], timeout_s: int
) -> dict[str, object]:
    trials, workload = request.trials, request.trials.request.workload
    common = {
        **job_blobs.job_head(SCHEMA, trials.request.run, job),
        "data": trials.data.manifest.model_dump(mode="json"),
        "code": agent.upload_training_code(workload),
        "timeout_s": timeout_s,
    }
    if workload.trials.unit_column is None:
        return {**common, "trial": todo[0].id, "parameters": todo[0].parameters, "unit": None}
    return {
        **common,
        "parameters": {},
        "unitColumn": workload.trials.unit_column,
        "units": [{"id": trial.id, "value": trial.unit} for trial in todo],
        "workers": min(offer.vcpus for offer in trials.offers),  # a unit is small: one core for each at once
    }


def record_path(run: str, trial: str) -> str:
    return f"runs/{run}/trials/{trial}.json"


@activity(contracts.READ_RESULTS)
def read_results(query: ResultsQuery) -> TrialResults:
    """Every trial's record, counted; the best of the valid ones by the declared metric, the earlier one on a tie.

    A trial is valid only with that metric, as a finite number. All results stay in the run's results.json.
    """
    run, trials = query.request.run, query.request.workload.trials
    planned = read_plan(query.plan)
    with ThreadPoolExecutor(READERS) as readers:
        records = list(readers.map(lambda trial: ledger.read(record_path(run, trial.id)), planned))
    results = [
        _result(trial, record, trials.metric, query.usd_per_hour)
        for trial, record in zip(planned, records, strict=True)
    ]
    path = f"runs/{run}/results.json"
    ledger.claim(path, [result.model_dump(mode="json") for result in results])
    valid = sorted((result for result in results if result.valid), key=_better_first(trials.goal))
    missing = sum(record is None for record in records)
    return TrialResults(
        valid=len(valid),
        failed=len(results) - len(valid) - missing,
        missing=missing,
        best=valid[0] if valid else None,
        shown=tuple(_brief(result) for result in results)
        if len(results) <= MOST_SHOWN
        else _some(results, valid),
        table=BlobRef(container=settings().state_container, blob=path),
    )


def _result(trial: Trial, record: dict[str, Any] | None, metric: str, usd_per_hour: float) -> TrialResult:
    if record is None:
        return TrialResult(
            trial=trial.id,
            valid=False,
            parameters=trial.parameters,
            reason="no record: cut off or never begun",
        )
    value = record.get("metrics", {}).get(metric)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    reason = str(record.get("reason") or "")
    if record["status"] == "valid" and not number:
        reason = f"metrics.json has no finite {metric}"
    seconds = float(record.get("seconds") or 0)
    return TrialResult(
        trial=trial.id,
        valid=record["status"] == "valid" and number,
        reason=reason[:300],
        metric=float(value) if number else None,
        parameters=trial.parameters or record.get("parameters", {}),  # a sweep's are drawn by Azure ML
        seconds=seconds,
        usd=round(seconds / 3600 * usd_per_hour, 6),
    )


def _better_first(goal: str) -> Callable[[TrialResult], tuple[float, str]]:
    sign = -1.0 if goal == "maximize" else 1.0
    return lambda result: (sign * (result.metric or 0.0), result.trial)


def _some(results: Sequence[TrialResult], valid: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """The best, and the first of those that failed: both are what a person asks for."""
    failed = [result for result in results if not result.valid]
    return tuple(_brief(each) for each in (*valid[: MOST_SHOWN - 3], *failed[:3]))


def _brief(result: TrialResult) -> TrialResult:
    """As much as a history may hold."""
    parameters = dict(list(result.parameters.items())[:10])
    return result.model_copy(update={"reason": result.reason[:120], "parameters": parameters})
