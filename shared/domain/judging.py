"""Is green good enough in this step? What was seen in, a row a person can read for every rule out."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.domain.deployment import Rollout
from shared.domain.serving import DeploymentState, ServingMetrics
from shared.domain.wire import Wire


class Ruling(StrEnum):
    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


class Command(StrEnum):
    """What a person wants of a rollout."""

    NONE = ""
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    ROLL_BACK = "rollback"


class PredictionDrift(Wire):
    """Blue's against green's collected predictions. `distance`: Kolmogorov-Smirnov's, None if one has no rows.

    `*_unusable` of the rows are no finite number.
    """

    distance: float | None = None
    blue_rows: int = 0
    green_rows: int = 0
    blue_unusable: int = 0
    green_unusable: int = 0


class StepQuery(Wire):
    """Look at a step of a rollout. `since`: when its map was read back; `began`: when the rollout began.

    Metrics are those of the step; blue's predictions are those since the rollout `began`, so that there are some in the
    last step too. `number` is the pause whose decision is looked for, 0 if none is.
    """

    run: str
    platform: str
    endpoint: str
    blue: str = ""
    green: str
    model: str
    version: str
    rollout: Rollout
    since: datetime
    began: datetime
    epoch: int
    number: int = 0


class Observation(Wire):
    """All that one look saw. What was not seen is None, never a zero.

    `weights` were read back. `fenced`: the endpoint shows a higher epoch than ours.
    """

    now: datetime
    weights: dict[str, int] | None = None
    endpoint_exists: bool = True
    green: DeploymentState = DeploymentState.READY
    blue: DeploymentState = DeploymentState.READY
    green_metrics: ServingMetrics | None = None
    blue_metrics: ServingMetrics | None = None
    drift: PredictionDrift | None = None
    command: Command = Command.NONE
    by: str = ""
    fenced: bool = False


class RuleRow(Wire):
    """A line of a verdict: one rule, what was seen for it, its limit, and how that was judged."""

    rule: str
    value: str = ""
    limit: str = ""
    ruling: Ruling = Ruling.PASS
    why: str = ""


class StepVerdict(Wire):
    ruling: Ruling
    reason: str = ""
    rows: tuple[RuleRow, ...] = ()


class StepEvidence(Wire):
    """What a step of a rollout showed, for the record: `deployments/{run}/steps/{number}.json`."""

    run: str
    number: int
    weight: int
    outcome: str  # passed | failed | inconclusive | approved
    by: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    looks: int = 0
    weights: dict[str, int] = {}
    green: ServingMetrics | None = None
    blue: ServingMetrics | None = None
    drift: PredictionDrift | None = None
    verdict: StepVerdict | None = None
