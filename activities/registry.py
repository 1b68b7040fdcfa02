"""Models in the registry: which version is meant, and a new one with where it came from."""

from __future__ import annotations

import json
import logging
from typing import Any

from shared.azure import blob, ledger, ml_data, ml_registry, model_store
from shared.domain.errors import Cancelled, NotFoundError, SpecError
from shared.domain.ml_events import OWN
from shared.domain.registry import CHAMPION, ModelQuery, ModelRef
from shared.domain.retrain import Registered, Registration
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.triggers.model_events import ask_for
from shared.triggers.workloads import deployments

logger = logging.getLogger(__name__)

CONTAINER = "models"


@activity(contracts.READ_MODEL)
def read_model(query: ModelQuery) -> ModelRef:
    """The model's fixed version and digest, so that a run never sees its model change under it.

    The model file itself is never opened here: it is a program, and this process holds an identity.
    """
    version = query.version if query.version != CHAMPION else _champion(query.name)
    prefix = f"{query.name}/{version}/"
    card = _card(prefix, f"model {query.name}:{version}")
    try:
        file, sha256, flavor = str(card["file"]), str(card["sha256"]), str(card["flavor"])
    except KeyError as missing:
        raise SpecError(
            f"{CONTAINER}/{prefix}MODEL.json has no {missing}; it must name file, sha256 and flavor"
        ) from None
    if not blob.exists(CONTAINER, prefix + file):
        raise NotFoundError(
            f"{CONTAINER}/{prefix}{file} is not there, though MODEL.json names it", code="ModelNotFound"
        )
    return ModelRef(
        name=query.name,
        version=version,
        flavor=flavor,
        container=CONTAINER,
        prefix=prefix,
        file=file,
        sha256=sha256,
    )


def _champion(name: str) -> str:
    alias = blob.read_or_none(CONTAINER, f"{name}/{CHAMPION}.json")
    if alias is None:
        raise NotFoundError(
            f"model {name} has no champion: {CONTAINER}/{name}/{CHAMPION}.json is not there; "
            "name a version in model.version, or make one champion",
            code="NoChampion",
        )
    return str(json.loads(alias)["version"])


def _card(prefix: str, what: str) -> dict[str, object]:
    data = blob.read_or_none(CONTAINER, f"{prefix}MODEL.json")
    if data is None:
        known = sorted(blob.list_folders(CONTAINER, f"{prefix.split('/')[0]}/"))
        raise NotFoundError(
            f"{what} is not in container {CONTAINER}; versions there: {known or 'none'}", code="ModelNotFound"
        )
    card: dict[str, object] = json.loads(data)
    return card


@activity(contracts.REGISTER_MODEL)
def register_model(registration: Registration) -> Registered:
    """Make the run's challenger a version, put it in Azure ML's registry, crown it, and ask for its deployment.

    Safe to repeat at any point: the version is the run's own from its lineage on, and each step finds what was done.
    If another version was made champion since the run began, this one is registered and not promoted.
    """
    run, name = registration.request.run, registration.request.workload.model.name
    if ledger.is_cancel_requested(run):
        raise Cancelled("cancelled before anything was registered")
    record = ledger.read(f"runs/{run}/trials/{registration.trial.trial}.json")
    if record is None or not record.get("model"):
        raise NotFoundError(
            f"trial {registration.trial.trial} of {run} has no model on record", code="TrialNotFound"
        )
    lineage = _lineage(registration, record)
    version = model_store.claim_version(name, lineage)
    card = model_store.read_card(record["model"])
    trained = {**(card.get("trained") or {}), "run": run, "trial": registration.trial.trial}
    metrics = {**(card.get("metrics") or {}), **record["metrics"]}
    model = model_store.store_model(
        name, version, record["model"], {**card, "metrics": metrics, "trained": trained}
    )
    in_azure_ml = ml_registry.register_version(
        name, version, container=model.container, prefix=model.prefix, tags=_tags(lineage),
        description=f"Trained by {run}: {registration.verdict.reason}"[:500], job=record.get("azure_run") or "",
    )  # fmt: skip
    notes = [] if in_azure_ml else [ml_registry.NO_WORKSPACE]
    if not model_store.crown(name, version, before=registration.champion):
        before = str(registration.champion or "no version")
        notes.append(f"{model} is registered and not promoted: {before} is not champion any more")
        return Registered(model=model, promoted=False, note="; ".join(notes))
    return Registered(
        model=model, promoted=True, deployment=_ask_for_deployment(registration, model), note="; ".join(notes)
    )


def _lineage(registration: Registration, record: dict[str, Any]) -> dict[str, Any]:
    """Where a version came from: data, code, parameters, what it was compared with, and what asked for it."""
    request, trial = registration.request, registration.trial
    # A sweep's children share one job: theirs is called after it, and after their number.
    job = ledger.read(f"runs/{request.run}/jobs/{record['job'].partition('_')[0]}.json") or {}
    return {
        "run": request.run,
        "workload": request.workload.name,
        "trial": trial.trial,
        "parameters": record["parameters"],
        "metrics": record["metrics"],
        "data": registration.data.manifest.model_dump(mode="json"),
        "dataAsset": ml_data.short_name(registration.data.asset) or None,
        "azureRun": record.get("azure_run"),
        "code": job.get("code"),
        "sha256": record["model"]["sha256"],
        "champion": str(registration.champion) if registration.champion else None,
        "verdict": registration.verdict.model_dump(mode="json"),
        "startedBy": request.started_by,
        "cause": request.cause,
        "evidence": list(request.evidence),
    }


def _tags(lineage: dict[str, Any]) -> dict[str, str]:
    """What Azure ML shows of a version. `causedBy` is how its ModelRegistered event is known as our own doing."""
    return {
        "run": lineage["run"],
        "trial": lineage["trial"],
        "dataDigest": lineage["data"]["sha256"],
        **({"dataAsset": lineage["dataAsset"]} if lineage["dataAsset"] else {}),
        "codeDigest": (lineage["code"] or {}).get("sha256", ""),
        "modelDigest": lineage["sha256"],
        "causedBy": f"{OWN} {lineage['cause'] or lineage['startedBy']}",
        **{f"metric.{name}": f"{value:.6g}" for name, value in sorted(lineage["metrics"].items())[:10]},
    }


def _ask_for_deployment(registration: Registration, model: ModelRef) -> str:
    """Put the request on record, and claim the deployment if its policy is declared. Gives the record's path, "" if the
    retraining asks for none. A policy that is not declared, or serves another model, leaves the request as it is."""
    request, deploy = registration.request, registration.request.workload.deploy
    if deploy is None:
        return ""
    path = f"deployments/requests/{request.run}.json"
    ledger.create(
        path,
        {
            "run": request.run, "workload": deploy.workload, "model": model.model_dump(mode="json"),
            "cause": request.cause, "startedBy": request.started_by,
        },
    )  # fmt: skip
    policy = deployments().get(deploy.workload)
    if policy is None or policy.model.name != model.name:
        logger.warning(
            "no deployment is declared for it", extra={"run": request.run, "workload": deploy.workload}
        )
        return path
    ask_for(policy, request.run, model, cause=request.cause)
    return path
