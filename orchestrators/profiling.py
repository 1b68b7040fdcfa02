"""Profiling: the model is tried at each declared size, one after the other and without traffic, before green is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrators.deploying import Deploying, charge_of, rest
from orchestrators.green import await_ready, delete, stop_billing
from shared.domain.deploy import DeployRequest, ProbeKind, ProbeReport, ProbeRequest
from shared.domain.deploy_plan import PlanRequest, PricedPlan
from shared.domain.deployment import DEFAULT_INSTANCE_TYPE, LoadTest
from shared.domain.errors import (
    AppError,
    Cancelled,
    CapacityError,
    ConflictError,
    JobFailed,
    RolloutAborted,
)
from shared.domain.names import profile_deployment_name
from shared.domain.profile import Candidate, Profile
from shared.domain.profiling import (
    MAX_REASON,
    Level,
    ProfileRecord,
    Tried,
    recommend,
)
from shared.domain.serving import FENCED, DeploymentState, TargetQuery
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import Flow, Steps

REMOVED_WITHIN = timedelta(minutes=10)  # of the profile's deadline; then a candidate is anybody's to delete
FOLDER = "profile"  # of the run's records


@dataclass
class Trial:
    """One candidate under way. `begun`: since when its deployment may be there and cost."""

    candidate: Candidate
    name: str
    request: DeployRequest
    until: datetime
    priced: PricedPlan | None = None
    begun: datetime | None = None
    levels: list[Level] = field(default_factory=list)
    usd: float = 0.0

    def told(self, profile: Profile, reason: str) -> Tried:
        resources = self.request.workload.resources
        usd = profile.usd_of(self.candidate, resources.instance_type or DEFAULT_INSTANCE_TYPE)
        if usd is None and self.priced is not None and self.request.platform != "aks":
            usd = self.priced.offer.usd_per_hour
        return Tried(
            candidate=str(self.candidate), deployment=self.name, resources=resources, usd_per_hour=usd,
            levels=tuple(self.levels), reason=reason[:MAX_REASON], usd=self.usd,
        )  # fmt: skip


def profile_sizes(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[None]:
    """Measure every candidate and put the table on record. Nothing happens where no profile is declared.

    With `use: recommended` the run goes on with the recommended size, or raises JobFailed where none passed.
    """
    request = run.request
    profile = request.workload.profile
    if profile is None:
        return
    until = min(flow.now + profile.deadline, run.deadline)
    tried: list[Tried] = []
    for number, candidate in enumerate(profile.instance_types, start=1):
        sized = request.model_copy(update={"workload": request.workload.sized(candidate)})
        trial = Trial(candidate, profile_deployment_name(request.run, number), sized, until)
        tried.append((yield from _try(flow, trail, run, profile, trial)))
    found = recommend(tried)
    record = ProfileRecord(run=request.run, use=profile.use, tried=tuple(tried), recommendation=found)
    yield from flow.call(contracts.RECORD_PROFILE, record)
    run.lines += [line[:200] for line in record.lines]
    yield from trail.write("sizes profiled", request.endpoint, why=found.reason[:400], after=found.chosen)
    if profile.use == "report":
        return
    if not found.chosen:
        raise JobFailed(f"profile: {found.reason}")
    chosen = next(number for number, each in enumerate(tried) if each.deployment == found.chosen)
    workload = request.workload.sized(profile.instance_types[chosen])
    run.request = request.model_copy(update={"workload": workload})


def _try(flow: Flow, trail: AuditTrail, run: Deploying, profile: Profile, trial: Trial) -> Steps[Tried]:
    """Measure one candidate and delete it, whatever came of it. Raises only what ends the run."""
    reason = ""
    try:
        yield from _measure(flow, trail, run, profile, trial)
    except Exception as error:
        if isinstance(error, ConflictError) and error.code == FENCED:
            raise  # another has the endpoint: what is left there is upkeep's
        if _ends_the_run(flow, run, error):
            yield from _remove(flow, trail, run, trial)
            raise
        reason = error.message if isinstance(error, AppError) else str(error)
        flow.note("candidate not measured", candidate=trial.name, error=reason)
    yield from _remove(flow, trail, run, trial)
    return trial.told(profile, reason)


def _ends_the_run(flow: Flow, run: Deploying, error: Exception) -> bool:
    """A candidate that is not to be had or does not start is a row. A stop, the run's deadline and a bug are its end."""
    if not isinstance(error, AppError) or isinstance(error, Cancelled | RolloutAborted):
        return True
    return flow.now >= run.deadline


def _measure(flow: Flow, trail: AuditTrail, run: Deploying, profile: Profile, trial: Trial) -> Steps[None]:
    assert run.model is not None
    _check_time(flow, trial, "it was tried")
    workload = trial.request.workload
    look = yield from flow.call(
        contracts.CHECK_TARGET, TargetQuery(target=workload.target, resources=workload.resources)
    )
    if not look.ready:
        raise CapacityError(look.reason)
    trial.priced = yield from flow.call(
        contracts.PLAN_DEPLOYMENT,
        PlanRequest(
            request=trial.request, model=run.model, asset=run.asset, epoch=run.epoch, name=trial.name,
            deadline=min(trial.until + REMOVED_WITHIN, run.deadline),
        ),
    )  # fmt: skip
    yield from _create(flow, trail, run, trial, trial.priced)
    report = yield from _probed(flow, run, trial, ProbeKind.CONTRACT, 1, trial.request)
    if not report.ok:
        raise JobFailed(f"the contract test failed: {report.reason}")
    for concurrency in profile.load.concurrency:
        _check_time(flow, trial, f"{concurrency} at once was measured")
        report = yield from _load(flow, run, profile, trial, concurrency)
        trial.levels.append(Level.of(concurrency, report))
        if not report.ok:
            return  # more at once would only be worse


def _check_time(flow: Flow, trial: Trial, what: str) -> None:
    if flow.now >= trial.until:
        raise CapacityError(f"profile.deadline passed before {what}")


def _create(flow: Flow, trail: AuditTrail, run: Deploying, trial: Trial, priced: PricedPlan) -> Steps[None]:
    """Create the candidate's deployment and wait until it is ready. Raises CapacityError, JobFailed if it never is."""
    plan, limits = priced.plan, trial.request.workload.limits
    worst = run.spent + priced.worst_usd(flow.now)
    if limits.budget_usd is not None and worst > limits.budget_usd:
        raise CapacityError(
            f"budget: with what was spent it may cost ${worst:.2f}, limits.budgetUsd is ${limits.budget_usd:.2f}"
        )
    trial.begun = flow.now
    ready_by = min(flow.now + trial.request.workload.rollout.stage_deadline, trial.until)
    operation = yield from flow.call(contracts.BEGIN_DEPLOYMENT, plan)
    run.not_before = flow.now + timedelta(seconds=operation.poll_after_s)
    yield from trail.write(
        "candidate created", f"{plan.endpoint}/{plan.name}", why=f"at most ${worst:.2f}", before="absent",
        after=str(trial.candidate),
    )  # fmt: skip
    look = yield from await_ready(
        flow, run, priced, trial.begun, operation.poll_after_s, ready_by, "profiling"
    )
    if look.state is not DeploymentState.READY:
        failed = look.state is DeploymentState.FAILED
        raise JobFailed(f"{look.code}: {look.message}" if failed else f"not ready by {ready_by.isoformat()}")


def _load(flow: Flow, run: Deploying, profile: Profile, trial: Trial, concurrency: int) -> Steps[ProbeReport]:
    declared, workload = profile.load, trial.request.workload
    load = LoadTest(
        requests=declared.requests, concurrency=concurrency, p95=declared.p95,
        max_error_rate=declared.max_error_rate,
    )  # fmt: skip
    tests = workload.tests.model_copy(update={"load": load})
    loaded = trial.request.model_copy(update={"workload": workload.model_copy(update={"tests": tests})})
    return (yield from _probed(flow, run, trial, ProbeKind.LOAD, concurrency, loaded))


def _probed(
    flow: Flow, run: Deploying, trial: Trial, kind: ProbeKind, attempt: int, request: DeployRequest
) -> Steps[ProbeReport]:
    """The report of one test of the candidate, by its name. `attempt` tells tests of one kind apart."""
    assert run.model is not None
    told = f"{kind} test of {trial.candidate}" + (f", {attempt} at once" if kind is ProbeKind.LOAD else "")
    probe = ProbeRequest(
        kind=kind, request=request, deployment=trial.name, model=run.model, attempt=attempt, folder=FOLDER
    )
    while True:
        flow.status("profiling", waiting_for=told, percent=10, rows=run.rows)
        yield from rest(flow, run, 0)
        report = yield from flow.call(contracts.RUN_PROBE, probe)
        if not report.more:
            return report


def _remove(flow: Flow, trail: AuditTrail, run: Deploying, trial: Trial) -> Steps[None]:
    """Delete the candidate's deployment and look until it is gone. What resists is upkeep's, and on record."""
    if trial.begun is None or trial.priced is None:
        return
    yield from delete(
        flow, trail, run, trial.name, owner=run.request.run, why="it was a candidate of a profile"
    )
    charged = charge_of(trial.priced, trial.begun, flow.now)
    run.profiled.append(charged)
    trial.usd = charged.usd
    stop_billing(flow, run.spent)
