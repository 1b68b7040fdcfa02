"""Drift: freeze a reference and a target, measure on one machine how far they are apart, report it as an event."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from orchestrators.jobs import LAST_LOOK_S, Piece, Terms, run_jobs
from orchestrators.machines import affordable_offers, check_headroom, lease_of, on_machines, reasons_of
from orchestrators.runs import conclude
from shared.domain.cost import Charge, RunCost
from shared.domain.drift import (
    Comparison,
    DriftJobRequest,
    DriftOutcome,
    DriftReport,
    DriftRequest,
    DriftState,
    Measurement,
    MeasureOutcome,
    MeasureRequest,
    is_breach,
    told,
)
from shared.domain.errors import AppError, Cancelled, from_failure, to_failure
from shared.domain.jobs import WrittenJob
from shared.domain.lease import Lease
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

LOOKS = 100  # at a job that takes its whole time, about: each is some events of the history


def _failed(outcome: DriftOutcome) -> str | None:
    return outcome.reason if outcome.state is DriftState.FAILED else None


@dataclass
class _Run:
    """What a run has learnt and spent so far, so that its outcome tells it however the run ends."""

    request: DriftRequest
    started: datetime
    comparison: Comparison | None = None
    offers: tuple[str, ...] = ()
    charges: list[Charge] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    measurement: Measurement | None = None
    event: str = ""

    def outcome(self, state: DriftState, reason: str) -> DriftOutcome:
        request, monitor, measured = self.request, self.request.workload, self.measurement
        return DriftOutcome(
            run=request.run,
            workload=monitor.name,
            slot=request.slot,
            state=state,
            reason=reason,
            metric=monitor.metric,
            threshold=monitor.threshold,
            breached=is_breach(monitor, measured) if measured else None,
            measurement=measured,
            event=self.event,
            comparison=self.comparison,
            usd=RunCost.of(request.run, tuple(self.charges)).usd,
            charges=tuple(self.charges),
            offers=self.offers,
            teardown="Degraded" if self.remains else "Clean",
            remains=tuple(self.remains),
            started=self.started,
        )


@orchestrator(contracts.MEASURE_DRIFT, fails=_failed)
def measure_drift(flow: Flow, request: DriftRequest) -> Steps[DriftOutcome]:
    """Measure a monitor's drift once.

    1. Freeze reference and target. One of them is empty: buy nothing.
    2. Choose an offer that has room and fits the budget, or fail at no cost.
    3. Measure on one machine, which is released before anything is reported.
    4. Report the worst feature as an event, breach or not: who listens decides.
    5. Record the outcome and the cost, whatever happened.
    """
    trail = AuditTrail(flow, who=request.started_by)
    run = _Run(request, started=flow.now)
    yield from trail.write("run started", request.run, why=request.reason)
    try:
        outcome = yield from _measure(flow, trail, run)
    except AppError as error:
        state = DriftState.CANCELLED if isinstance(error, Cancelled) else DriftState.FAILED
        outcome = run.outcome(state, f"{type(error).__name__}: {error}")
    return (yield from conclude(flow, trail, outcome, contracts.RECORD_DRIFT))


def _measure(flow: Flow, trail: AuditTrail, run: _Run) -> Steps[DriftOutcome]:
    request, monitor = run.request, run.request.workload
    flow.status("freezing data", waiting_for="the lists of reference and target")
    comparison = run.comparison = yield from flow.call(contracts.FREEZE_COMPARISON, request)
    if comparison.missing:
        return run.outcome(
            DriftState.NOTHING_TO_COMPARE, f"no blobs in {comparison.missing}; nothing was bought"
        )

    report = yield from check_headroom(flow, monitor.compute, machines=1)
    run.offers = reasons_of(report)
    offers = affordable_offers(report, monitor.limits, machines=1)
    yield from _on_machine(flow, run, MeasureRequest(request=request, comparison=comparison, offers=offers))

    measured = run.measurement = yield from flow.call(contracts.READ_MEASUREMENT, request)
    reported = yield from flow.call(
        contracts.REPORT_DRIFT, DriftReport(request=request, measurement=measured, at=flow.now)
    )
    run.event = reported.key
    after = "breach" if is_breach(monitor, measured) else "no breach"
    yield from trail.write("drift reported", reported.key, why=told(monitor, measured), after=after)
    return run.outcome(DriftState.COMPLETED, told(monitor, measured))


def _on_machine(flow: Flow, run: _Run, request: MeasureRequest) -> Steps[None]:
    """Have it measured, and account for it also when that failed. Raises what it failed with."""
    sides = request.comparison
    flow.status("measuring", waiting_for=f"{sides.target_blobs} blobs against {sides.reference_blobs}")
    (outcome,) = yield from flow.gather(contracts.MEASURE_FEATURES, [request], lambda each: each.instance_id)
    if outcome.error:
        raise outcome.error
    assert outcome.value is not None
    run.charges += outcome.value.charges
    run.remains += outcome.value.remains
    if outcome.value.failure:
        raise from_failure(outcome.value.failure)


@orchestrator(contracts.MEASURE_FEATURES)
def measure_features(flow: Flow, measure: MeasureRequest) -> Steps[MeasureOutcome]:
    """Measure on one machine, on another if it cannot be had or is lost. The first result that is left stays."""
    trail = AuditTrail(flow, who=measure.request.started_by)
    monitor = measure.request.workload
    tried = yield from on_machines(
        flow,
        trail,
        measure.offers,
        lambda offer, epoch: lease_of(
            flow, measure.request.run, "drift", monitor.compute, monitor.limits, offer=offer, epoch=epoch
        ),
        lambda lease: _run_job(flow, trail, measure, lease),
    )
    return MeasureOutcome(
        charges=tuple(tried.charges),
        remains=tuple(tried.remains),
        failure=to_failure(tried.error) if tried.error else None,
    )


def _run_job(flow: Flow, trail: AuditTrail, measure: MeasureRequest, lease: Lease) -> Steps[str]:
    def write(attempt: int) -> Steps[WrittenJob]:
        request = DriftJobRequest(measure=measure, epoch=lease.epoch, attempt=attempt)
        return (yield from flow.call(contracts.WRITE_DRIFT_JOB, request))

    limit = measure.request.workload.limits.deadline
    terms = Terms(
        deadline=flow.now + limit,
        phase="measuring",
        last_look_s=max(LAST_LOOK_S, limit.total_seconds() / LOOKS),
    )
    return (yield from run_jobs(flow, trail, lease, [Piece(write, unit="measurements")], terms))
