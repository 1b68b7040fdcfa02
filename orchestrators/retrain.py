"""Retraining: freeze the data, train challengers, judge the best of them against the champion, let the better one win."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from orchestrators.jobs import Piece, Terms, run_jobs
from orchestrators.machines import affordable_offers, check_headroom, on_machines, reasons_of
from orchestrators.runs import conclude
from orchestrators.training import training_lease
from orchestrators.units import register_units
from shared.domain.cost import Charge, RunCost
from shared.domain.errors import (
    AppError,
    Cancelled,
    NotFoundError,
    SpecError,
    from_failure,
)
from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import WrittenJob
from shared.domain.lease import Lease
from shared.domain.offers import HeadroomReport, Offer
from shared.domain.registry import CHAMPION, ModelQuery, ModelRef
from shared.domain.retrain import (
    EvaluateOutcome,
    EvaluateRequest,
    EvaluationJobRequest,
    FrozenData,
    JudgeRequest,
    PlanRequest,
    Registered,
    Registration,
    ResultsQuery,
    RetrainOutcome,
    RetrainRequest,
    RetrainState,
    TrialPlan,
    TrialResults,
    TrialsOutcome,
    TrialsRequest,
)
from shared.domain.training_terms import (
    BOOT_AND_RELEASE,
    judging_time,
    longest,
)
from shared.domain.unit_steps import (
    EvaluateUnitsRequest,
    JudgeUnitsRequest,
    UnitsQuery,
    UnitsRegistration,
)
from shared.domain.units import UNITS, UnitsSummary
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

_STAYS = {Ruling.REJECTED: RetrainState.REJECTED, Ruling.INCONCLUSIVE: RetrainState.INCONCLUSIVE}


def _failed(outcome: RetrainOutcome) -> str | None:
    return outcome.reason if outcome.state is RetrainState.FAILED else None


@dataclass
class _Run:
    """What a run has learnt and spent so far, so that its outcome tells it however the run ends."""

    request: RetrainRequest
    started: datetime
    champion: ModelRef | None = None
    data: str = ""
    offers: tuple[str, ...] = ()
    charges: list[Charge] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    results: TrialResults = field(default_factory=TrialResults)
    verdict: Verdict | None = None
    registered: Registered | None = None
    units: UnitsSummary | None = None

    def outcome(self, state: RetrainState, reason: str) -> RetrainOutcome:
        request, best, registered = self.request, self.results.best, self.registered
        return RetrainOutcome(
            run=request.run,
            workload=request.workload.name,
            slot=request.slot,
            state=state,
            reason=reason,
            verdict=self.verdict.ruling if self.verdict else "",
            data=self.data,
            champion=str(self.champion or ""),
            challenger=best.trial if best and not self.units else "",
            registered=str(registered.model) if registered else "",
            deployment=registered.deployment if registered else "",
            table=self.verdict.rows if self.verdict else (),
            trials=self.results.shown,
            trials_valid=self.results.valid,
            trials_failed=self.results.failed + self.results.missing,
            cause=request.cause,
            evidence=request.evidence,
            usd=RunCost.of(request.run, tuple(self.charges)).usd,
            charges=tuple(self.charges),
            offers=self.offers,
            units=self.units,
            teardown="Degraded" if self.remains else "Clean",
            remains=tuple(self.remains),
            started=self.started,
        )


@orchestrator(contracts.RETRAIN, fails=_failed)
def retrain(flow: Flow, request: RetrainRequest) -> Steps[RetrainOutcome]:
    """Retrain a model once.

    1. Fix the champion and freeze the data. Columns that changed, or nothing new: stop before anything is bought.
    2. Choose an offer that has room and fits the budget, or fail at no cost.
    3. Train the trials, in lanes of machines of their own; what they came to is in their records.
    4. Judge the best trial and the champion on the same frozen test set. What cannot be proved leaves the champion.
    5. Register the winner with its lineage, make it champion, ask for its deployment.
    6. Record the outcome and the cost, whatever happened.
    """
    trail = AuditTrail(flow, who=request.started_by)
    run = _Run(request, started=flow.now)
    yield from trail.write("run started", request.run, why=request.reason)
    try:
        outcome = yield from _retrain(flow, trail, run)
    except AppError as error:
        state = RetrainState.CANCELLED if isinstance(error, Cancelled) else RetrainState.FAILED
        outcome = run.outcome(state, f"{type(error).__name__}: {error}")
    return (yield from conclude(flow, trail, outcome, contracts.RECORD_RETRAINING))


def _retrain(flow: Flow, trail: AuditTrail, run: _Run) -> Steps[RetrainOutcome]:
    request = run.request
    workload = request.workload
    flow.status("freezing data", waiting_for=f"the list of {workload.data.container}/{workload.data.prefix}")
    run.champion = yield from _champion(flow, workload.model.name)
    if run.champion and run.champion.flavor == UNITS and workload.trials.unit_column is None:
        raise SpecError(
            f"{run.champion} holds a model for each unit; trials.unitColumn must say of which column"
        )
    data = yield from flow.call(contracts.FREEZE_DATA, request)
    run.data = data.asset or data.note
    if data.new_blobs < workload.data.min_new_blobs:
        return run.outcome(
            RetrainState.DEFERRED,
            f"{data.new_blobs} blobs are new to {run.champion}, data.minNewBlobs is {workload.data.min_new_blobs}; "
            "nothing was bought",
        )
    plan = yield from flow.call(contracts.PLAN_TRIALS, PlanRequest(request=request, data=data))
    if plan.unit_column:
        yield from flow.call(contracts.CHECK_UNITS, UnitsQuery(request=request, champion=run.champion))

    machines = min(workload.compute.instances, workload.trials.concurrency, plan.jobs)
    report = yield from check_headroom(flow, workload.compute, machines=machines)
    run.offers = reasons_of(report)
    needed = longest(workload, plan) + BOOT_AND_RELEASE
    offers = affordable_offers(report, workload.limits, machines=machines, needed=needed)
    stopped = yield from _train(flow, run, data, plan, report, offers, machines)

    run.results = yield from flow.call(
        contracts.READ_RESULTS, ResultsQuery(request=request, plan=plan, usd_per_hour=offers[0].usd_per_hour)
    )
    best = run.results.best
    if best is None or run.results.valid < workload.trials.min_valid:
        few = f"{run.results.valid} of {plan.count} trials are valid, trials.minValid is {workload.trials.min_valid}"
        return run.outcome(
            RetrainState.INCONCLUSIVE, f"{few}{'; ' + stopped if stopped else ''}; the champion stays"
        )

    if plan.unit_column:
        return (yield from _judge_units(flow, trail, run, data, plan, report, offers, machines))
    if workload.trials.unit_column is not None:  # a run that was under way when its units were not judged yet
        kept = f"{run.results.valid} of {plan.count} models, one for each {workload.trials.unit_column}"
        return run.outcome(
            RetrainState.TRAINED,
            f"{kept}, are in the run's records; they are not judged, and the champion stays",
        )
    evaluate = EvaluateRequest(
        request=request, data=data, challenger=best.trial, champion=run.champion, offers=offers
    )
    yield from _evaluate(flow, run, evaluate)
    run.verdict = yield from flow.call(
        contracts.JUDGE_MODELS, JudgeRequest(request=request, champion=run.champion)
    )
    yield from trail.write("judged", best.trial, why=run.verdict.reason, after=run.verdict.ruling)
    if run.verdict.ruling is not Ruling.PROMOTE:
        return run.outcome(_STAYS[run.verdict.ruling], f"{run.verdict.reason}; the champion stays")
    return (yield from _promote(flow, trail, run, data))


def _champion(flow: Flow, model: str) -> Steps[ModelRef | None]:
    """The version that is challenged; None for a model that has none yet."""
    try:
        return (yield from flow.call(contracts.READ_MODEL, ModelQuery(name=model, version=CHAMPION)))
    except NotFoundError as error:
        if error.code != "NoChampion":
            raise
        return None


def _train(
    flow: Flow,
    run: _Run,
    data: FrozenData,
    plan: TrialPlan,
    report: HeadroomReport,
    offers: tuple[Offer, ...],
    machines: int,
) -> Steps[str]:
    """Train the plan's jobs: in one lane on a cluster's nodes, or a lane for each machine.

    Gives why trials were left out. A lane that failed is a reason too, as long as another did its part.
    """
    flow.status("training", waiting_for=f"{plan.count} trials on {machines} machines")
    lanes = 1 if report.shares_machine else machines
    share = -(-plan.jobs // lanes)
    window = run.request.workload.trials.concurrency if report.shares_machine else 1
    requests = [
        TrialsRequest(
            request=run.request, data=data, plan=plan, offers=offers, lane=lane,
            start=lane * share, stop=min((lane + 1) * share, plan.jobs),
            nodes=machines if report.shares_machine else 1, window=window,
        )
        for lane in range(lanes)
        if lane * share < plan.jobs
    ]  # fmt: skip
    outcomes = yield from flow.gather(contracts.TRAIN_TRIALS, requests, lambda lane: lane.instance_id)
    for each in outcomes:
        _account(run, each.value)
    errors = [o.error for o in outcomes if o.error]
    errors += [from_failure(o.value.failure) for o in outcomes if o.value and o.value.failure]
    if cancelled := [error for error in errors if isinstance(error, Cancelled)]:
        raise cancelled[0]
    if len(errors) == len(requests):
        raise errors[0]
    reasons = [o.value.stopped for o in outcomes if o.value and o.value.stopped] + [str(e) for e in errors]
    return "; ".join(reasons[:3])


def _evaluate(flow: Flow, run: _Run, request: EvaluateRequest | EvaluateUnitsRequest) -> Steps[str]:
    """Gives why not all of it was judged, to be added to a reason."""
    roles = "champion and challenger" if request.champion else "the first model"
    flow.status("evaluating", waiting_for=f"{roles} on {request.data.test_blobs} frozen blobs")
    if isinstance(request, EvaluateUnitsRequest):
        (outcome,) = yield from flow.gather(
            contracts.EVALUATE_UNITS, [request], lambda each: each.instance_id
        )
    else:
        (outcome,) = yield from flow.gather(
            contracts.EVALUATE_MODELS, [request], lambda each: each.instance_id
        )
    _account(run, outcome.value)
    if outcome.error:
        raise outcome.error
    if outcome.value and outcome.value.failure:
        raise from_failure(outcome.value.failure)
    return (
        f"; not all were judged: {outcome.value.stopped}" if outcome.value and outcome.value.stopped else ""
    )


def _account(run: _Run, outcome: TrialsOutcome | EvaluateOutcome | None) -> None:
    if outcome is not None:
        run.charges += outcome.charges
        run.remains += outcome.remains


def _judge_units(
    flow: Flow,
    trail: AuditTrail,
    run: _Run,
    data: FrozenData,
    plan: TrialPlan,
    report: HeadroomReport,
    offers: tuple[Offer, ...],
    machines: int,
) -> Steps[RetrainOutcome]:
    """Every unit's challenger against the model that the unit has; then a version of those that won and the others'."""
    evaluate = EvaluateUnitsRequest(
        request=run.request, data=data, plan=plan, champion=run.champion, offers=offers,
        nodes=machines if report.shares_machine else 1,
        window=run.request.workload.trials.concurrency if report.shares_machine else 1,
    )  # fmt: skip
    stopped = yield from _evaluate(flow, run, evaluate)
    judge = JudgeUnitsRequest(request=run.request, plan=plan, champion=run.champion)
    judged = yield from flow.call(contracts.JUDGE_UNITS, judge)
    run.verdict, run.units = judged.verdict, judged.summary
    yield from trail.write("judged", f"{plan.count} units", why=run.verdict.reason, after=run.verdict.ruling)
    if run.verdict.ruling is not Ruling.PROMOTE:
        return run.outcome(_STAYS[run.verdict.ruling], f"{run.verdict.reason}{stopped}; the champion stays")
    registration = UnitsRegistration(request=run.request, data=data, champion=run.champion, judged=judged)
    run.registered = yield from register_units(flow, registration)
    return (yield from _crowned(trail, run, run.registered, f"{run.verdict.reason}{stopped}"))


def _promote(flow: Flow, trail: AuditTrail, run: _Run, data: FrozenData) -> Steps[RetrainOutcome]:
    best, verdict = run.results.best, run.verdict
    assert best is not None and verdict is not None
    flow.status("registering", waiting_for=f"trial {best.trial} to be registered and read back")
    run.registered = yield from flow.call(
        contracts.REGISTER_MODEL,
        Registration(request=run.request, data=data, trial=best, champion=run.champion, verdict=verdict),
    )
    return (yield from _crowned(trail, run, run.registered, verdict.reason))


def _crowned(trail: AuditTrail, run: _Run, registered: Registered, reason: str) -> Steps[RetrainOutcome]:
    """How a run ends that registered a version: it has the title, unless that went elsewhere meanwhile."""
    if not registered.promoted:
        return run.outcome(RetrainState.INCONCLUSIVE, registered.note)
    before, after = str(run.champion or "absent"), str(registered.model)
    yield from trail.write("champion changed", registered.model.name, before=before, after=after)
    note = f"; {registered.note}" if registered.note else ""
    return run.outcome(RetrainState.COMPLETED, f"{reason}{note}")


@orchestrator(contracts.EVALUATE_MODELS)
def evaluate_models(flow: Flow, evaluate: EvaluateRequest) -> Steps[EvaluateOutcome]:
    """Judge on one machine, on another if it cannot be had or is lost. What was found is in the run's evaluation."""
    trail = AuditTrail(flow, who=evaluate.request.started_by)
    tried = yield from on_machines(
        flow,
        trail,
        evaluate.offers,
        lambda offer, epoch: training_lease(flow, evaluate.request, "evaluate", 0, offer, epoch, 1),
        lambda lease: _run_evaluation(flow, trail, evaluate, lease),
    )
    return EvaluateOutcome(charges=tuple(tried.charges), remains=tuple(tried.remains), failure=tried.failure)


def _run_evaluation(flow: Flow, trail: AuditTrail, evaluate: EvaluateRequest, lease: Lease) -> Steps[str]:
    def write(attempt: int) -> Steps[WrittenJob]:
        request = EvaluationJobRequest(evaluate=evaluate, epoch=lease.epoch, attempt=attempt)
        return (yield from flow.call(contracts.WRITE_EVALUATION_JOB, request))

    terms = Terms(deadline=flow.now + judging_time(evaluate.request.workload), phase="evaluating")
    return (yield from run_jobs(flow, trail, lease, [Piece(write, unit="models")], terms))
