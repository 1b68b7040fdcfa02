"""One model per unit: which units a job judges, what became of each, and the version that holds all their models."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from activities.training import read_plan
from shared.azure import job_blobs, ledger, ml_data, ml_registry, model_store, unit_store
from shared.domain import gate
from shared.domain.errors import Cancelled, SpecError
from shared.domain.gate import Ruling
from shared.domain.jobs import WrittenJob
from shared.domain.ml_events import OWN
from shared.domain.registry import ModelRef
from shared.domain.retrain import Registered
from shared.domain.trials import Trial
from shared.domain.unit_steps import (
    PER_JOB,
    ClaimedVersion,
    CopyUnitsRequest,
    EvaluateUnitsRequest,
    JudgeUnitsRequest,
    UnitEvaluationJobRequest,
    UnitsQuery,
    UnitsRegistration,
    UnitsVerdict,
)
from shared.domain.units import INDEX, UNITS, NextVersion, UnitsIndex, merge, unit_blob, verdict_of
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing

SCHEMA = "muster.evaluate-units-job/1"
BOOTSTRAP = 1000  # resamples of a unit's rows
MOST_ROWS = 10  # of the table in a history: the units that gained and lost most


@activity(contracts.CHECK_UNITS)
def check_units(query: UnitsQuery) -> Nothing:
    """Raises SpecError if the champion is one model for all, or has units of another column: nothing is bought yet."""
    column = query.request.workload.trials.unit_column
    index = unit_store.read_index(query.champion)
    if index is not None and index.column != column:
        raise SpecError(
            f"{query.champion} has its units by {index.column}, trials.unitColumn is {column}; give these a model.name "
            "of their own"
        )
    return Nothing()


@activity(contracts.WRITE_UNIT_EVALUATION_JOB)
def write_unit_evaluation_job(request: UnitEvaluationJobRequest) -> WrittenJob:
    """The job that judges some units whose trials are valid. They have been judged, or there is none: there is no job."""
    evaluate = request.evaluate
    run = evaluate.request.run
    job = f"units{request.index:05d}-e{request.epoch}" + (
        f"r{request.attempt}" if request.attempt > 1 else ""
    )

    def make() -> dict[str, object] | None:
        if ledger.exists(unit_store.evaluation_path(run, request.index)):
            return None
        return _job(evaluate, request.index, job)

    timeout_s = int(evaluate.request.workload.limits.deadline.total_seconds())
    return job_blobs.write_once(run, job, make, timeout_s=timeout_s, parts=lambda made: len(made["units"]))


def _job(evaluate: EvaluateUnitsRequest, index: int, job: str) -> dict[str, object] | None:
    workload = evaluate.request.workload
    mine = read_plan(evaluate.plan)[index * PER_JOB : (index + 1) * PER_JOB]
    champion = unit_store.read_index(evaluate.champion)
    units = _units(evaluate, mine, champion)
    if not units:
        return None
    used = {model["contract"] for unit in units for model in unit["models"] if "contract" in model}
    return {
        **job_blobs.job_head(SCHEMA, evaluate.request.run, job),
        "chunk": index,
        "data": evaluate.data.manifest.model_dump(mode="json"),
        "label": workload.data.label,
        "column": workload.trials.unit_column,
        "units": units,
        "contracts": {
            name: one.model_dump(mode="json")
            for name, one in (champion.contracts if champion else {}).items()
            if name in used
        },
        "metrics": [workload.gate.metric],
        "slices": [each.column for each in workload.gate.slices],
        "confidence": workload.gate.confidence,
        "bootstrap": BOOTSTRAP,
        "seed": workload.trials.seed,
        "timeout_s": int(workload.trials.timeout.total_seconds()),  # predicting takes less than training
        "workers": min(offer.vcpus for offer in evaluate.offers),
    }


def _units(
    evaluate: EvaluateUnitsRequest, mine: list[Trial], champion: UnitsIndex | None
) -> list[dict[str, Any]]:
    """Each unit that has a challenger, with the models to be compared."""
    run, name = evaluate.request.run, evaluate.request.workload.model.name
    held = {model.unit: model for model in champion.units} if champion else {}
    with ThreadPoolExecutor(unit_store.AT_ONCE) as readers:
        records = list(readers.map(lambda trial: ledger.read(f"runs/{run}/trials/{trial.id}.json"), mine))
    units = []
    for trial, record in zip(mine, records, strict=True):
        if record is None or record["status"] != "valid" or not record.get("model"):
            continue
        wanted = ("container", "prefix", "file", "sha256", "flavor")
        challenger = {part: record["model"][part] for part in wanted}
        models = [{"role": gate.CHALLENGER, "name": name, "version": trial.id, **challenger}]
        if evaluate.champion and trial.unit in held:
            model = held[trial.unit]
            place = unit_blob(evaluate.champion.prefix, model).removesuffix(model.file)
            models.append(
                {"role": gate.CHAMPION, "name": name, "version": evaluate.champion.version,
                 "container": evaluate.champion.container, "prefix": place, "file": model.file,
                 "sha256": model.sha256, "flavor": model.flavor, "contract": model.contract}
            )  # fmt: skip
        units.append({"id": trial.id, "value": trial.unit, "models": models})
    return units


@activity(contracts.JUDGE_UNITS)
def judge_units(request: JudgeUnitsRequest) -> UnitsVerdict:
    """The gate's verdict on every unit, the table of them in a blob, and the version that follows from it in another.

    The whole is written once: called again it gives the same.
    """
    run, workload = request.request.run, request.request.workload
    planned = read_plan(request.plan)
    results = ledger.read(f"runs/{run}/results.json") or []
    looks, found = unit_store.read_looks(run, -(-request.plan.count // PER_JOB))
    merged = merge(
        run=run,
        column=workload.trials.unit_column or "",
        trials={trial.unit: trial.id for trial in planned if trial.unit is not None},
        failures={each["trial"]: each["reason"] for each in results if not each["valid"]},
        looks=looks,
        contracts=found,
        champion=unit_store.read_index(request.champion),
        prefix=request.champion.prefix if request.champion else "",
        rules=workload.gate,
    )
    verdict = verdict_of(merged, workload.gate, most=MOST_ROWS)
    summary = merged.summary(unit_store.write_table(run, merged.rows))
    ledger.create(f"runs/{run}/verdict.json", verdict)
    if verdict.ruling is not Ruling.PROMOTE or merged.next is None:
        return UnitsVerdict(verdict=verdict, summary=summary)
    return UnitsVerdict(verdict=verdict, summary=summary, next=unit_store.write_next(run, merged.next))


@activity(contracts.CLAIM_UNITS_VERSION)
def claim_units_version(registration: UnitsRegistration) -> ClaimedVersion:
    """The version that is the run's own, by its lineage. Called again it is the same one."""
    if ledger.is_cancel_requested(registration.request.run):
        raise Cancelled("cancelled before anything was registered")
    lineage = _lineage(registration, unit_store.encoded(_next(registration).index))
    return ClaimedVersion(
        version=model_store.claim_version(registration.request.workload.model.name, lineage)
    )


@activity(contracts.COPY_UNITS)
def copy_units(request: CopyUnitsRequest) -> Nothing:
    """Copy some units' models to their places in the version, inside Blob Storage, each once."""
    units = unit_store.read_next(request.next).units[request.start : request.stop]
    unit_store.copy_models(f"{request.request.workload.model.name}/{request.version}/", units)
    return Nothing()


@activity(contracts.REGISTER_UNITS)
def register_units(registration: UnitsRegistration) -> Registered:
    """Make the version whole, put it in Azure ML's registry, and crown it. Safe to repeat at any point.

    If another version was made champion since the run began, this one is registered and not promoted.
    """
    run, name, version = (
        registration.request.run,
        registration.request.workload.model.name,
        registration.version,
    )
    if ledger.is_cancel_requested(run):
        raise Cancelled("cancelled before anything was promoted")
    prefix, held = f"{name}/{version}/", _next(registration)
    data = unit_store.encoded(held.index)
    lineage = _lineage(registration, data)
    unit_store.check_models(prefix, held.index)
    model_store.write_once(prefix + INDEX, data)
    card = {**_card(held, data, run), "name": name, "version": version}
    model_store.write_once(prefix + model_store.CARD, ledger.encode(card))
    model = ModelRef(
        name=name, version=version, flavor=UNITS, container=model_store.CONTAINER, prefix=prefix, file=INDEX,
        sha256=lineage["sha256"],
    )  # fmt: skip
    in_azure_ml = ml_registry.register_version(
        name, version, container=model.container, prefix=prefix, tags=_tags(lineage),
        description=f"Trained by {run}: {registration.judged.verdict.reason}"[:500],
    )  # fmt: skip
    notes = [] if in_azure_ml else [ml_registry.NO_WORKSPACE]
    promoted = model_store.crown(name, version, before=registration.champion)
    if not promoted:
        before = str(registration.champion or "no version")
        notes.append(f"{model} is registered and not promoted: {before} is not champion any more")
    elif registration.request.workload.deploy is not None:
        notes.append("no deployment was asked for: an endpoint cannot serve a model per unit")
    return Registered(model=model, promoted=promoted, note="; ".join(notes))


def _next(registration: UnitsRegistration) -> NextVersion:
    assert registration.judged.next is not None
    return unit_store.read_next(registration.judged.next)


def _lineage(registration: UnitsRegistration, index: bytes) -> dict[str, Any]:
    """Where a version came from. Its digest is that of its index, which has each unit's."""
    request = registration.request
    return {
        "run": request.run,
        "workload": request.workload.name,
        "unitColumn": request.workload.trials.unit_column,
        "units": registration.judged.summary.model_dump(mode="json"),
        "data": registration.data.manifest.model_dump(mode="json"),
        "dataAsset": ml_data.short_name(registration.data.asset) or None,
        "code": _code(request.run),
        "sha256": hashlib.sha256(index).hexdigest(),
        "champion": str(registration.champion) if registration.champion else None,
        "verdict": registration.judged.verdict.model_dump(mode="json"),
        "startedBy": request.started_by,
        "cause": request.cause,
        "evidence": list(request.evidence),
    }


def _code(run: str) -> dict[str, Any] | None:
    """The training code, as the run's first training job names it."""
    for path in ledger.list_paths(f"runs/{run}/jobs/t"):
        job: dict[str, Any] = ledger.read(path) or {}
        if "code" in job:
            return dict(job["code"])
    return None


def _card(held: NextVersion, index: bytes, run: str) -> dict[str, Any]:
    common = held.common.model_dump(mode="json")
    return {
        **{name: common[name] for name in ("inputs", "output", "keys")},
        "flavor": UNITS,
        "file": INDEX,
        "sha256": hashlib.sha256(index).hexdigest(),
        "size": len(index),
        "units": {"column": held.column, "count": len(held.units)},
        "metrics": {},
        "trained": {"run": run},
    }


def _tags(lineage: dict[str, Any]) -> dict[str, str]:
    """What Azure ML shows of a version. `causedBy` is how its ModelRegistered event is known as our own doing."""
    units = lineage["units"]
    return {
        "run": lineage["run"],
        "unitColumn": lineage["unitColumn"],
        "dataDigest": lineage["data"]["sha256"],
        **({"dataAsset": lineage["dataAsset"]} if lineage["dataAsset"] else {}),
        "codeDigest": (lineage["code"] or {}).get("sha256", ""),
        "modelDigest": lineage["sha256"],
        "causedBy": f"{OWN} {lineage['cause'] or lineage['startedBy']}",
        **{
            f"units.{fate}": str(units[fate])
            for fate in ("held", "promoted", "new", "kept", "failed", "gone")
        },
    }
