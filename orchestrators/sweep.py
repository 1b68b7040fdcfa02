"""A lane of trials as one Azure ML sweep job: submitted once, followed until it and its children are over."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrators.jobs import FIRST_LOOK_S, LAST_LOOK_S, NODE_DEADLINE
from shared.domain.errors import AppError, Cancelled, CapacityError, JobFailed, LeaseLost
from shared.domain.jobs import JobQuery
from shared.domain.lease import Lease
from shared.domain.retrain import TrialsRequest
from shared.domain.sweep import SweepClosing, SweepLook, SweepQuery, SweepRequest, SweepSpec, SweepStep
from shared.domain.training_terms import longest, training_ends
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import Flow, Steps

LOOKS = 80  # at a sweep that takes its whole time, about: one history follows it, however many its children
USED_UP = "the time or the budget for training is used up"
END_LOOKS = 10  # at a sweep that was asked to end
OWN_LIMIT = timedelta(minutes=5)  # Azure's limit comes this long after ours: it is the brake, not the plan


def train_by_sweep(
    flow: Flow, trail: AuditTrail, trials: TrialsRequest, lease: Lease, began: datetime
) -> Steps[str]:
    """Submit the lane's trials as one sweep and wait until it is over. Gives why trials were left out.

    Whatever ends this, ends the sweep before its cluster is released: it would submit further children. Raises
    JobFailed for a sweep that began no trial, LeaseLost, CapacityError when no node comes, Cancelled.
    """
    each = longest(trials.request.workload, trials.plan)
    ends = training_ends(began, trials, lease) + each
    if flow.now >= ends - each:
        return USED_UP
    within_s = int((ends - flow.now + OWN_LIMIT).total_seconds())
    flow.status("submitting", waiting_for="the sweep to be written and queued", lease=lease.id)
    request = SweepRequest(trials=trials, lease=lease, within_s=within_s)
    sweep = (yield from flow.call(contracts.WRITE_SWEEP, request)).sweep
    if sweep is None:
        return ""
    try:
        yield from flow.call(contracts.SUBMIT_SWEEP, SweepStep(lease=lease, sweep=sweep))
        yield from trail.write(
            "sweep submitted", sweep.id, why=f"{sweep.trials} open trials", before="absent"
        )
        look, stopped = yield from _follow(flow, lease, sweep, ends)
    except AppError:
        yield from _ask_to_end(flow, lease, sweep)
        raise
    return (yield from _close(flow, trail, trials, lease, sweep, look, stopped))


def _follow(flow: Flow, lease: Lease, sweep: SweepSpec, ends: datetime) -> Steps[tuple[SweepLook, str]]:
    """Look until the sweep is over, or was asked to end; then the last look, and why it was ended."""
    query = SweepQuery(lease=lease, sweep=sweep.id)
    began, idle_since = flow.now, flow.now
    longest_s = max(LAST_LOOK_S, (ends - began).total_seconds() / LOOKS)
    look, stopped, left = SweepLook(state="queued"), "", END_LOOKS
    while left:
        paced = min(
            max(FIRST_LOOK_S, 0.1 * (flow.now - began).total_seconds()),
            longest_s if look.running and not stopped else LAST_LOOK_S,
        )
        delay = max(paced, look.poll_after_s)
        flow.status("training", waiting_for=_told(sweep, look), next_look_s=delay)
        yield from flow.rest(delay)
        seen = yield from flow.call(contracts.OBSERVE_SWEEP, query)
        if seen.cancel_requested:
            raise Cancelled("cancelled by request")
        if seen.machine_lost:
            raise LeaseLost(f"{lease.offer} was lost while sweep {sweep.id} ran: {seen.message}")
        if seen.running or seen.done > look.done or look.running:
            idle_since = flow.now
        look, left = seen, left - bool(stopped)
        if look.is_over:
            break
        if flow.now >= ends:
            stopped = USED_UP
            yield from _ask_to_end(flow, lease, sweep)
        else:
            _check_patience(flow.now, idle_since, lease, look)
    return look, stopped


def _check_patience(now: datetime, idle_since: datetime, lease: Lease, look: SweepLook) -> None:
    if now - idle_since >= NODE_DEADLINE:
        raise CapacityError(
            f"{lease.offer}: no node came in {NODE_DEADLINE} for {look.children} trials: "
            f"{look.message or 'no reason told'}",
            code="NoNode",
        )


def _told(sweep: SweepSpec, look: SweepLook) -> str:
    """What a person is told of it."""
    parts = [f"{look.done} of {sweep.trials} trials done", f"{look.running} at work"]
    parts += [f"{look.stopped} stopped"] if look.stopped else []
    parts += [f"{look.failed} failed"] if look.failed else []
    parts += [f"best so far {look.best}"] if look.best else []
    parts += [look.message[:200]] if look.message else []
    return f"sweep {sweep.id} is {look.state}: {', '.join(parts)}"


def _close(
    flow: Flow,
    trail: AuditTrail,
    trials: TrialsRequest,
    lease: Lease,
    sweep: SweepSpec,
    look: SweepLook,
    stopped: str,
) -> Steps[str]:
    """Have every child on record that ended without a word. Gives why trials were left out, "" if none was."""
    if look.is_over and not look.succeeded and not stopped and not look.children:
        raise JobFailed(
            f"sweep {sweep.id} {look.state} before its first trial: {look.message or 'no reason told'}"
        )
    stops = trials.request.workload.trials.early_termination is not None
    closing = SweepClosing(run=trials.request.run, lease=lease, sweep=sweep, stops_early=stops)
    yield from flow.call(contracts.CLOSE_SWEEP, closing)
    after = f"{look.done} done, {look.stopped} stopped, {look.failed} failed"
    yield from trail.write("sweep over", sweep.id, why=look.message or look.state, after=after)
    if look.succeeded:
        return ""
    return stopped or f"sweep {sweep.id} {look.state}: {look.message or 'no reason told'}"


def _ask_to_end(flow: Flow, lease: Lease, sweep: SweepSpec) -> Steps[None]:
    """A refusal is noted, not raised: without its cluster a sweep ends, and its own limit is the brake."""
    try:
        yield from flow.call(contracts.CANCEL_JOB, JobQuery(lease=lease, job=sweep.id))
    except AppError as error:
        flow.note("cancel refused, the release ends it", lease=lease.id, job=sweep.id, error=str(error))
