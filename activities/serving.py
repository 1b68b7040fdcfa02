"""Deployments on their platforms: what is to be created, one request or one look each."""

from __future__ import annotations

import json
from typing import Any

from activities.endpoints import delete
from shared.azure import agent, blob, collected, endpoint_records, golden_files, ml_registry, model_store
from shared.config import settings
from shared.domain.deploy import Lineage, LineageQuery
from shared.domain.deploy_plan import PlanRequest, PricedPlan
from shared.domain.deployment import Deployment
from shared.domain.jobs import BlobRef
from shared.domain.lease import Operation
from shared.domain.offers import Offer
from shared.domain.price_book import managed_offer
from shared.domain.serving import (
    Deletion,
    DeletionRequest,
    DeploymentLook,
    DeploymentPlan,
    EndpointLook,
    EndpointPlan,
    EndpointQuery,
    EnvironmentRef,
    LogQuery,
    ServingLogs,
    TargetLook,
    TargetQuery,
)
from shared.domain.units import UNITS
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.platforms import platform

ENTRY = "muster_score.py"  # node.package.SCORING_ENTRY: the user's own script is called by it
GOLDEN = "golden.jsonl"


@activity(contracts.CHECK_LINEAGE)
def check_lineage(query: LineageQuery) -> Lineage:
    """Whether this version is what one of our runs registered, byte for byte, and is not archived.

    What cannot be proved is refused where lineage is required; an archived version and other bytes always are.
    """
    model = query.model
    name = f"{model.name}:{model.version}"
    if model.flavor == UNITS:
        return Lineage(
            ok=False, reason=f"{name} holds a model for each unit: batch scoring takes it, no endpoint does"
        )
    record = _lineage(model.prefix)
    golden = _golden(model.prefix)
    seen = ml_registry.read_version(model.name, model.version)
    asset, tags = (str(seen["id"]), seen["properties"].get("tags") or {}) if seen else ("", {})
    told = Lineage(ok=True, asset=asset, run=str((record or {}).get("run") or ""), golden=golden)
    for fault in _faults(name, model.sha256, record, seen, tags, required=query.required):
        return told.model_copy(update={"ok": False, "reason": fault})
    return told


def _faults(
    name: str,
    sha256: str,
    record: dict[str, Any] | None,
    seen: dict[str, Any] | None,
    tags: dict[str, str],
    *,
    required: bool,
) -> list[str]:
    faults = []
    if seen and seen["properties"].get("isArchived"):
        faults.append(f"model {name} is archived in Azure ML")
    if record and record.get("sha256") != sha256:
        faults.append(
            f"model {name} is not the file that its run registered: LINEAGE.json has another digest"
        )
    if tags.get("modelDigest", sha256) != sha256:
        faults.append(f"model {name} is not the file that Azure ML's tag modelDigest names")
    if not required:
        return faults
    if record is None:
        faults.append(
            f"model {name} has no LINEAGE.json: no run of ours registered it; requireLineage is set"
        )
    elif settings().ml_workspace_id and seen is None:
        faults.append(f"model {name} is not registered in the workspace; requireLineage is set")
    elif seen and (tags.get("run"), tags.get("modelDigest")) != (record.get("run"), sha256):
        faults.append(f"model {name}: Azure ML's tags run and modelDigest are not those of LINEAGE.json")
    return faults


def _lineage(prefix: str) -> dict[str, Any] | None:
    data = blob.read_or_none(model_store.CONTAINER, f"{prefix}{model_store.LINEAGE}")
    return json.loads(data) if data else None


def _golden(prefix: str) -> BlobRef | None:
    path = f"{prefix}{GOLDEN}"
    return (
        BlobRef(container=model_store.CONTAINER, blob=path)
        if blob.exists(model_store.CONTAINER, path)
        else None
    )


@activity(contracts.PLAN_DEPLOYMENT)
def plan_deployment(asked: PlanRequest) -> PricedPlan:
    """Fix everything the deployment is made of: its code goes to a blob named by its digest. Safe to repeat."""
    request, workload = asked.request, asked.request.workload
    collect = collected.address()
    if collect:
        blob.ensure_container(collected.CONTAINER)  # without it nothing is collected, and drift never judged
    golden_files.freeze(request, asked.model)  # a faulty file is told before anything is made
    plan = DeploymentPlan(
        target=workload.target,
        name=asked.name or request.green,
        run=request.run,
        epoch=asked.epoch,
        deadline=asked.deadline,
        model=asked.model,
        model_asset=asked.asset,
        code=agent.upload_serving_code(workload),
        entry=ENTRY,
        resources=workload.resources,
        environment=_environment(workload),
        collect=collect,
        workload=workload.name,
    )
    return PricedPlan(plan=plan, offer=_offer(workload))


def _environment(workload: Deployment) -> EnvironmentRef:
    declared = workload.environment
    if declared is None:
        return EnvironmentRef()
    return EnvironmentRef(
        name=declared.name or "", version=declared.version or "", image=declared.image or ""
    )


def _offer(workload: Deployment) -> Offer:
    """What an instance costs. A cluster is the user's own, and paid for whether we serve on it or not."""
    size = workload.resources.instance_type or ""
    if workload.target.platform == "managed_endpoint":
        return managed_offer(size, settings().location)
    return Offer(size=size or workload.target.platform, region=settings().location)


@activity(contracts.CHECK_TARGET)
def check_target(query: TargetQuery) -> TargetLook:
    """Whether the target takes a deployment now; a cluster that is to be attached is asked for."""
    return platform(query.target.platform).serving.check_target(query.target, query.resources)


@activity(contracts.READ_ENDPOINT)
def read_endpoint(query: EndpointQuery) -> EndpointLook:
    """One look at the endpoint, its map and its deployments."""
    return platform(query.platform).serving.read_endpoint(query.endpoint)


@activity(contracts.BEGIN_ENDPOINT)
def begin_endpoint(plan: EndpointPlan) -> Operation:
    """Create the endpoint, or put this run's epoch on the one that is there."""
    return platform(plan.target.platform).serving.begin_endpoint(plan)


@activity(contracts.BEGIN_DEPLOYMENT)
def begin_deployment(plan: DeploymentPlan) -> Operation:
    """Create the deployment at 0 %, unless it is there."""
    return platform(plan.target.platform).serving.begin_deployment(plan)


@activity(contracts.OBSERVE_DEPLOYMENT)
def observe_deployment(plan: DeploymentPlan) -> DeploymentLook:
    """One look at the deployment."""
    return platform(plan.target.platform).serving.observe_deployment(plan)


@activity(contracts.READ_SERVING_LOGS)
def read_serving_logs(query: LogQuery) -> ServingLogs:
    """The end of a deployment's log; the first that is read for a run is kept beside its other evidence."""
    text = platform(query.platform).serving.read_logs(query.endpoint, query.deployment, query.tail)
    if query.run:
        endpoint_records.write_log(query.run, query.deployment, text)
    return ServingLogs(text=text)


@activity(contracts.BEGIN_DELETION)
def begin_deletion(asked: DeletionRequest) -> Deletion:
    """One request to delete a deployment, unless it is gone. Refused while it has traffic."""
    return delete(asked)
