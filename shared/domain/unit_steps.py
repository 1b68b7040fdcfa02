"""How a retraining judges and registers a model per unit, as values: bounded however many units there are."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from shared.domain.gate import Verdict
from shared.domain.jobs import BlobRef
from shared.domain.lease import Lease
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.retrain import FrozenData, RetrainRequest, TrialPlan
from shared.domain.units import UnitsSummary
from shared.domain.wire import Wire

PER_JOB = 200  # units judged by one job: their models are loaded one after the other, by two processes
PER_COPY = 500  # models copied by one activity: far below its minute, at a few dozen a second
PER_HISTORY = 20  # jobs followed by one history


class UnitsQuery(Wire):
    """What a run is about to do for each unit. Raises SpecError where its champion cannot be compared unit by unit."""

    request: RetrainRequest
    champion: ModelRef | None = None


class EvaluateUnitsRequest(Wire):
    """Judge every unit's challenger, and the champion's model of that unit, on the unit's rows: one lease."""

    request: RetrainRequest
    data: FrozenData
    plan: TrialPlan
    champion: ModelRef | None
    offers: tuple[Offer, ...]
    nodes: int = 1
    window: int = 1

    @property
    def jobs(self) -> int:
        return -(-self.plan.count // PER_JOB)

    @property
    def instance_id(self) -> str:
        return f"{self.request.run}.eval"


class UnitChunkRequest(Wire):
    """Some of the judging jobs, on the lease that the evaluation holds. None begins from `until` on."""

    evaluate: EvaluateUnitsRequest
    lease: Lease
    start: int
    stop: int
    until: datetime

    @property
    def instance_id(self) -> str:
        return f"{self.evaluate.instance_id}-e{self.lease.epoch}-{self.start:05d}"


class UnitEvaluationJobRequest(Wire):
    """Write judging job `index` for its `attempt` on a lease. No job when it was done, or none of its trials is valid."""

    evaluate: EvaluateUnitsRequest
    index: int
    epoch: int
    attempt: int = 1


class JudgeUnitsRequest(Wire):
    request: RetrainRequest
    plan: TrialPlan
    champion: ModelRef | None = None


class UnitsVerdict(Wire):
    """The gate's word on all units. `next` is what the new version will hold, while there is to be one."""

    verdict: Verdict
    summary: UnitsSummary
    next: BlobRef | None = None


class UnitsRegistration(Wire):
    """The units' winners and what is carried over become a version of the model. `version` once it is claimed."""

    request: RetrainRequest
    data: FrozenData
    champion: ModelRef | None
    judged: UnitsVerdict
    version: str = Field(default="", exclude_if=lambda version: not version)


class ClaimedVersion(Wire):
    version: str


class CopyUnitsRequest(Wire):
    """Copy the models [start, stop) of the next version to their places."""

    request: RetrainRequest
    version: str
    next: BlobRef
    start: int
    stop: int
