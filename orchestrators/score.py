"""Batch scoring: freeze the inputs, muster machines, score every shard once, publish with proof, dismiss the machines."""

from __future__ import annotations

from datetime import datetime

from orchestrators.jobs import FIRST_LOOK_S, LAST_LOOK_S, Piece, Terms, run_jobs
from orchestrators.machines import affordable_offers, check_headroom, lease_of, on_machines, reasons_of
from orchestrators.runs import conclude
from shared.domain.cost import Charge, RunCost
from shared.domain.errors import (
    AppError,
    Cancelled,
    JobFailed,
    LeaseLost,
    from_failure,
    to_failure,
)
from shared.domain.jobs import JobQuery, JobRequest, JobStep
from shared.domain.lease import Lease
from shared.domain.offers import Offer
from shared.domain.registry import ModelQuery, ModelRef
from shared.domain.scoring import (
    BatchOutcome,
    BatchRequest,
    DiscardRequest,
    FreezeRequest,
    FrozenInputs,
    PublishRequest,
    Receipt,
    RunOutcome,
    RunState,
    ScoreRequest,
    WriteJobRequest,
)
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Outcome, Steps


def _failed(outcome: RunOutcome) -> str | None:
    return outcome.reason if outcome.state is RunState.FAILED else None


@orchestrator(contracts.SCORE_BATCH, fails=_failed)
def score_batch(flow: Flow, request: ScoreRequest) -> Steps[RunOutcome]:
    """Score a workload once.

    1. Fix the model's version and freeze the inputs. Nothing new: buy nothing.
    2. Choose an offer that has room and fits the budget, or fail at no cost.
    3. Score the batches, a machine for each; every machine is released before its batch reports.
    4. Publish if the scores cover the inputs; otherwise take back what was written.
    5. Record the outcome and the cost, whatever happened.
    """
    trail = AuditTrail(flow, who=request.started_by)
    account = Account(started=flow.now)
    yield from trail.write("run started", request.run, why=request.reason)
    try:
        outcome = yield from _score(flow, trail, request, account)
    except AppError as error:
        state = RunState.CANCELLED if isinstance(error, Cancelled) else RunState.FAILED
        flow.status("discarding", waiting_for="uncommitted parts to be deleted")
        yield from flow.call(
            contracts.DISCARD_SCORES, DiscardRequest(request=request, output_path=request.output_path)
        )
        outcome = account.outcome(request, state, reason=f"{type(error).__name__}: {error}")
    return (yield from conclude(flow, trail, outcome, contracts.RECORD_OUTCOME))


class Account:
    """What a run has learnt and spent so far, so that its outcome tells it however the run ends."""

    def __init__(self, started: datetime) -> None:
        self.started = started
        self.model: ModelRef | None = None
        self.inputs: FrozenInputs | None = None
        self.offers: tuple[str, ...] = ()
        self.charges: tuple[Charge, ...] = ()
        self.remains: tuple[str, ...] = ()

    def outcome(
        self, request: ScoreRequest, state: RunState, *, reason: str = "", receipt: Receipt | None = None
    ) -> RunOutcome:
        return RunOutcome(
            run=request.run,
            workload=request.workload.name,
            slot=request.slot,
            state=state,
            reason=reason,
            model=str(self.model or ""),
            listed=self.inputs.items if self.inputs else 0,
            receipt=receipt,
            usd=RunCost.of(request.run, self.charges).usd,
            charges=self.charges,
            offers=self.offers,
            teardown="Degraded" if self.remains else "Clean",
            remains=self.remains,
            started=self.started,
        )


def _score(flow: Flow, trail: AuditTrail, request: ScoreRequest, account: Account) -> Steps[RunOutcome]:
    workload = request.workload
    flow.status(
        "freezing inputs", waiting_for=f"the list of {workload.input.container}/{workload.input.prefix}"
    )
    model = account.model = yield from flow.call(
        contracts.READ_MODEL, ModelQuery(name=workload.model.name, version=workload.model.version)
    )
    inputs = account.inputs = yield from flow.call(
        contracts.FREEZE_INPUTS, FreezeRequest(request=request, model=model)
    )
    if inputs.items == 0:
        return account.outcome(request, RunState.NOTHING_NEW, reason="no new inputs; nothing was bought")

    report = yield from check_headroom(flow, workload.compute, machines=len(inputs.batches))
    account.offers = reasons_of(report)
    offers = affordable_offers(report, workload.limits, machines=len(inputs.batches))
    flow.status("scoring", waiting_for=f"{inputs.shards} shards on {len(inputs.batches)} machines")
    batches = [
        BatchRequest(request=request, model=model, inputs=inputs.manifest, index=batch.index,
                     offers=offers, output_path=request.output_path, shares_machine=report.shares_machine)
        for batch in inputs.batches
    ]  # fmt: skip
    if report.shares_machine:  # one lease for all of them, a node for each
        batches = [batches[0].model_copy(update={"further": tuple(b.index for b in batches[1:])})]
    outcomes = yield from flow.gather(contracts.SCORE_SHARDS, batches, lambda batch: batch.instance_id)
    account.charges = tuple(c for o in outcomes if o.value for c in o.value.charges)
    account.remains = tuple(r for o in outcomes if o.value for r in o.value.remains)
    _raise_first_failure(outcomes)

    flow.status("publishing", waiting_for="scores to be checked against the frozen inputs")
    receipt = yield from flow.call(
        contracts.PUBLISH_SCORES,
        PublishRequest(request=request, model=model, inputs=inputs, output_path=request.output_path),
    )
    yield from trail.write(
        "scores published", receipt.success.blob, before="absent", after=receipt.manifest.sha256
    )
    state = RunState.COMPLETED_WITH_QUARANTINE if receipt.quarantined else RunState.COMPLETED
    return account.outcome(request, state, receipt=receipt)


@orchestrator(contracts.SCORE_SHARDS)
def score_shards(flow: Flow, batch: BatchRequest) -> Steps[BatchOutcome]:
    """Score a batch of shards on one machine, or all batches on one cluster; on another if it cannot be had or is lost.

    Shards that are committed stay committed: a later epoch scores only the open ones. Gives the error as part of the
    outcome, so that what was spent is told also when the work failed.
    """
    trail = AuditTrail(flow, who=batch.request.started_by)
    work = _run_jobs if batch.shares_machine else _run_job
    tried = yield from on_machines(
        flow,
        trail,
        batch.offers,
        lambda offer, epoch: _lease(flow, batch, offer, epoch),
        lambda lease: work(flow, trail, batch, lease),
    )
    return BatchOutcome(
        index=batch.index,
        charges=tuple(tried.charges),
        setbacks=tuple(f"{'refused' if s.refused else 'lost'}: {s.offer}" for s in tried.setbacks),
        remains=tuple(tried.remains),
        audit_head=trail.head,
        failure=to_failure(tried.error) if tried.error else None,
    )


def _lease(flow: Flow, batch: BatchRequest, offer: Offer, epoch: int) -> Lease:
    workload, nodes = batch.request.workload, 1 + len(batch.further)
    return lease_of(
        flow, batch.request.run, "score", workload.compute, workload.limits,
        offer=offer, epoch=epoch, ordinal=batch.index, nodes=nodes,
    )  # fmt: skip


def _run_jobs(flow: Flow, trail: AuditTrail, batch: BatchRequest, lease: Lease) -> Steps[None]:
    """Queue every batch's open shards as a job on the cluster's nodes. Raises what run_jobs raises."""
    limit = batch.request.workload.limits.deadline

    def piece(each: BatchRequest) -> Piece:
        return Piece(
            lambda attempt: flow.call(
                contracts.WRITE_JOB,
                WriteJobRequest(
                    batch=each,
                    epoch=lease.epoch,
                    workers=lease.offer.vcpus,
                    timeout_s=int(limit.total_seconds()),
                    attempt=attempt,
                ),
            )
        )

    pieces = [piece(each) for each in batch.alone]
    yield from run_jobs(flow, trail, lease, pieces, Terms(deadline=flow.now + limit))


def _run_job(flow: Flow, trail: AuditTrail, batch: BatchRequest, lease: Lease) -> Steps[None]:
    """Hand the open shards to the machine and wait for their end. Raises JobFailed, LeaseLost, Cancelled."""
    limit = batch.request.workload.limits.deadline
    written = yield from flow.call(
        contracts.WRITE_JOB,
        WriteJobRequest(
            batch=batch, epoch=lease.epoch, workers=lease.offer.vcpus, timeout_s=int(limit.total_seconds())
        ),
    )
    if written.job is None:
        return
    operation = yield from flow.call(contracts.SUBMIT_JOB, JobStep(lease=lease, job=written.job))
    yield from trail.write(
        "job submitted", written.job.id, why=f"{written.open_shards} open shards", before="absent"
    )
    try:
        yield from _await_job(flow, lease, written.job, operation.poll_after_s, deadline=flow.now + limit)
    except Cancelled:
        yield from flow.call(contracts.CANCEL_JOB, JobQuery(lease=lease, job=written.job.id))
        raise


def _await_job(
    flow: Flow, lease: Lease, job: JobRequest, poll_after_s: float, *, deadline: datetime
) -> Steps[None]:
    """Look at the job until it is over: seldom enough for the history, often enough not to pay for an idle machine."""
    began, seen = flow.now, ""
    while True:
        paced = min(max(FIRST_LOOK_S, 0.05 * (flow.now - began).total_seconds()), LAST_LOOK_S)
        delay = max(paced, poll_after_s)
        flow.status("scoring", waiting_for=f"job {job.id} on {lease.offer.size}", next_look_s=delay)
        yield from flow.rest(delay)
        report = yield from flow.call(contracts.OBSERVE_JOB, JobQuery(lease=lease, job=job.id, seen=seen))
        if report.cancel_requested:
            raise Cancelled("cancelled by request")
        if report.look.machine_lost:
            raise LeaseLost(f"{lease.offer} was lost while job {job.id} ran: {report.look.message}")
        if report.look.state.is_over:
            return report.check_done(job.id)
        if flow.now >= deadline:
            raise JobFailed(f"job {job.id} was not over after limits.deadline; its machine is released")
        seen, poll_after_s = report.progress.updated, report.look.poll_after_s


def _raise_first_failure(outcomes: list[Outcome[BatchOutcome]]) -> None:
    """Raises the first batch's failure, naming how many failed. The others' work is kept by their commit records."""
    errors = [o.error for o in outcomes if o.error]
    errors += [from_failure(o.value.failure) for o in outcomes if o.value and o.value.failure]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise JobFailed(f"{len(errors)} of {len(outcomes)} batches failed; the first: {errors[0]}")
