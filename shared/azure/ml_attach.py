"""Kubernetes clusters attached to the Azure ML workspace: their requests, the body we send, and what a look says.

Field names: Microsoft.MachineLearningServices 2024-10-01, machineLearningServices.json (Kubernetes). The cluster needs
the Azure ML extension; instance types are made in the cluster by its administrator, and shown here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.azure import ml_clusters, ml_endpoints
from shared.azure.arm import Answer
from shared.config import Settings
from shared.domain.deployment import DEFAULT_INSTANCE_TYPE, Attach, Resources
from shared.domain.lease import MANAGED_BY, TAG_APP, TAG_MANAGED_BY
from shared.domain.serving import TargetLook

_GPU = "nvidia.com/gpu"
ATTACH_POLL_S = 30.0


def begin_attach(name: str, attach: Attach, settings: Settings) -> Answer:
    """Attach the cluster under `name`. It bills nothing by itself: whoever owns the cluster pays for its nodes."""
    return ml_clusters.begin_create_cluster(name, attach_body(attach, settings))


def attach_body(attach: Attach, settings: Settings) -> dict[str, Any]:
    return {
        "location": ml_endpoints.location(),
        "tags": {TAG_APP: settings.app, TAG_MANAGED_BY: MANAGED_BY},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {settings.vm_identity_id: {}}},
        "properties": {
            "computeType": "Kubernetes",
            "resourceId": attach.cluster_id,
            "description": "Attached by Muster",
            "properties": {"namespace": attach.namespace},
        },
    }


def target_of(compute: Mapping[str, Any], resources: Resources, attach: Attach | None) -> TargetLook:
    """Whether the attached cluster takes a deployment of these resources, as its GET shows it."""
    properties = compute["properties"]
    state = str(properties.get("provisioningState", ""))
    if properties.get("computeType") != "Kubernetes":
        return _no(
            f"compute {compute['name']} is of type {properties.get('computeType')}, not an attached cluster"
        )
    if state in ("Creating", "Updating"):
        return TargetLook(ready=False, attaching=True, reason=f"it is {state}", poll_after_s=ATTACH_POLL_S)
    if state != "Succeeded":
        code, message = ml_clusters.failure_of(compute)
        return _no(": ".join(filter(None, (f"compute {compute['name']} is {state}", code, message))))
    cluster = str(properties.get("resourceId") or "")
    if attach is not None and cluster and cluster.casefold() != attach.cluster_id.casefold():
        return _no(f"compute {compute['name']} is {cluster}, not {attach.cluster_id}")
    return _instance_type(compute, resources)


def _instance_type(compute: Mapping[str, Any], resources: Resources) -> TargetLook:
    inner = compute["properties"].get("properties") or {}
    known: Mapping[str, Any] = inner.get("instanceTypes") or {}
    wanted = resources.instance_type or inner.get("defaultInstanceType") or DEFAULT_INSTANCE_TYPE
    if wanted not in known and (known or wanted != DEFAULT_INSTANCE_TYPE):
        there = ", ".join(sorted({*known, DEFAULT_INSTANCE_TYPE}))
        return _no(f"compute {compute['name']} has no instance type {wanted!r}; it has {there}")
    if resources.gpu > (gpus := _gpus(known.get(wanted))):
        return _no(
            f"instance type {wanted!r} of compute {compute['name']} has {gpus} GPUs, not {resources.gpu}"
        )
    return TargetLook(ready=True)


def _gpus(instance_type: Mapping[str, Any] | None) -> int:
    limits = ((instance_type or {}).get("resources") or {}).get("limits") or {}
    text = str(limits.get(_GPU) or "0")
    return int(text) if text.isdecimal() else 0


def _no(reason: str) -> TargetLook:
    return TargetLook(ready=False, reason=reason)
