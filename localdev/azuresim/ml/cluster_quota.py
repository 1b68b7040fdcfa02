"""Cores that the computes of Azure Machine Learning use and may use, by region: a quota apart from that of machines.

Source: learn.microsoft.com machine-learning/how-to-manage-quotas ("dedicated cores per region" by family and in
total, "low-priority cores per region" across families), machineLearningServices.json examples Usage/list and
VirtualMachineSize/list. Texts of refusals: InnerEye-DeepLearning#253, azure-docs#52413, public error logs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.catalog import Size
from localdev.azuresim.ml.cluster import AML_COMPUTE, COMPUTES, INSTANCE, Cluster, size_of
from localdev.azuresim.ml.common import NAMESPACE, WORKSPACES
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

CLUSTERS, DEDICATED, LOW_PRIORITY = "clusters", "dedicatedCores", "lowPriorityCores"
DEPLOYMENTS = f"{WORKSPACES}/onlineEndpoints/deployments"
_TOTALS = {
    DEDICATED: "Total Cluster Dedicated Regional vCPUs",
    LOW_PRIORITY: "Total Cluster LowPriority Regional vCPUs",
}
_MORE = (
    "Talk to your Subscription Admin or refer to "
    "https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases to increase the "
)


def refusal(world: World, location: str, size: Size, nodes: int, *, low_priority: bool) -> str:
    """Why a cluster of at least `nodes` nodes (one, if it may be empty) can never be; "" if it can.

    Only limits count here, not what is in use: a cluster may wait for cores.
    """
    nodes = max(1, nodes)
    for name in _limits_of(size, low_priority=low_priority):
        limit = _limit(world, location, name)
        if nodes * size.vcpus > limit:
            what = f"{_family(name)} vCPU quota" if name == size.family else "total vCPU quota"
            return (
                f"The specified subscription has a {what} of {limit} and cannot accomodate for at least {nodes} "
                f"requested managed compute node{'s' if nodes > 1 else ''} which maps to {nodes * size.vcpus} vCPUs. "
                f"{_MORE}{'family' if name == size.family else 'total'} quota."
            )
    return ""


def room(world: World, cluster: Cluster) -> int:
    """How many nodes of a cluster still fit."""
    size, location = cluster.size, cluster.resource.location
    left = [
        _limit(world, location, name) - used(world, location, name)
        for name in _limits_of(size, low_priority=cluster.low_priority)
    ]
    return max(0, min(left)) // size.vcpus


def reached(world: World, cluster: Cluster) -> str:
    """The text of a resize that found no cores left."""
    size, location = cluster.size, cluster.resource.location
    names = _limits_of(size, low_priority=cluster.low_priority)
    name = min(names, key=lambda each: _limit(world, location, each) - used(world, location, each))
    label = _TOTALS.get(name) or f"{_family(name)} Cluster Dedicated vCPUs"
    return (
        f"Operation results in exceeding quota limits of {label}. Maximum allowed: {_limit(world, location, name)}, "
        f"Current in use: {used(world, location, name)}, Additional requested: {size.vcpus}."
    )


def used(world: World, location: str, name: str) -> int:
    """Cores (clusters, for CLUSTERS) in use now. A node counts from its allocation until it is gone."""
    total = 0
    for compute in world.store.of_type(COMPUTES):
        if compute.location != location:
            continue
        kind = compute.properties["computeType"]
        total += int(name == CLUSTERS and kind in (AML_COMPUTE, INSTANCE))
        if kind == AML_COMPUTE:
            cluster = Cluster(world, compute)
            allocated = [node for node in cluster.nodes if node["state"] != "preempted"]
            if name in _limits_of(cluster.size, low_priority=cluster.low_priority):
                total += len(allocated) * cluster.size.vcpus
        elif kind == INSTANCE and _holds_cores(compute):
            size = size_of(str(compute.properties["properties"]["vmSize"]))
            total += size.vcpus if size and name in (size.family, DEDICATED) else 0
    for deployment in world.store.of_type(DEPLOYMENTS):
        family, cores = cores_of_deployment(deployment)
        total += cores if deployment.location == location and name in (family, DEDICATED) else 0
    return total


def left(world: World, location: str, name: str) -> int:
    return _limit(world, location, name) - used(world, location, name)


def cores_of_deployment(deployment: Resource) -> tuple[str, int]:
    """Family and cores that a managed online deployment holds: a fifth more than it uses, for upgrades."""
    size = size_of(str(deployment.state.get("size")))
    if size is None:
        return "", 0
    return size.family, math.ceil(1.2 * deployment.state["instances"]) * size.vcpus


def usages(world: World, subscription: str, location: str) -> Iterator[dict[str, Any]]:
    """Totals first, then the families."""
    scope = f"/subscriptions/{subscription}/usages"
    kinds = {CLUSTERS: "totalCores", DEDICATED: "dedicatedCores", LOW_PRIORITY: "lowPriorityCores"}
    for name, limit in world.ml_quotas[location].items():
        label = _TOTALS.get(name) or f"{_family(name)} Cluster Dedicated vCPUs"
        label = "Clusters" if name == CLUSTERS else label
        kind = kinds.get(name, "vmFamily")
        yield {
            "id": scope if name in kinds else f"{scope}/{label.replace(' ', '_')}",
            "type": f"{NAMESPACE}/{kind}/usages",
            "unit": "Count",
            "currentValue": used(world, location, name),
            "limit": limit,
            "name": {"value": label, "localizedValue": label},
        }


def sizes(location: str) -> Iterator[dict[str, Any]]:
    """What a cluster or an instance may be made of in a region, with its price."""
    for size in catalog.SIZES.values():
        if not catalog.is_sold(size.name, location):
            continue
        low_priority = size.spot_capable and catalog.is_sold(size.name, location, "Spot")
        prices: list[tuple[str, catalog.Priority]] = [("Standard", "Regular")]
        prices += [("LowPriority", "Spot")] if low_priority else []
        yield {
            "name": size.name,
            "family": size.family,
            "vCPUs": size.vcpus,
            "gpus": size.gpus,
            "osVhdSizeMB": 1047552,
            "maxResourceVolumeMB": size.vcpus * 16384,
            "memoryGB": size.memory_gib,
            "lowPriorityCapable": low_priority,
            "premiumIO": True,
            "estimatedVMPrices": {
                "billingCurrency": "USD",
                "unitOfMeasure": "OneHour",
                "values": [
                    {
                        "retailPrice": catalog.price_usd_per_hour(size.name, location, priority),
                        "osType": "Linux",
                        "vmTier": tier,
                    }
                    for tier, priority in prices
                ],
            },
            "supportedComputeTypes": [AML_COMPUTE, INSTANCE],
        }


def _holds_cores(instance: Resource) -> bool:
    """A stopped instance keeps its cores unless it was told otherwise (releaseQuotaOnStop, false by default)."""
    power, settings = instance.state["power"], instance.properties["properties"]
    return power != "CreateFailed" and not (power == "Stopped" and settings.get("releaseQuotaOnStop"))


def _limits_of(size: Size, *, low_priority: bool) -> tuple[str, ...]:
    return (LOW_PRIORITY,) if low_priority else (size.family, DEDICATED)


def _limit(world: World, location: str, name: str) -> int:
    return world.ml_quotas[location].get(name, 0)


def _family(name: str) -> str:
    """_family("standardDSv5Family") -> "Standard DSv5 Family"; other names stand for themselves."""
    match = re.fullmatch(r"standard(\S+)Family", name, re.IGNORECASE)
    return f"Standard {match[1]} Family" if match else name
