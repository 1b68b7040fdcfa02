"""Cores that managed online deployments hold, out of the quota of Azure Machine Learning.

Source: learn.microsoft.com machine-learning/how-to-manage-quotas#virtual-machine-quota-allocation-for-deployment ("20 %
of compute resources are reserved for upgrades: ceil(1.2 * instances) * cores"); text: public error logs.
"""

from __future__ import annotations

import math

from localdev.azuresim.errors import ArmError
from localdev.azuresim.ml import cluster_quota, writes
from localdev.azuresim.ml.cluster import size_of
from localdev.azuresim.ml.cluster_quota import cores_of_deployment
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World


def check(world: World, location: str, size: str, instances: int, found: Resource | None) -> None:
    """Raises the refusal of instances for which no cores are left; `found`: the deployment they take the place of."""
    one = size_of(size)
    assert one is not None
    held = cores_of_deployment(found)[1] if found else 0
    needed = math.ceil(1.2 * instances) * one.vcpus
    for name in (one.family, cluster_quota.DEDICATED):
        left = cluster_quota.left(world, location, name) + held
        if needed > left:
            raise ArmError(
                400,
                "OutOfQuota",
                f"Not enough subscription CPU quota. The amount of CPU quota requested is {needed} and your maximum "
                f"amount of quota is {max(0, left)}. {writes.guide('OutOfQuota')}",
            )
