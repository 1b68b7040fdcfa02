"""A deployment run as values: what is asked, who agreed to what, who holds the endpoint, how it ended."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from shared.domain.conversion import ConversionReport
from shared.domain.cost import Charge
from shared.domain.deployment import Deployment
from shared.domain.jobs import BlobRef
from shared.domain.names import deployment_name
from shared.domain.registry import CHAMPION, ModelQuery, ModelRef
from shared.domain.wire import Wire

FUNCTION_KEY = "function key"  # the requester when all that is known of the caller is that he has the key


class DeployRequest(Wire):
    """Deploy a version of `workload`'s model. `cause` is the key of the event that asked.

    `requested_by`: the principal who asked; FUNCTION_KEY if nobody knows who; empty when the app itself did.
    """

    run: str
    slot: str
    workload: Deployment
    version: str = CHAMPION
    started_by: str
    requested_by: str = ""
    reason: str = ""
    cause: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        return self.workload.target.endpoint

    @property
    def platform(self) -> str:
        return self.workload.target.platform

    @property
    def green(self) -> str:
        """The name of what this run deploys."""
        return deployment_name(self.run)

    @property
    def model(self) -> ModelQuery:
        return ModelQuery(name=self.workload.model.name, version=self.version)


class DeploymentRef(Wire):
    """A deployment of an endpoint, the model it serves (`name:version`) and the run that made it."""

    name: str
    model: str = ""
    sha256: str = ""
    run: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.model}" if self.model else self.name


class KeptDeployment(Wire):
    """A failed green that stays at 0 % for debugging, until its time is over."""

    deployment: DeploymentRef
    until: datetime
    reason: str = ""


class EndpointRecord(Wire):
    """Who may write an endpoint's traffic, and what it was when it last was good. `endpoints/{endpoint}.json`.

    `epoch` rises with every hold: a writer with a lower one is late, and refused. `frozen`: why nobody may go on before
    a person has looked; the holder is kept then.
    """

    endpoint: str
    platform: str = ""
    workload: str = ""
    holder: str | None = None
    epoch: int = 0
    held_for: str = ""  # the run whose rollout the holder takes back; "" if the holder is that run
    taken: datetime | None = None
    deadline: datetime | None = None
    last_good: dict[str, int] = {}
    is_saved: bool = False  # whether last_good is the holder's; nothing is shifted before it is
    live: DeploymentRef | None = None
    previous: DeploymentRef | None = None
    hold_until: datetime | None = None
    kept: tuple[KeptDeployment, ...] = ()
    frozen: str = ""
    commands: tuple[str, ...] = ()  # of a frozen endpoint: what a person may type to set the last good map


class HoldRequest(Wire):
    """Take the endpoint for one run until `deadline`. Asked again by the same run it gives the same epoch."""

    endpoint: str
    platform: str
    workload: str
    run: str
    at: datetime
    deadline: datetime
    resume: bool = False  # a roll back may take over a frozen endpoint, whoever holds it
    from_epoch: int | None = None  # take over from whoever holds it under this epoch, since he is lost


class Hold(Wire):
    """Whether the endpoint is this run's now; if not, `holder` has it. `before`: the record as it was found."""

    granted: bool
    record: EndpointRecord
    holder: str = ""
    reason: str = ""


class LastGood(Wire):
    """The map that is to come back if anything goes wrong, on record before the first shift. Written once an epoch."""

    endpoint: str
    run: str
    epoch: int
    weights: dict[str, int]
    keeps_previous: bool = False  # a roll back goes to what stands by; a rollout retires it


class CommitRequest(Wire):
    """Green is live: `previous` stays without traffic until `hold_until`."""

    endpoint: str
    run: str
    epoch: int
    live: DeploymentRef
    previous: DeploymentRef | None = None
    hold_until: datetime | None = None
    kept: tuple[KeptDeployment, ...] = ()
    at: datetime


class FreeRequest(Wire):
    """Let the endpoint go, or with `frozen` keep it until a person has looked. Of another holder nothing changes."""

    endpoint: str
    run: str
    epoch: int
    at: datetime
    frozen: str = ""
    kept: tuple[KeptDeployment, ...] = ()
    forget_previous: bool = False  # blue is deleted: the record must not offer it for a roll back
    forget_live: bool = False  # the endpoint was deleted underneath: nothing is live


class LineageQuery(Wire):
    """Was this version registered by one of our runs, and is it still the same bytes?"""

    model: ModelRef
    required: bool = True


class Lineage(Wire):
    """`asset`: the version's id in Azure ML, where it is there; `run`: the run that registered it."""

    ok: bool
    reason: str = ""
    asset: str = ""
    run: str = ""
    golden: BlobRef | None = None  # the golden file that came with the version


class ProbeKind(StrEnum):
    CONTRACT = "contract"
    GOLDEN = "golden"
    LOAD = "load"


class ProbeRequest(Wire):
    """Call one deployment by name, before it has traffic, and judge its answers."""

    kind: ProbeKind
    request: DeployRequest
    deployment: str
    model: ModelRef
    attempt: int = 1
    folder: str = Field(
        default="probes", exclude_if=lambda folder: folder == "probes"
    )  # of the run's records


class ProbeRow(Wire):
    """A line of a probe's report: what was asked, what came back, and whether that will do."""

    what: str
    value: str = ""
    rule: str = ""
    ok: bool = True
    why: str = ""


class ProbeReport(Wire):
    """`ok` only if every rule is met; `skipped`: why there was nothing to test. Rows are bounded, failures first.

    `more`: the activity's minute was over before the test was; ask again, and it goes on where it was.
    """

    kind: ProbeKind
    ok: bool
    skipped: str = ""
    reason: str = ""
    rows: tuple[ProbeRow, ...] = ()
    requests: int = 0
    p95_ms: float | None = None
    p50_ms: float | None = Field(default=None, exclude_if=lambda p50: p50 is None)
    p99_ms: float | None = Field(default=None, exclude_if=lambda p99: p99 is None)
    per_s: float | None = Field(default=None, exclude_if=lambda rate: rate is None)  # good answers
    error_rate: float | None = None
    evidence: BlobRef | None = None
    more: bool = False


class ApprovalRequest(Wire):
    """What a person is asked. `number` 0: before green has traffic; from 1: a pause of the rollout.

    `digest` binds all that the person agrees to; an approval of anything else is none.
    """

    run: str
    number: int = 0
    endpoint: str
    platform: str
    deployment: str
    model: str
    model_sha256: str
    environment: str  # digest of the deployment's plan: code, environment, resources
    blue: str = ""
    steps: tuple[int, ...] = ()
    policy_sha256: str = ""
    step: int | None = None  # of a pause: the step that could not be judged
    asked: datetime
    expires: datetime
    requested_by: str = ""
    four_eyes: bool = True
    reason: str = ""
    rows: tuple[str, ...] = ()  # evidence for a person to read: bounded

    @property
    def digest(self) -> str:
        bound = {
            "run", "number", "endpoint", "platform", "deployment", "model", "model_sha256", "environment", "blue",
            "steps", "policy_sha256", "step", "expires",
        }  # fmt: skip
        told = json.dumps(self.model_dump(mode="json", include=bound), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


class Approval(Wire):
    """One person's decision, on record once: the first counts. `by` is a principal, `digest` what was agreed to."""

    decision: Literal["approve", "reject"]
    by: str
    name: str = ""
    at: datetime
    digest: str
    note: str = ""


class ApprovalQuery(Wire):
    run: str
    number: int = 0


class ApprovalLook(Wire):
    """One look at what people want: a decision that stands against its request, or a stop of the whole run."""

    approval: Approval | None = None
    cancel_requested: bool = False
    rollback_requested: bool = False
    by: str = ""  # who asked for the stop
    now: datetime | None = None


def policy_digest(workload: Deployment) -> str:
    """Changes with anything that says how a rollout goes on: a person agreed to these steps and limits, no others."""
    told = workload.model_dump(mode="json", include={"target", "tests", "rollout", "approval"})
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def fault_of(approval: Approval, asked: ApprovalRequest) -> str:
    """Why this decision does not count, or nothing. A rejection counts from anybody who may decide.

    Four eyes: an approval by the requester, or where nobody can tell that it is not, is refused.
    """
    if approval.digest != asked.digest:
        return (
            "it was given for something else: the model, environment, traffic plan or time has changed since"
        )
    if approval.at >= asked.expires:
        return f"it came after {asked.expires.isoformat()}"
    if approval.decision == "reject" or not asked.four_eyes:
        return ""
    if approval.by in ("", FUNCTION_KEY):
        return "four eyes: whoever has the function key may be the requester; sign in to approve"
    if approval.by == asked.requested_by:
        return "four eyes: the requester cannot approve"
    if asked.requested_by == FUNCTION_KEY:
        return "four eyes: it was requested with the function key, so that nobody can tell who asked; ask signed in"
    return ""


class RollBackRequest(Wire):
    """Set the previous deployment back to 100, or unfreeze a rollout that could not restore its map."""

    run: str  # rollback-{deploy run}
    deploy_run: str
    endpoint: str
    platform: str
    started_by: str
    requested_by: str = ""
    reason: str = ""


class DeployState(StrEnum):
    COMPLETED = "Completed"
    ROLLED_BACK = "RolledBack"
    REJECTED = "Rejected"  # by a person, or nobody approved in time
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    FROZEN = "Frozen"  # the last good map could not be confirmed: the endpoint stays held


class DeployOutcome(Wire):
    """How a run ended, for the record and for the user. `weights` were read back; `commands` is what to do if Frozen."""

    run: str
    workload: str
    slot: str = ""
    state: DeployState
    reason: str = ""
    remedy: str = ""
    commands: tuple[str, ...] = ()
    endpoint: str = ""
    platform: str = ""
    scoring_uri: str = ""
    model: str = ""
    model_sha256: str = ""
    live: str = ""  # `name@model:version`
    previous: str = ""
    hold_until: datetime | None = None
    weights: dict[str, int] = {}
    steps: tuple[str, ...] = ()  # one line a step; the whole is in deployments/{run}/steps/
    conversion: ConversionReport | None = Field(default=None, exclude_if=lambda found: found is None)
    tests: tuple[ProbeReport, ...] = ()
    approved_by: str = ""
    cause: str = ""
    evidence: tuple[str, ...] = ()
    usd: float = 0.0
    charges: tuple[Charge, ...] = ()
    teardown: str = "Clean"
    remains: tuple[str, ...] = ()
    audit_head: str = ""
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing can come after it: what failed or froze may be taken up again by a roll back."""
        return self.state not in (DeployState.FAILED, DeployState.FROZEN)
