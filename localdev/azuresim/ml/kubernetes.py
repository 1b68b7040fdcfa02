"""Attached Kubernetes clusters: may they be attached, what pods fit on them, and what is said when they cannot.

Codes and texts: learn.microsoft.com machine-learning/how-to-troubleshoot-kubernetes-compute (compute and cluster
scope) and how-to-troubleshoot-online-endpoints (OutOfQuota, BadArgument). Quantities: kubernetes.io, manage-resources-
containers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localdev.azuresim import estate
from localdev.azuresim.errors import ArmError, error_object
from localdev.azuresim.ml.cluster import KUBERNETES
from localdev.azuresim.ml.common import WORKSPACES, user_error
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

CLUSTERS = "Microsoft.ContainerService/managedClusters"
DEPLOYMENTS = f"{WORKSPACES}/onlineEndpoints/deployments"
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|Ki|Mi|Gi|Ti|k|M|G|T)?")
_UNITS = {
    None: 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


@dataclass(frozen=True)
class Pod:
    """What one instance asks for; `limit_gib` is where its memory ends."""

    cpu: float
    memory_gib: float
    gpu: int
    limit_gib: float


def check_attach(world: World, resource_id: Any) -> None:
    """Raises the refusal of a cluster that is not there."""
    cluster = world.store.get(str(resource_id or ""))
    if cluster is None or cluster.type.casefold() != CLUSTERS.casefold():
        raise ArmError(
            400, "BadRequest", "The request is invalid.", details=[_detail("ClusterNotFound", resource_id)]
        )


def attached(inner: dict[str, Any]) -> dict[str, Any]:
    """The inner properties of an attached cluster: its own instance types where the request names none."""
    types = {name: {"nodeSelector": None, "resources": each} for name, each in estate.INSTANCE_TYPES.items()}
    return {
        "defaultInstanceType": next(iter(types)),
        **inner,
        "instanceTypes": inner.get("instanceTypes") or types,
    }


def trouble(world: World, compute: Resource) -> dict[str, Any] | None:
    """Why nothing can be done on the cluster behind a compute now; None if it can."""
    cluster = world.store.get(str(compute.properties.get("resourceId")))
    if cluster is None:
        return error_object("ClusterNotFound", _TEXTS["ClusterNotFound"])
    if not cluster.state["reachable"]:
        return error_object("ClusterNotReachable", _TEXTS["ClusterNotReachable"])
    if not cluster.state["extension"]:
        return error_object("ClusterServiceNotFound", _TEXTS["ClusterServiceNotFound"])
    return None


def compute_of(world: World, workspace: Resource, compute_id: Any) -> Resource:
    """The attached cluster an endpoint names. Raises the refusal of one that is not there or not attached."""
    found = world.store.get(str(compute_id))
    is_here = found is not None and found.id.casefold().startswith(f"{workspace.id}/computes/".casefold())
    if found is None or not is_here or found.properties.get("computeType") != KUBERNETES:
        raise user_error(400, "The request is invalid.", ("ComputeNotFound", _TEXTS["ComputeNotFound"]))
    if found.provisioning_state != "Succeeded":
        raise user_error(400, "The request is invalid.", ("InvalidComputeInformation", _INVALID))
    return found


def pod(compute: Resource, instance_type: str, asked: Mapping[str, Any]) -> Pod:
    """What an instance needs: what the deployment asks for, else what its instance type says. Raises a refusal."""
    resources = _resources(compute, instance_type)
    requests, limits = resources["requests"], resources["limits"]
    wanted = {**_known(requests), **_known(asked.get("containerResourceRequests"))}
    most = {**_known(limits), **_known(asked.get("containerResourceLimits"))}
    for name, amount in wanted.items():
        if amount > most.get(name, amount):
            raise _bad_argument(
                f"Resource requests are greater than the limits: {name} {amount:g} > {most[name]:g}."
            )
    return Pod(
        wanted.get("cpu", 0.0),
        wanted.get("memory", 0.0) / _UNITS["Gi"],
        int(wanted.get("gpu", 0)),
        most.get("memory", 0.0) / _UNITS["Gi"],
    )


def requirements(compute: Resource, instance_type: str) -> dict[str, Any]:
    """What an instance type asks for, in the form of a deployment's own containerResourceRequirements."""
    resources = _resources(compute, instance_type)
    return {
        f"containerResource{name.capitalize()}": {
            key.rpartition("/")[2]: text for key, text in resources[name].items() if text is not None
        }
        for name in ("requests", "limits")
    }


def unschedulable(world: World, compute: Resource, deployment: Resource, pods: Pod, instances: int) -> str:
    """What Kubernetes says of pods that fit nowhere, next to all others on the cluster; "" if they fit."""
    cluster = world.store.get(str(compute.properties["resourceId"]))
    assert cluster is not None
    free = [{**node} for node in cluster.state["nodes"]]
    for other, count in _others(world, compute, deployment):
        for _ in range(count):
            _place(free, other)
    if all(_place(free, pods) for _ in range(instances)):
        return ""
    short = (
        ("gpu", "nvidia.com/gpu", pods.gpu),
        ("cpu", "cpu", pods.cpu),
        ("memory_gib", "memory", pods.memory_gib),
    )
    lacks = [(label, sum(node[name] < need for node in free)) for name, label, need in short]
    reasons = ", ".join(f"{count} Insufficient {label}" for label, count in lacks if count)
    return f"0/{len(free)} nodes are available: {reasons}."


def _resources(compute: Resource, instance_type: str) -> dict[str, Any]:
    types: dict[str, Any] = compute.properties["properties"]["instanceTypes"]
    found = next((each for name, each in types.items() if name.casefold() == instance_type.casefold()), None)
    if found is None:
        raise _bad_argument(
            f"The instance type '{instance_type}' was not found in the compute '{compute.name}'. The instance types "
            f"are: {', '.join(types)}."
        )
    resources: dict[str, Any] = found["resources"]
    return resources


def _others(world: World, compute: Resource, mine: Resource) -> list[tuple[Pod, int]]:
    return [
        (Pod(*each.state["pod"]), int(each.state["instances"]))
        for each in world.store.of_type(DEPLOYMENTS)
        if each.id != mine.id
        and each.state.get("placed")
        and each.state.get("compute", "").casefold() == compute.id.casefold()
    ]


def _place(free: list[dict[str, Any]], pods: Pod) -> bool:
    for node in free:
        if node["cpu"] >= pods.cpu and node["memory_gib"] >= pods.memory_gib and node["gpu"] >= pods.gpu:
            node["cpu"] -= pods.cpu
            node["memory_gib"] -= pods.memory_gib
            node["gpu"] -= pods.gpu
            return True
    return False


def _known(asked: Mapping[str, Any] | None) -> dict[str, float]:
    """{"cpu": "500m", "nvidia.com/gpu": "1"} -> {"cpu": 0.5, "gpu": 1.0}"""
    found = {}
    for name, text in (asked or {}).items():
        if text is None:
            continue
        match = _QUANTITY.fullmatch(str(text))
        if match is None:
            raise _bad_argument(f"The quantity '{text}' of {name} is not valid.")
        found[name.rpartition("/")[2]] = float(match[1]) * _UNITS[match[2]]
    return found


def _bad_argument(message: str) -> ArmError:
    return user_error(400, "The request is invalid.", ("BadArgument", message))


def _detail(code: str, value: Any) -> dict[str, str]:
    return {"code": code, "message": f"{_TEXTS[code]} '{value}'"}


_INVALID = "The compute information is invalid."
_TEXTS = {
    "ClusterNotFound": "Cannot found Kubernetes cluster.",
    "ClusterNotReachable": "The Kubernetes cluster is not reachable.",
    "ClusterServiceNotFound": "AzureML extension service not found in cluster.",
    "ComputeNotFound": "Cannot find Kubernetes compute.",
}
