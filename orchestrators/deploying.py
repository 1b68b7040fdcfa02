"""A deployment under way: what it knows and spent, and how it waits without missing that somebody wants it to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrators.rollout import Rolling
from shared.domain.conversion import ConversionReport
from shared.domain.cost import Charge, RunCost, charge
from shared.domain.deploy import (
    ApprovalLook,
    ApprovalQuery,
    DeploymentRef,
    DeployOutcome,
    DeployRequest,
    DeployState,
    KeptDeployment,
    ProbeReport,
)
from shared.domain.deploy_plan import PricedPlan
from shared.domain.errors import AppError, Cancelled, RolloutAborted
from shared.domain.lease import Lease
from shared.domain.names import serving_lease_id
from shared.domain.registry import ModelRef
from shared.durable import contracts
from shared.durable.flow import Flow, Steps

RESTORE_WITHIN = timedelta(minutes=5)  # after the deadline the run restores by itself; then it counts as lost
SLOWEST_LOOK_S = 120.0
MAX_ROWS = 24  # of a status, a record of what a person is asked, an outcome


class Rejected(AppError):
    """A person said no, or nobody said yes in time."""


@dataclass
class Deploying:
    """`begun`: since when green exists and costs. `stopped`: since when it does not any more.

    `request` is as it was asked for, with the size that a profile recommends once it has. `profiled`: what that cost;
    `converting`: what the machine cost that converted the model.

    `not_before`: Azure asked not to be looked at sooner, whoever wakes the run.
    """

    request: DeployRequest
    started: datetime
    epoch: int = 0
    model: ModelRef | None = None
    asset: str = ""
    plan: PricedPlan | None = None
    scoring_uri: str = ""
    last_good: dict[str, int] = field(default_factory=dict)
    blue: DeploymentRef | None = None
    conversion: ConversionReport | None = None
    converting: list[Charge] = field(default_factory=list)
    profiled: list[Charge] = field(default_factory=list)
    begun: datetime | None = None
    stopped: datetime | None = None
    tests: list[ProbeReport] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    approved_by: str = ""
    rolling: Rolling | None = None
    remedy: str = ""
    live: DeploymentRef | None = None
    previous: DeploymentRef | None = None
    hold_until: datetime | None = None
    kept: tuple[KeptDeployment, ...] = ()
    remains: list[str] = field(default_factory=list)
    commands: tuple[str, ...] = ()
    not_before: datetime | None = None

    @property
    def deadline(self) -> datetime:
        return self.started + self.request.workload.limits.deadline

    @property
    def green(self) -> DeploymentRef:
        return DeploymentRef(
            name=self.request.green,
            model=str(self.model or ""),
            sha256=self.model.sha256 if self.model else "",
            run=self.request.run,
        )

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(self.lines[-MAX_ROWS:])

    @property
    def _before_green(self) -> list[Charge]:
        return [*self.converting, *self.profiled]

    @property
    def spent(self) -> float:
        """What was spent before green was made."""
        return sum(each.usd for each in self._before_green)

    def charge(self, now: datetime) -> tuple[Charge, ...]:
        """What machines, candidates and green cost this run, each from the creating request to its end or the run's."""
        if self.plan is None or self.begun is None:
            return tuple(self._before_green)
        return (*self._before_green, charge_of(self.plan, self.begun, self.stopped or now))

    def outcome(self, state: DeployState, reason: str, now: datetime) -> DeployOutcome:
        request, charges = self.request, self.charge(now)
        return DeployOutcome(
            run=request.run,
            workload=request.workload.name,
            slot=request.slot,
            state=state,
            reason=reason[:2000],
            remedy=self.remedy,
            commands=self.commands,
            endpoint=request.endpoint,
            platform=request.platform,
            scoring_uri=self.scoring_uri,
            model=str(self.model or ""),
            model_sha256=self.model.sha256 if self.model else "",
            live=str(self.live or ""),
            previous=str(self.previous or ""),
            hold_until=self.hold_until,
            weights=self.weights,
            steps=self.rows,
            conversion=self.conversion,
            tests=tuple(self.tests),
            approved_by=self.approved_by,
            cause=request.cause,
            evidence=request.evidence,
            usd=RunCost.of(request.run, charges).usd,
            charges=charges,
            teardown="Degraded" if self.remains else "Clean",
            remains=tuple(self.remains),
            started=self.started,
        )


def charge_of(priced: PricedPlan, since: datetime, until: datetime) -> Charge:
    """What a deployment cost while it was there."""
    plan = priced.plan
    lease = Lease(
        id=serving_lease_id(plan.run), owner=plan.run, epoch=plan.epoch, platform=plan.target.platform,
        offer=priced.offer, deadline=plan.deadline, nodes=plan.resources.instances,
    )  # fmt: skip
    return charge(lease, since=since, until=until, gone=until)


def rest(flow: Flow, run: Deploying, seconds: float, *, number: int = 0) -> Steps[ApprovalLook]:
    """Wait for the next look, then ask the records what people want. Raises Cancelled, RolloutAborted, or at the run's
    deadline AppError."""
    yield from flow.nap(seconds)
    look = yield from flow.call(contracts.READ_APPROVAL, ApprovalQuery(run=run.request.run, number=number))
    if look.cancel_requested:
        raise Cancelled("cancelled")
    if look.rollback_requested:
        raise RolloutAborted(f"rolled back by {look.by or 'somebody'} before green had traffic")
    if flow.now >= run.deadline:
        raise AppError(f"limits.deadline passed: the run began at {run.started.isoformat()}")
    yield from sit_out(flow, run)
    return look


def sit_out(flow: Flow, run: Deploying) -> Steps[None]:
    """Wait for what is left of the time that Azure named: word that came before it hurries us, and not Azure."""
    if run.not_before is not None and flow.now < run.not_before:
        yield from flow.sleep((run.not_before - flow.now).total_seconds())


def next_look_s(flow: Flow, since: datetime, poll_after_s: float) -> float:
    """Look less often the longer it lasts: a history holds no thousand looks."""
    return max(poll_after_s, min(SLOWEST_LOOK_S, (flow.now - since).total_seconds() / 10))
