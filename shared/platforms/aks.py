"""Models served on the user's own AKS cluster, through Azure ML: a Kubernetes online endpoint on an attached cluster.

The cluster is its owner's, and so is its bill: nothing here makes or stops a node. ARM requests of a deployment's life:
target 1, endpoint 2, deployment 6 (endpoint, deployment, code, environment, PUT), looks 2 each, traffic 3, deletion 3.
"""

from __future__ import annotations

import logging

from shared.azure import ml_attach, ml_clusters
from shared.azure.ml_serving import OnlineServer
from shared.config import settings
from shared.domain.errors import SpecError
from shared.domain.serving import Resources, Target, TargetLook
from shared.platforms.base import Platform

logger = logging.getLogger(__name__)


class Aks(OnlineServer):
    """Server of the `aks` platform."""

    def __init__(self) -> None:
        super().__init__(on_clusters=True)

    def check_target(self, target: Target, resources: Resources) -> TargetLook:
        """One look at the attached cluster. One that is absent is attached if the target says how."""
        if target.compute is None:
            raise SpecError("target.compute is missing: on aks it names the attached cluster")
        seen = ml_clusters.get_cluster(target.compute)
        if not seen.is_missing:
            return ml_attach.target_of(seen.body, resources, target.attach)
        if target.attach is None:
            return TargetLook(
                ready=False,
                reason=f"no cluster is attached as {target.compute!r}: attach it, or say target.attach.clusterId",
            )
        sent = ml_attach.begin_attach(target.compute, target.attach, settings())
        logger.info("attaching begun", extra={"compute": target.compute, "cluster": target.attach.cluster_id})
        return TargetLook(
            ready=False,
            attaching=True,
            reason=f"{target.attach.cluster_id} is being attached as {target.compute!r}",
            poll_after_s=sent.poll_after_s(ml_attach.ATTACH_POLL_S),
        )


PLATFORM = Platform(
    name="aks",
    summary="an online endpoint on your own AKS cluster, attached to the Azure ML workspace",
    server=Aks(),
)
