"""The batches of a run as jobs on one leased cluster, all at once, a node for each.

A cluster that is ready has no node yet: those come with the jobs, and may be taken away from under them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.errors import Cancelled, CapacityError, JobFailed, LeaseLost
from shared.domain.jobs import JobQuery, JobSeen, JobsQuery, JobsReport, JobState, JobStep
from shared.domain.lease import Lease
from shared.domain.scoring import BatchRequest, WriteJobRequest
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import Flow, Steps

# Nodes come in one to five minutes, and fetch an image in a few more. With nobody at work for so long, none will come.
NODE_DEADLINE = timedelta(minutes=20)
MAX_ATTEMPTS = (
    3  # jobs for one batch on one cluster: the next loses the whole cluster, and with it perhaps the priority
)
FIRST_LOOK_S = 10.0
LAST_LOOK_S = 120.0


@dataclass
class _Work:
    """One batch under way: its newest job and what was last seen of it."""

    batch: BatchRequest
    job: str
    attempt: int = 1
    seen: str = ""


def run_jobs(flow: Flow, trail: AuditTrail, batch: BatchRequest, lease: Lease) -> Steps[None]:
    """Queue a job for every batch with open shards and wait until all are over; one that fails hides no other.

    A job whose node was taken away is followed by another that scores what is still open. Raises JobFailed, LeaseLost,
    CapacityError when no node comes, Cancelled.
    """
    deadline = flow.now + batch.request.workload.limits.deadline
    under_way: dict[str, _Work] = {}
    for each in batch.alone:
        yield from _submit(flow, trail, lease, under_way, each, attempt=1)
    try:
        yield from _await_all(flow, trail, lease, under_way, deadline)
    except Cancelled:
        for job in under_way:
            yield from flow.call(contracts.CANCEL_JOB, JobQuery(lease=lease, job=job))
        raise


def _submit(
    flow: Flow,
    trail: AuditTrail,
    lease: Lease,
    under_way: dict[str, _Work],
    batch: BatchRequest,
    *,
    attempt: int,
) -> Steps[None]:
    """Queue the batch's open shards; nothing to do where none is open."""
    limit_s = int(batch.request.workload.limits.deadline.total_seconds())
    written = yield from flow.call(
        contracts.WRITE_JOB,
        WriteJobRequest(
            batch=batch, epoch=lease.epoch, workers=lease.offer.vcpus, timeout_s=limit_s, attempt=attempt
        ),
    )
    if written.job is None:
        return
    flow.status("submitting", waiting_for=f"job {written.job.id} to be queued")
    yield from flow.call(contracts.SUBMIT_JOB, JobStep(lease=lease, job=written.job))
    yield from trail.write(
        "job submitted", written.job.id, why=f"{written.open_shards} open shards", before="absent"
    )
    under_way[written.job.id] = _Work(batch, written.job.id, attempt)


def _await_all(
    flow: Flow, trail: AuditTrail, lease: Lease, under_way: dict[str, _Work], deadline: datetime
) -> Steps[None]:
    """One glance at all the jobs at a time, so that the history grows no faster than with one."""
    began = worked = flow.now
    poll_after_s, failures = 0.0, list[str]()
    while under_way:
        paced = min(max(FIRST_LOOK_S, 0.05 * (flow.now - began).total_seconds()), LAST_LOOK_S)
        delay = max(paced, poll_after_s)
        flow.status("scoring", waiting_for=f"{len(under_way)} jobs on {lease.offer}", next_look_s=delay)
        yield from flow.rest(delay)
        report = yield from flow.call(contracts.OBSERVE_JOBS, _query(lease, under_way.values()))
        if report.cancel_requested:
            raise Cancelled("cancelled by request")
        for glance in report.jobs:
            under_way[glance.id].seen = glance.seen
            if glance.is_over:
                work = under_way.pop(glance.id)
                yield from _conclude(flow, trail, lease, under_way, work, failures)
        poll_after_s = report.poll_after_s
        worked = flow.now if _is_anybody_at_work(report) else worked
        _check_patience(flow.now, worked, deadline, lease, under_way, report)
    if failures:
        more = f" ({len(failures)} jobs failed)" if len(failures) > 1 else ""
        raise JobFailed(failures[0] + more)


def _conclude(
    flow: Flow,
    trail: AuditTrail,
    lease: Lease,
    under_way: dict[str, _Work],
    work: _Work,
    failures: list[str],
) -> Steps[None]:
    """How a job ended: done, failed, or without its node, and then another follows it."""
    report = yield from flow.call(contracts.OBSERVE_JOB, JobQuery(lease=lease, job=work.job, seen=work.seen))
    if not report.look.state.is_over and not report.look.machine_lost:  # queued again between the two looks
        under_way[work.job] = work
        return
    if report.look.machine_lost:
        raise LeaseLost(f"{lease.offer} was lost while job {work.job} ran: {report.look.message}")
    if report.look.preempted:
        flow.note("node taken away, submitting again", lease=lease.id, job=work.job)
        if work.attempt >= MAX_ATTEMPTS:
            raise LeaseLost(f"{lease.offer}: job {work.job} was the {work.attempt}. to lose its node")
        yield from _submit(flow, trail, lease, under_way, work.batch, attempt=work.attempt + 1)
        return
    try:
        report.check_done(work.job)
    except JobFailed as error:
        failures.append(error.message)


def _query(lease: Lease, under_way: Iterable[_Work]) -> JobsQuery:
    return JobsQuery(lease=lease, jobs=tuple(JobSeen(id=work.job, seen=work.seen) for work in under_way))


def _is_anybody_at_work(report: JobsReport) -> bool:
    return any(glance.is_over or glance.state is JobState.RUNNING for glance in report.jobs)


def _check_patience(
    now: datetime,
    worked: datetime,
    deadline: datetime,
    lease: Lease,
    under_way: dict[str, _Work],
    report: JobsReport,
) -> None:
    """Raises CapacityError when no node comes, JobFailed at limits.deadline."""
    if not under_way:
        return
    if now >= deadline:
        raise JobFailed(
            f"jobs {', '.join(under_way)} were not over after limits.deadline; their cluster is released"
        )
    if now - worked >= NODE_DEADLINE:
        raise CapacityError(
            f"{lease.offer}: no node came in {NODE_DEADLINE} for {len(under_way)} jobs: {report.why or 'no reason told'}",
            code="NoNode",
        )
