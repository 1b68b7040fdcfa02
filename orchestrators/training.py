"""Lanes of trials: each holds one lease, and trains chunk after chunk of its jobs on it."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrators.jobs import LAST_LOOK_S, Piece, Terms, run_jobs
from orchestrators.machines import lease_of, on_machines
from orchestrators.sweep import train_by_sweep
from shared.domain.errors import AppError, JobFailed, from_failure, to_failure
from shared.domain.jobs import WrittenJob
from shared.domain.lease import Lease
from shared.domain.offers import Offer
from shared.domain.retrain import (
    ChunkOutcome,
    ChunkRequest,
    RetrainRequest,
    TrainJobRequest,
    TrialsOutcome,
    TrialsRequest,
)
from shared.domain.training_terms import chunk_size, longest, training_ends
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

LOOKS = 100  # at a job that takes its whole time, about
HANG_GRACE = timedelta(
    minutes=10
)  # the agent cuts a trial at its timeout; this long after, the agent hangs itself


@orchestrator(contracts.TRAIN_TRIALS)
def train_trials(flow: Flow, trials: TrialsRequest) -> Steps[TrialsOutcome]:
    """Train a lane's jobs on one machine or cluster, on another if it cannot be had or is lost.

    Trials that have a record stay as they are. Gives the error as part of the outcome, with what was spent.
    """
    trail = AuditTrail(flow, who=trials.request.started_by)
    stopped: list[str] = []
    began = flow.now

    def train(lease: Lease) -> Steps[None]:
        if trials.request.workload.trials.engine == "sweep":
            left_out = yield from train_by_sweep(flow, trail, trials, lease, began)
            stopped.extend([left_out] if left_out else [])
        else:
            yield from _train_chunks(flow, trials, lease, began, stopped)

    tried = yield from on_machines(
        flow,
        trail,
        trials.offers,
        lambda offer, epoch: training_lease(
            flow, trials.request, "train", trials.lane, offer, epoch, trials.nodes
        ),
        train,
    )
    return TrialsOutcome(
        lane=trials.lane,
        charges=tuple(tried.charges),
        remains=tuple(tried.remains),
        stopped=stopped[-1] if stopped else "",
        failure=tried.failure,
    )


def _train_chunks(
    flow: Flow, trials: TrialsRequest, lease: Lease, began: datetime, stopped: list[str]
) -> Steps[None]:
    """One chunk after the other, each in a child of its own. Raises what ended the machine."""
    until, size = training_ends(began, trials, lease), chunk_size(trials)
    for start in range(trials.start, trials.stop, size):
        chunk = ChunkRequest(
            trials=trials, lease=lease, start=start, stop=min(start + size, trials.stop), until=until
        )
        done, total = start - trials.start, trials.stop - trials.start
        flow.status(
            "training", waiting_for=f"jobs {done} to {done + chunk.stop - start} of {total}", lease=lease.id
        )
        (outcome,) = yield from flow.gather(contracts.TRAIN_CHUNK, [chunk], lambda each: each.instance_id)
        if outcome.error:
            raise outcome.error
        assert outcome.value is not None
        if outcome.value.lost:
            raise from_failure(outcome.value.lost)
        if outcome.value.stopped:
            stopped.append(outcome.value.stopped)
        if flow.now >= until:
            break


@orchestrator(contracts.TRAIN_CHUNK)
def train_chunk(flow: Flow, chunk: ChunkRequest) -> Steps[ChunkOutcome]:
    """Train some jobs on the lane's machine, a window of them at once. A trial that fails hides no other.

    What ends the machine or the run comes back as `lost`; the lane releases.
    """
    trials, lease = chunk.trials, chunk.lease
    workload = trials.request.workload
    trail = AuditTrail(flow, who=trials.request.started_by)

    def piece(index: int) -> Piece:
        def write(attempt: int) -> Steps[WrittenJob]:
            request = TrainJobRequest(trials=trials, index=index, attempt=attempt, epoch=lease.epoch)
            return (yield from flow.call(contracts.WRITE_TRAIN_JOB, request))

        return Piece(write, unit="trials")

    def may_begin() -> str:
        return "the time or the budget for training is used up" if flow.now >= chunk.until else ""

    each = longest(workload, trials.plan) + HANG_GRACE
    terms = Terms(
        deadline=max(chunk.until, flow.now) + each,
        phase="training",
        window=trials.window,
        may_begin=may_begin,
        each_within=each,
        last_look_s=max(LAST_LOOK_S, each.total_seconds() / LOOKS),
    )
    pieces = [piece(index) for index in range(chunk.start, chunk.stop)]
    try:
        return ChunkOutcome(stopped=(yield from run_jobs(flow, trail, lease, pieces, terms)))
    except JobFailed as error:  # its trials have no record and count as missing
        return ChunkOutcome(stopped=error.message)
    except AppError as error:
        return ChunkOutcome(lost=to_failure(error))


def training_lease(
    flow: Flow, request: RetrainRequest, role: str, ordinal: int, offer: Offer, epoch: int, nodes: int
) -> Lease:
    """The lease of a run's part in its `role`."""
    compute, limits = request.workload.compute, request.workload.limits
    return lease_of(
        flow, request.run, role, compute, limits, offer=offer, epoch=epoch, ordinal=ordinal, nodes=nodes
    )
