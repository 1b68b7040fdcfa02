"""Azure ML compute clusters: their requests, the bodies we send, and what a look at one says.

Field names and enums: Microsoft.MachineLearningServices 2024-10-01, machineLearningServices.json (AmlCompute).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.azure import ml_client
from shared.azure.arm import Answer, pages
from shared.azure.classify import classified
from shared.azure.resources import tags_of
from shared.config import Settings
from shared.domain import names
from shared.domain.lease import Lease, Machine, MachineState, OwnedResource
from shared.domain.offers import Priority

CLUSTER = "Microsoft.MachineLearningServices/workspaces/computes"
IDLE = timedelta(seconds=120)  # how long a node may be without a job before it is given back

_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def cluster_name(lease: Lease) -> str:
    return names.cluster_name(lease.id, lease.epoch)


def cluster_id(lease: Lease) -> str:
    return f"{ml_client.workspace().id}/computes/{cluster_name(lease)}"


def get_cluster(name: str) -> Answer:
    """The cluster; `is_missing` if ARM says it is not there."""
    return ml_client.looked(ml_client.client().compute.get, f"read cluster {name}", name)


def begin_create_cluster(name: str, body: Mapping[str, Any]) -> Answer:
    """Create it. The API has no If-None-Match and overwrites what is there: look before."""
    operation = ml_client.client().compute.begin_create_or_update
    return ml_client.begun(operation, f"create cluster {name}", name, body)


def begin_scale_to_zero(name: str) -> Answer:
    """Allow no node any more: what is idle leaves, what runs a job leaves when the job is over."""
    body = {"properties": {"properties": {"scaleSettings": _scale(0)}}}
    return ml_client.begun(ml_client.client().compute.begin_update, f"scale cluster {name} to 0", name, body)


def begin_delete_cluster(name: str) -> Answer:
    operation = ml_client.client().compute.begin_delete
    return ml_client.begun(operation, f"delete cluster {name}", name, underlying_resource_action="Delete")


def list_clusters() -> tuple[list[OwnedResource], datetime]:
    """Every cluster of the workspace with its tags, and ARM's time of the look.

    As a plain request: azure-ai-ml keeps the answer's headers, and with them ARM's time, to itself.
    """
    found: list[OwnedResource] = []
    now: datetime | None = None
    path = f"{ml_client.workspace().id}/computes"
    for page in pages(path, api_version=ml_client.ML_API, target="list the workspace's clusters"):
        now = now or page.date
        found += [
            OwnedResource(id=each["id"], type=CLUSTER, region=region_of(each), tags=tags_of(each))
            for each in page.body["value"]
            if each.get("properties", {}).get("computeType") == "AmlCompute"
        ]
    assert now is not None  # a list has at least one page
    return found, now


def running_jobs(name: str) -> list[str]:
    """The jobs that the cluster's nodes run right now, each once."""
    workspace = ml_client.workspace()
    with classified(f"list the nodes of cluster {name}"):
        nodes = ml_client.client().compute.list_nodes(workspace.group, workspace.name, name)
        return list(dict.fromkeys(node["runId"] for node in nodes if node.get("runId")))


def cluster_body(lease: Lease, settings: Settings) -> dict[str, Any]:
    """The whole cluster as one PUT: no node at rest, at most the lease's, no login from outside.

    Its own brake is in it: a node without a job is given back after IDLE, and without jobs there is no node.
    """
    return {
        "location": lease.offer.region,
        "tags": lease.tags(settings.app),
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {settings.vm_identity_id: {}}},
        "properties": {
            "computeType": "AmlCompute",
            "computeLocation": lease.offer.region,
            "disableLocalAuth": True,
            "properties": {
                "osType": "Linux",
                "vmSize": lease.offer.size,
                # "LowPriority" nodes are Spot since low priority was retired (2026-03-31); the word stayed.
                "vmPriority": "LowPriority" if lease.offer.priority is Priority.SPOT else "Dedicated",
                "remoteLoginPortPublicAccess": "Disabled",
                "scaleSettings": _scale(lease.nodes),
            },
        },
    }


def cluster_of(cluster: Mapping[str, Any], lease: Lease, poll_after_s: float) -> Machine:
    """The state of a lease's cluster. READY means that it takes jobs, not that it has nodes: those come with jobs.

    DEALLOCATED means released: no node is left and none may come. READY is not said before the scale settings are read
    back as asked for: they are the brake.
    """
    outer, inner = _properties(cluster)
    provisioning = str(outer.get("provisioningState", ""))
    scale = inner.get("scaleSettings") or {}

    def machine(state: MachineState, code: str = "", message: str = "") -> Machine:
        return Machine(state=state, code=code, message=message, poll_after_s=poll_after_s)

    if provisioning == "Deleting":
        return machine(MachineState.DELETING)
    if provisioning in ("Failed", "Canceled"):
        code, message = failure_of(cluster)
        return machine(MachineState.FAILED, code or provisioning, message)
    if scale.get("maxNodeCount") == 0:
        return machine(MachineState.DEALLOCATING if node_count(cluster) else MachineState.DEALLOCATED)
    if provisioning != "Succeeded":
        return machine(MachineState.CREATING)
    if not is_braked(scale, lease):
        return machine(MachineState.STARTING, message="its scale settings are not those it was made with")
    return machine(MachineState.READY)


def node_count(cluster: Mapping[str, Any]) -> int:
    """Nodes that bill: all but those already taken away."""
    _, inner = _properties(cluster)
    counts = inner.get("nodeStateCounts") or {}
    counted = sum(int(n or 0) for state, n in counts.items() if state != "preemptedNodeCount")
    return max(counted, int(inner.get("currentNodeCount") or 0) - int(counts.get("preemptedNodeCount") or 0))


def failure_of(cluster: Mapping[str, Any]) -> tuple[str, str]:
    """Azure's code and text of what keeps the cluster, or its next node, from being; empty where nothing does."""
    outer, inner = _properties(cluster)
    for told in (*(outer.get("provisioningErrors") or ()), *(inner.get("errors") or ())):
        error = told.get("error") or {}
        if error:
            return str(error.get("code", "")), str(error.get("message", ""))
    return "", ""


def is_braked(scale: Mapping[str, Any], lease: Lease) -> bool:
    """Whether scale settings as read back keep no node at rest and give back an idle one after IDLE."""
    return (
        scale.get("minNodeCount") == 0
        and scale.get("maxNodeCount") == lease.nodes
        and duration_of(str(scale.get("nodeIdleTimeBeforeScaleDown", ""))) == IDLE
    )


def duration_of(text: str) -> timedelta | None:
    """duration_of("PT2M") == duration_of("PT120S"): the service writes the same time in its own way."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    return timedelta(**{unit: float(amount) for unit, amount in found.groupdict().items() if amount})


def region_of(cluster: Mapping[str, Any]) -> str:
    """A cluster's `location` may be its workspace's; `computeLocation` is where its nodes are."""
    outer, _ = _properties(cluster)
    return str(outer.get("computeLocation") or cluster.get("location") or "")


def _scale(nodes: int) -> dict[str, Any]:
    return {
        "minNodeCount": 0,
        "maxNodeCount": nodes,
        "nodeIdleTimeBeforeScaleDown": f"PT{int(IDLE.total_seconds())}S",
    }


def _properties(cluster: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    outer = cluster.get("properties") or {}
    return outer, outer.get("properties") or {}
