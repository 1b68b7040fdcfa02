"""What a run is about to create, fixed and priced, before anything is created."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from shared.domain.cost import worst_case_usd
from shared.domain.deploy import DeployRequest
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.serving import DeploymentPlan
from shared.domain.wire import Wire


class PlanRequest(Wire):
    """`asset`: the model's id in Azure ML, where it is there. `deadline`: of the run. `name`: green's unless said."""

    request: DeployRequest
    model: ModelRef
    asset: str = ""
    epoch: int
    deadline: datetime
    name: str = Field(default="", exclude_if=lambda name: not name)


class PricedPlan(Wire):
    """`offer`: what each instance costs; nothing on a cluster of the user's own."""

    plan: DeploymentPlan
    offer: Offer

    def worst_usd(self, at: datetime) -> float:
        """What the deployment may cost from `at` to the run's deadline."""
        left_s = max(0.0, (self.plan.deadline - at).total_seconds())
        return worst_case_usd(self.offer, machines=self.plan.resources.instances, ttl_s=left_s)
