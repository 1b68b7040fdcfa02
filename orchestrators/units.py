"""One model per unit, after the training: judge every unit on one lease, then register the winners as one version.

However many units there are, what crosses the durable boundary are counts, references and a few rows; jobs are followed
twenty in a history, and models are copied some hundreds in an activity.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrators.jobs import Piece, Terms, run_jobs
from orchestrators.machines import on_machines
from orchestrators.training import training_lease
from shared.domain.errors import AppError, JobFailed, from_failure, to_failure
from shared.domain.jobs import WrittenJob
from shared.domain.lease import Lease
from shared.domain.retrain import ChunkOutcome, EvaluateOutcome, Registered
from shared.domain.training_terms import judging_time
from shared.domain.unit_steps import (
    PER_COPY,
    PER_HISTORY,
    CopyUnitsRequest,
    EvaluateUnitsRequest,
    UnitChunkRequest,
    UnitEvaluationJobRequest,
    UnitsRegistration,
)
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

LAST_JOB = timedelta(minutes=30)  # what a job that began in time may take beyond the time for judging


@orchestrator(contracts.EVALUATE_UNITS)
def evaluate_units(flow: Flow, evaluate: EvaluateUnitsRequest) -> Steps[EvaluateOutcome]:
    """Judge on one machine or cluster, on another if it cannot be had or is lost. What was judged stays judged."""
    trail = AuditTrail(flow, who=evaluate.request.started_by)
    stopped: list[str] = []
    until = flow.now + judging_time(evaluate.request.workload)
    tried = yield from on_machines(
        flow,
        trail,
        evaluate.offers,
        lambda offer, epoch: training_lease(
            flow, evaluate.request, "evaluate", 0, offer, epoch, evaluate.nodes
        ),
        lambda lease: _evaluate_chunks(flow, evaluate, lease, until, stopped),
    )
    return EvaluateOutcome(
        charges=tuple(tried.charges),
        remains=tuple(tried.remains),
        failure=tried.failure,
        stopped="; ".join(stopped[:3]),
    )


def _evaluate_chunks(
    flow: Flow, evaluate: EvaluateUnitsRequest, lease: Lease, until: datetime, stopped: list[str]
) -> Steps[None]:
    """One chunk after the other, each in a child of its own. Raises what ended the machine."""
    for start in range(0, evaluate.jobs, PER_HISTORY):
        stop = min(start + PER_HISTORY, evaluate.jobs)
        chunk = UnitChunkRequest(evaluate=evaluate, lease=lease, start=start, stop=stop, until=until)
        flow.status(
            "evaluating", waiting_for=f"jobs {start} to {stop} of {evaluate.jobs}, each of many units", lease=lease.id
        )  # fmt: skip
        (outcome,) = yield from flow.gather(
            contracts.EVALUATE_UNIT_CHUNK, [chunk], lambda each: each.instance_id
        )
        if outcome.error:
            raise outcome.error
        assert outcome.value is not None
        if outcome.value.lost:
            raise from_failure(outcome.value.lost)
        stopped += [outcome.value.stopped] if outcome.value.stopped else []


@orchestrator(contracts.EVALUATE_UNIT_CHUNK)
def evaluate_unit_chunk(flow: Flow, chunk: UnitChunkRequest) -> Steps[ChunkOutcome]:
    """Judge some jobs' units on the lease. A job that fails hides no other: its units keep the models they have."""
    trail = AuditTrail(flow, who=chunk.evaluate.request.started_by)

    def piece(index: int) -> Piece:
        def write(attempt: int) -> Steps[WrittenJob]:
            request = UnitEvaluationJobRequest(
                evaluate=chunk.evaluate, index=index, epoch=chunk.lease.epoch, attempt=attempt
            )
            return (yield from flow.call(contracts.WRITE_UNIT_EVALUATION_JOB, request))

        return Piece(write, unit="units")

    def may_begin() -> str:
        return "the time for judging is used up" if flow.now >= chunk.until else ""

    terms = Terms(
        deadline=max(chunk.until, flow.now) + LAST_JOB,
        phase="evaluating",
        window=chunk.evaluate.window,
        may_begin=may_begin,
    )
    pieces = [piece(index) for index in range(chunk.start, chunk.stop)]
    try:
        return ChunkOutcome(stopped=(yield from run_jobs(flow, trail, chunk.lease, pieces, terms)))
    except JobFailed as error:
        return ChunkOutcome(stopped=error.message)
    except AppError as error:
        return ChunkOutcome(lost=to_failure(error))


def register_units(flow: Flow, registration: UnitsRegistration) -> Steps[Registered]:
    """Claim the version, put every unit's model in its place, then let the version be, and be champion.

    A version without its card is none: whoever looks in between sees what was champion before.
    """
    assert registration.judged.next is not None
    total = registration.judged.summary.held
    flow.status("registering", waiting_for=f"a version that holds the models of {total} units")
    claimed = yield from flow.call(contracts.CLAIM_UNITS_VERSION, registration)
    for start in range(0, total, PER_COPY):
        stop = min(start + PER_COPY, total)
        flow.status("registering", waiting_for=f"models {start} to {stop} of {total} to be copied")
        yield from flow.call(
            contracts.COPY_UNITS,
            CopyUnitsRequest(
                request=registration.request, version=claimed.version, next=registration.judged.next,
                start=start, stop=stop,
            ),
        )  # fmt: skip
    ready = registration.model_copy(update={"version": claimed.version})
    return (yield from flow.call(contracts.REGISTER_UNITS, ready))
