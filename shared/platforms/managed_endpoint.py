"""Models served on machines that Azure ML keeps: a managed online endpoint. Every instance bills while it is there.

ARM requests of a deployment's life as on aks; nothing is attached.
"""

from __future__ import annotations

import math

from shared.azure import ml_endpoints, ml_headroom
from shared.azure.ml_serving import OnlineServer
from shared.domain.errors import SpecError
from shared.domain.price_book import MANAGED_RESERVE, managed_offer
from shared.domain.serving import Resources, Target, TargetLook
from shared.platforms.base import Platform


class ManagedEndpoint(OnlineServer):
    """Server of the `managed_endpoint` platform."""

    def __init__(self) -> None:
        super().__init__(on_clusters=False)

    def check_target(self, target: Target, resources: Resources) -> TargetLook:
        """Whether Azure ML serves on this size and the region's quota has room: two requests, and one for the region."""
        try:
            offer = managed_offer(resources.instance_type or "", ml_endpoints.location())
        except SpecError as error:
            return TargetLook(ready=False, reason=str(error))
        (look,) = ml_headroom.check((offer,), math.ceil(resources.instances * MANAGED_RESERVE))
        return TargetLook(ready=look.available, reason=look.reason)


PLATFORM = Platform(
    name="managed_endpoint",
    summary="an online endpoint on machines that Azure ML keeps, billed for each instance until it is deleted",
    server=ManagedEndpoint(),
)
