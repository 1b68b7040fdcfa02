"""Deploying because something happened: a model was registered, or a retraining asks for its winner's deployment.

Both leave a claim with its marker, which the next tick starts, or a later one while the endpoint is busy: nothing is
lost by a crash, and one fact is one deployment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from shared.azure import arm, endpoint_records, event_ledger, ml_registry
from shared.domain import names
from shared.domain.deploy import DeployRequest
from shared.domain.deployment import Deployment
from shared.domain.ml_events import OWN, EventKind, MlEvent
from shared.domain.registry import ModelRef
from shared.domain.retrain_decision import Action, Decision
from shared.triggers.deploy_checks import BY_EVENT, faults_of_model, overtaken_by
from shared.triggers.start import claim
from shared.triggers.workloads import deployments

_MODELS = "models/"
_MOST_RIVALS = 20


def listening(event: MlEvent) -> list[Deployment]:
    """The declared deployments that a registered version starts."""
    if event.kind is not EventKind.MODEL_REGISTERED:
        return []
    name = event.subject.removeprefix(_MODELS)
    return [d for d in deployments().values() if d.on_model_registered and d.model.name == name]


def decide_about(event: MlEvent, open_: Sequence[MlEvent]) -> list[Decision]:
    """Decide for each deployment that listens, once; `open_` are all facts that wait for their decision.

    Whoever asks again gets the same answers. The event is not believed: Azure ML and our own store are asked.
    """
    decisions = [_decided(event, workload, open_) for workload in listening(event)]
    event_ledger.set_considered(event.key)
    return decisions


def ask_for(workload: Deployment, run: str, model: ModelRef, *, cause: str) -> str:
    """Claim the deployment of what the retraining `run` made champion; gives the deployment's run. Safe to repeat."""
    slot = f"event-{hashlib.sha256(run.encode()).hexdigest()[:16]}"
    request = _request(
        workload, slot, model.version, cause=cause, reason=f"champion of {run}", evidence=(run,)
    )
    claim(request)
    return request.run


def _decided(event: MlEvent, workload: Deployment, open_: Sequence[MlEvent]) -> Decision:
    for _ in range(_MOST_RIVALS):
        decision, etag = event_ledger.read_decision(workload.name, event.key)
        if decision is None:
            decision = _judged(event, workload, open_)
            if not event_ledger.write_decision(decision, etag):
                continue
        if decision.run:  # also when it was decided before: the claim may have been lost with who decided
            claim(_asked(event, workload))
        return decision
    raise RuntimeError(f"decision {event.key} moves without end")


def _judged(event: MlEvent, workload: Deployment, open_: Sequence[MlEvent]) -> Decision:
    request = _asked(event, workload)
    reason = _against(event, request, open_)
    return Decision(
        workload=workload.name, key=event.key, event=event, at=arm.now(),
        action=Action.IGNORE if reason else Action.START,
        reasons=(f"Ignored: {reason}" if reason else f"version {event.version} was registered (onModelRegistered)",),
        run="" if reason else request.run,
    )  # fmt: skip


def _against(event: MlEvent, request: DeployRequest, open_: Sequence[MlEvent]) -> str:
    """What speaks against deploying this version, first things first."""
    newer = [
        e for e in open_ if e.kind is event.kind and e.subject == event.subject and _age(e) > _age(event)
    ]
    if newer:
        return f"version {max(newer, key=_age).version} was registered meanwhile"
    if faults := faults_of_model(request.workload.model.name, event.version):
        return "; ".join(map(str, faults))
    marks = {
        k.casefold(): v for k, v in ml_registry.tags_of(request.workload.model.name, event.version).items()
    }
    if marks.get("causedby", "").casefold().startswith(OWN):
        return "Muster registered it, and asks by itself for what its retrainings are to deploy"
    return overtaken_by(request, endpoint_records.read(request.endpoint))


def _age(event: MlEvent) -> tuple[int, str]:
    """Versions that are numbers in their order; others by when they were registered."""
    return (int(event.version), "") if event.version.isdecimal() else (-1, event.occurred.isoformat())


def _asked(event: MlEvent, workload: Deployment) -> DeployRequest:
    reason = f"{event.subject.removeprefix(_MODELS)}:{event.version} was registered"
    return _request(workload, f"event-{event.key[:16]}", event.version, cause=event.key, reason=reason)


def _request(
    workload: Deployment, slot: str, version: str, *, cause: str, reason: str, evidence: tuple[str, ...] = ()
) -> DeployRequest:
    return DeployRequest(
        run=names.deploy_run_id(workload.name, slot), slot=slot, workload=workload, version=version,
        started_by=BY_EVENT, cause=cause, reason=reason, evidence=evidence,
    )  # fmt: skip
