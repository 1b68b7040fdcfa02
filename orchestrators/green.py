"""What happens before green has traffic: a target that takes it, the deployment itself, its tests; and its removal."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrators.deploying import Deploying, next_look_s, rest, sit_out
from shared.domain.deploy import LineageQuery, ProbeKind, ProbeReport, ProbeRequest
from shared.domain.deploy_plan import PlanRequest, PricedPlan
from shared.domain.errors import (
    AppError,
    CapacityError,
    ConflictError,
    JobFailed,
    SpecError,
    TransientError,
)
from shared.domain.names import serving_lease_id
from shared.domain.remedies import remedy
from shared.domain.serving import (
    DeletionRequest,
    DeploymentLook,
    DeploymentState,
    EndpointLook,
    EndpointPlan,
    EndpointQuery,
    LogQuery,
    TargetQuery,
)
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import Flow, Steps

ENDPOINT_WITHIN = timedelta(minutes=20)
DELETE_WITHIN = timedelta(minutes=20)
AFTER_REFUSAL_S = 20.0
LOG_SHOWN = 800  # characters of a failed deployment's log in the outcome; the rest is kept beside it


def fix_model(flow: Flow, run: Deploying) -> Steps[None]:
    """One version by its digest, registered by one of our runs if that is required. Raises ConflictError if it is not."""
    flow.status("fixing the model", waiting_for=f"{run.request.model.name}:{run.request.model.version}")
    run.model = yield from flow.call(contracts.READ_MODEL, run.request.model)
    query = LineageQuery(model=run.model, required=run.request.workload.require_lineage)
    lineage = yield from flow.call(contracts.CHECK_LINEAGE, query)
    if not lineage.ok:
        raise ConflictError(lineage.reason, code="Lineage", target=str(run.model))
    run.asset = lineage.asset


def await_target(flow: Flow, run: Deploying) -> Steps[None]:
    """Until the target takes deployments: at once, or when its cluster is attached. Raises CapacityError otherwise.

    Where a profile says which size green has, a size that is not to be had is no end: each is asked for in its turn.
    """
    workload, since = run.request.workload, flow.now
    query = TargetQuery(target=workload.target, resources=workload.resources)
    while True:
        look = yield from flow.call(contracts.CHECK_TARGET, query)
        if look.ready or (workload.takes_recommended and not look.attaching):
            return
        if not look.attaching or flow.now >= since + workload.rollout.stage_deadline:
            raise CapacityError(f"{workload.target.platform} takes no deployment: {look.reason}")
        poll_s = next_look_s(flow, since, look.poll_after_s)
        flow.status("attaching", waiting_for=look.reason, next_look_s=poll_s, percent=2)
        yield from rest(flow, run, poll_s)


def take_endpoint(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[EndpointLook]:
    """Make the endpoint, or put our epoch on it, and look at it when it is at rest. Raises AppError if that never is."""
    request, since = run.request, flow.now
    before = yield from look_at(flow, run)
    plan = EndpointPlan(
        target=request.workload.target, run=request.run, epoch=run.epoch, deadline=run.deadline
    )
    operation = yield from flow.call(contracts.BEGIN_ENDPOINT, plan)
    run.not_before = flow.now + timedelta(seconds=operation.poll_after_s)
    yield from trail.write(
        "endpoint taken" if before.exists else "endpoint created", request.endpoint,
        before=f"epoch {before.epoch}" if before.exists else "absent", after=f"epoch {run.epoch}",
    )  # fmt: skip
    poll_s = operation.poll_after_s
    while True:
        flow.status("preparing", waiting_for=f"endpoint {request.endpoint}", next_look_s=poll_s, percent=4)
        yield from rest(flow, run, poll_s)
        look = yield from look_at(flow, run)
        if look.exists and look.state == "Succeeded" and look.epoch == run.epoch:
            run.scoring_uri, run.weights = look.scoring_uri, dict(look.traffic)
            return look
        if flow.now >= since + ENDPOINT_WITHIN or look.state == "Failed":
            raise AppError(
                f"endpoint {request.endpoint} is not ready: {look.state or 'absent'}, epoch {look.epoch}"
            )
        run.not_before = flow.now + timedelta(seconds=look.poll_after_s)
        poll_s = next_look_s(flow, since, look.poll_after_s)


def look_at(flow: Flow, run: Deploying) -> Steps[EndpointLook]:
    query = EndpointQuery(platform=run.request.platform, endpoint=run.request.endpoint)
    return (yield from flow.call(contracts.READ_ENDPOINT, query))


def make_green(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[None]:
    """Create green at 0 % and wait until it is ready.

    Raises CapacityError before anything is bought if the budget does not do, JobFailed with Azure's code and a remedy if
    green fails or is not ready by rollout.stageDeadline.
    """
    request, limits = run.request, run.request.workload.limits
    assert run.model is not None
    run.plan = yield from flow.call(
        contracts.PLAN_DEPLOYMENT,
        PlanRequest(
            request=request, model=run.model, asset=run.asset, epoch=run.epoch, deadline=run.deadline
        ),
    )
    plan, worst = run.plan.plan, run.plan.worst_usd(flow.now) + run.spent
    if limits.budget_usd is not None and worst > limits.budget_usd:
        raise CapacityError(
            f"budget: {plan.resources.instances} of {run.plan.offer} until {run.deadline.isoformat()} cost up to "
            f"${worst:.2f}, limits.budgetUsd is ${limits.budget_usd:.2f}; raise it, or lower limits.deadline"
        )
    run.begun = flow.now
    ready_by = min(flow.now + request.workload.rollout.stage_deadline, run.deadline)
    operation = yield from flow.call(contracts.BEGIN_DEPLOYMENT, plan)
    run.not_before = flow.now + timedelta(seconds=operation.poll_after_s)
    yield from trail.write(
        "deployment created", f"{plan.endpoint}/{plan.name}", why=f"at most ${worst:.2f}", before="absent",
        after=str(plan.model),
    )  # fmt: skip
    look = yield from await_ready(flow, run, run.plan, run.begun, operation.poll_after_s, ready_by)
    if look.state is DeploymentState.READY:
        return
    yield from _fail(flow, run, look, ready_by)


def await_ready(
    flow: Flow,
    run: Deploying,
    priced: PricedPlan,
    since: datetime,
    poll_s: float,
    ready_by: datetime,
    phase: str = "deploying",
) -> Steps[DeploymentLook]:
    """The last look at what was begun at `since`: ready, failed, or what it was at the deadline."""
    plan, absent = priced.plan, 0
    show_billing(flow, priced, since)
    while True:
        waiting = f"{plan.name} of {plan.endpoint} to be ready by {ready_by.isoformat()}"
        flow.status(phase, waiting_for=waiting, next_look_s=poll_s, percent=10, rows=run.rows)
        yield from rest(flow, run, poll_s)
        look = yield from flow.call(contracts.OBSERVE_DEPLOYMENT, plan)
        if look.state in (DeploymentState.READY, DeploymentState.FAILED) or flow.now >= ready_by:
            return look
        absent = absent + 1 if look.state is DeploymentState.ABSENT else 0
        if absent >= 2:  # the creating request was lost, or somebody deleted it
            yield from flow.call(contracts.BEGIN_DEPLOYMENT, plan)
        run.not_before = flow.now + timedelta(seconds=look.poll_after_s)
        poll_s = next_look_s(flow, since, look.poll_after_s)


def show_billing(flow: Flow, priced: PricedPlan, since: datetime) -> None:
    """From now on the status says what the deployment costs; `stop_billing` ends that."""
    plan = priced.plan
    flow.status(
        billing_since=since, usd_per_hour=priced.offer.usd_per_hour * plan.resources.instances,
        lease=serving_lease_id(plan.run), machine=plan.name,
    )  # fmt: skip


def stop_billing(flow: Flow, spent_usd: float) -> None:
    flow.status(billing_since=None, usd_per_hour=0.0, lease="", machine="", spent_usd=spent_usd)


def _fail(flow: Flow, run: Deploying, look: DeploymentLook, ready_by: datetime) -> Steps[None]:
    request = run.request
    flow.status("reading logs", waiting_for=f"the log of {look.name}")
    query = LogQuery(
        platform=request.platform, endpoint=request.endpoint, deployment=look.name, run=request.run
    )
    try:
        log = (yield from flow.call(contracts.READ_SERVING_LOGS, query, tries=2)).text
    except AppError as error:
        log = f"no log: {error}"
    run.remedy = remedy(look.code, look.message)
    was = (
        f"{look.code}: {look.message}" if look.state is DeploymentState.FAILED else f"last seen {look.state}"
    )
    by = "" if look.state is DeploymentState.FAILED else f" was not ready by {ready_by.isoformat()}"
    raise JobFailed(f"{look.name}{by} {was[:800]}; log: {log[-LOG_SHOWN:]}")


def prove_green(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[None]:
    """Contract, golden answers, load. Raises JobFailed with the first that green does not pass."""
    assert run.model is not None
    for number, kind in enumerate(ProbeKind):
        flow.status(
            "testing", waiting_for=f"the {kind} test of {run.request.green}", percent=25 + 3 * number,
            rows=run.rows,
        )  # fmt: skip
        yield from rest(flow, run, 0)
        probe = ProbeRequest(kind=kind, request=run.request, deployment=run.request.green, model=run.model)
        report = yield from flow.call(contracts.RUN_PROBE, probe)
        while report.more:  # a long load test, minute by minute
            yield from rest(flow, run, 0)
            report = yield from flow.call(contracts.RUN_PROBE, probe)
        run.tests.append(report.model_copy(update={"rows": report.rows[:6]}))
        run.lines += _lines(report)
        yield from trail.write("tested", run.request.green, why=_verdict(report), after=str(kind))
        if not report.ok:
            raise JobFailed(f"the {kind} test of {run.request.green} failed: {report.reason}")


def _lines(report: ProbeReport) -> list[str]:
    bad = [f"{row.what}: {row.value}, {row.why or row.rule}" for row in report.rows if not row.ok]
    return [line[:200] for line in (f"{report.kind} test: {_verdict(report)}", *bad[:3])]


def _verdict(report: ProbeReport) -> str:
    if report.skipped:
        return f"skipped: {report.skipped}"
    figures = [f"{report.requests} requests"] if report.requests else []
    figures += [f"p95 {report.p95_ms:.0f} ms"] if report.p95_ms is not None else []
    figures += [f"errors {report.error_rate:.2%}"] if report.error_rate is not None else []
    return f"{'passed' if report.ok else report.reason or 'failed'} ({', '.join(figures)})"[:400]


def retire_others(flow: Flow, trail: AuditTrail, run: Deploying, look: EndpointLook) -> Steps[None]:
    """Delete what stands by on the endpoint: failed greens, and what an earlier deployment held back for a roll back.

    What is not ours stays. Raises nothing: what resists is upkeep's, and in nobody's way.
    """
    for other in look.deployments:
        if other.name != run.request.green and not look.traffic.get(other.name) and other.tags:
            yield from delete(flow, trail, run, other.name, owner="", why="a new deployment begins")


def delete(flow: Flow, trail: AuditTrail, run: Deploying, name: str, *, owner: str, why: str) -> Steps[bool]:
    """Delete a deployment and look until it is gone. False if it is not: what is left is upkeep's.

    Level-triggered: every refusal is answered by looking again. What belongs to others is left alone.
    """
    request, since = run.request, flow.now
    asked = DeletionRequest(
        platform=request.platform, endpoint=request.endpoint, deployment=name, run=owner, reason=why
    )
    refused, told = "", False
    yield from sit_out(flow, run)
    while flow.now < since + DELETE_WITHIN:
        try:
            deletion = yield from flow.call(contracts.BEGIN_DELETION, asked, tries=1)
            if not told or deletion.gone:
                after = "absent" if deletion.gone else "deleting"
                yield from trail.write(
                    "deployment deleted", f"{request.endpoint}/{name}", why=why, after=after
                )
                told = True
            if deletion.gone:
                return True
            poll_s, refused = deletion.poll_after_s, ""
        except TransientError as error:
            poll_s, refused = error.retry_after_s or AFTER_REFUSAL_S, str(error)
        except ConflictError as error:
            if error.code == "NotOurs":
                return False
            poll_s, refused = AFTER_REFUSAL_S, str(error)
        except SpecError:
            return False
        except AppError as error:
            poll_s, refused = AFTER_REFUSAL_S, str(error)
        poll_s = next_look_s(flow, since, poll_s)
        flow.status("removing", waiting_for=refused or f"{name} to be gone", next_look_s=poll_s)
        yield from flow.sleep(poll_s)
    run.remains.append(f"{request.endpoint}/{name}: {refused or 'deleting'}"[:300])
    return False
