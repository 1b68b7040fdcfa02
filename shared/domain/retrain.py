"""A retraining run as values: what is asked, what was frozen, what each lane of trials did, how it ended."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from shared.domain.cost import Charge
from shared.domain.errors import Failure
from shared.domain.gate import GateRow, Verdict
from shared.domain.jobs import BlobRef
from shared.domain.lease import Lease
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.retraining import Retraining
from shared.domain.units import UnitsSummary
from shared.domain.wire import Wire


class RetrainRequest(Wire):
    """Retrain `workload`'s model once. `cause` is the key of the event that asked, `evidence` all that spoke for it."""

    run: str
    slot: str
    workload: Retraining
    started_by: str
    reason: str = ""
    cause: str = ""
    evidence: tuple[str, ...] = ()


class FrozenData(Wire):
    """What trains and what judges, fixed by (blob, etag, size) in `manifest`. `new_blobs`: unknown to the champion.

    `asset`: the ARM id of the manifest as a data asset of Azure ML; else `note` says why it is none.
    """

    manifest: BlobRef
    asset: str = Field(default="", exclude_if=lambda asset: not asset)
    note: str = Field(default="", exclude_if=lambda note: not note)
    train_blobs: int = 0
    test_blobs: int = 0
    new_blobs: int = 0
    columns: tuple[str, ...] = ()  # "name: type" of the frozen data, the same in every blob


class TrialPlan(Wire):
    """The trials of a run, as stored in `trials`: never in a history. `jobs`: each trains `per_job` of them."""

    trials: BlobRef
    count: int
    per_job: int = 1
    unit_column: str = Field(
        default="", exclude_if=lambda column: not column
    )  # its units will be judged, too

    @property
    def jobs(self) -> int:
        return -(-self.count // self.per_job)


class PlanRequest(Wire):
    request: RetrainRequest
    data: FrozenData


class TrialsRequest(Wire):
    """Jobs [start, stop) of a plan, on machines of their own: one lease of `nodes` nodes, `window` jobs at once."""

    request: RetrainRequest
    data: FrozenData
    plan: TrialPlan
    offers: tuple[Offer, ...]
    lane: int
    start: int
    stop: int
    nodes: int = 1
    window: int = 1

    @property
    def instance_id(self) -> str:
        return f"{self.request.run}.t{self.lane:02d}"


class ChunkRequest(Wire):
    """Some of a lane's jobs, on the lease that the lane holds. `until` is when no further trial may be submitted."""

    trials: TrialsRequest
    lease: Lease
    start: int
    stop: int
    until: datetime

    @property
    def instance_id(self) -> str:
        return f"{self.trials.instance_id}-e{self.lease.epoch}-{self.start:05d}"


class ChunkOutcome(Wire):
    """`lost`: why the lane's machine can do no more. `stopped`: why no more trials were submitted."""

    submitted: int = 0
    lost: Failure | None = None
    stopped: str = ""


class TrialsOutcome(Wire):
    """How a lane ended. What its trials came to is in their records, not here."""

    lane: int
    charges: tuple[Charge, ...] = ()
    remains: tuple[str, ...] = ()
    stopped: str = ""
    failure: Failure | None = None


class TrainJobRequest(Wire):
    """Write job `index` of a plan for its `attempt` on a lease. No job when its trials all have records."""

    trials: TrialsRequest
    index: int
    attempt: int
    epoch: int


class TrialResult(Wire):
    """One trial's record. `usd` is its share of its machine's price, for as long as it took."""

    trial: str
    valid: bool
    reason: str = ""
    metric: float | None = None
    parameters: dict[str, bool | int | float | str] = {}
    seconds: float = 0.0
    usd: float = 0.0


class ResultsQuery(Wire):
    request: RetrainRequest
    plan: TrialPlan
    usd_per_hour: float = 0.0


class TrialResults(Wire):
    """All records of a run's trials, counted; the best and a bounded list of them, the whole in `table`."""

    valid: int = 0
    failed: int = 0
    missing: int = 0
    best: TrialResult | None = None
    shown: tuple[TrialResult, ...] = ()
    table: BlobRef | None = None
    models: tuple[str, ...] = ()  # units, in unit mode: bounded


class EvaluateRequest(Wire):
    """Judge the challenger, and the champion if there is one, on the frozen test set: one lease, one job."""

    request: RetrainRequest
    data: FrozenData
    challenger: str
    champion: ModelRef | None
    offers: tuple[Offer, ...]

    @property
    def instance_id(self) -> str:
        return f"{self.request.run}.eval"


class EvaluationJobRequest(Wire):
    evaluate: EvaluateRequest
    epoch: int
    attempt: int = 1


class EvaluateOutcome(Wire):
    """`stopped`: why not every unit was judged."""

    charges: tuple[Charge, ...] = ()
    remains: tuple[str, ...] = ()
    failure: Failure | None = None
    stopped: str = Field(default="", exclude_if=lambda stopped: not stopped)


class JudgeRequest(Wire):
    """Read the evaluation of a run and judge it by the declared gate."""

    request: RetrainRequest
    champion: ModelRef | None = None


class Registration(Wire):
    """The challenger of a run becomes a version of its model. `results` go into its lineage."""

    request: RetrainRequest
    data: FrozenData
    trial: TrialResult
    champion: ModelRef | None
    verdict: Verdict


class Registered(Wire):
    """`note`: what was not done, and why, such as the workspace's registry where there is no workspace."""

    model: ModelRef
    promoted: bool = False
    deployment: str = ""
    note: str = ""


class RetrainState(StrEnum):
    COMPLETED = "Completed"  # a challenger was promoted
    TRAINED = "Trained"  # a model for each unit, and nothing promoted
    REJECTED = "Rejected"
    INCONCLUSIVE = "Inconclusive"
    DEFERRED = "Deferred"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class RetrainOutcome(Wire):
    """How a run ended, for the record and for the user. `teardown` is Degraded while something could not be removed."""

    run: str
    workload: str
    slot: str
    state: RetrainState
    reason: str = ""
    verdict: str = ""
    data: str = Field(
        default="", exclude_if=lambda data: not data
    )  # as an asset of Azure ML, or why it is none
    champion: str = ""  # before the run
    challenger: str = ""
    registered: str = ""
    deployment: str = ""
    table: tuple[GateRow, ...] = ()
    trials: tuple[TrialResult, ...] = ()
    trials_valid: int = 0
    trials_failed: int = 0
    cause: str = ""
    evidence: tuple[str, ...] = ()
    usd: float = 0.0
    charges: tuple[Charge, ...] = ()
    offers: tuple[str, ...] = ()
    teardown: str = "Clean"
    remains: tuple[str, ...] = ()
    units: UnitsSummary | None = Field(default=None, exclude_if=lambda units: units is None)
    audit_head: str = ""
    started: datetime | None = None
    ended: datetime | None = None
