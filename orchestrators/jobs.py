"""Pieces of work as jobs on one leased machine, several at once, each followed until nothing is left of it.

A cluster that is ready has no node yet: those come with the jobs, and may be taken away from under them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.domain.errors import AppError, Cancelled, CapacityError, JobFailed, LeaseLost
from shared.domain.jobs import JobQuery, JobSeen, JobsQuery, JobsReport, JobState, JobStep, WrittenJob
from shared.domain.lease import Lease
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import Flow, Steps

# Nodes come in one to five minutes, and fetch an image in a few more. With nobody at work for so long, none will come.
NODE_DEADLINE = timedelta(minutes=20)
MAX_ATTEMPTS = (
    3  # jobs for one piece on one machine: the next loses the whole machine, and with it perhaps the priority
)
FIRST_LOOK_S = 10.0
LAST_LOOK_S = 120.0


@dataclass(frozen=True)
class Piece:
    """Work that is one job at a time. `write` gives the job of an attempt: what is still open, or no job."""

    write: Callable[[int], Steps[WrittenJob]]
    unit: str = "shards"


@dataclass(frozen=True)
class Terms:
    """How pieces become jobs.

    `window` at most at once (0: all). `may_begin` is asked before each: a reason why no further one may. `each_within`:
    a job that was seen at work for longer is cancelled and counts as failed, the others go on. `last_look_s` is how far
    apart looks may come to be: what takes days is looked at less often, for the history's sake.
    """

    deadline: datetime
    phase: str = "scoring"
    window: int = 0
    may_begin: Callable[[], str] = lambda: ""
    each_within: timedelta | None = None
    last_look_s: float = LAST_LOOK_S


@dataclass
class _Work:
    """One piece under way: its newest job and what was last seen of it."""

    piece: Piece
    job: str
    attempt: int = 1
    seen: str = ""
    at_work_since: datetime | None = None


@dataclass
class _Bench:
    """What is to be done, what is under way, and what went wrong with what is over."""

    todo: list[Piece]
    under_way: dict[str, _Work] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stopped: str = ""
    poll_after_s: float = 0.0


def run_jobs(
    flow: Flow, trail: AuditTrail, lease: Lease, pieces: Sequence[Piece], terms: Terms
) -> Steps[str]:
    """Queue a job for every piece and wait until all are over; one that fails hides no other.

    A job whose node was taken away is followed by another that does what is still open. Gives why pieces were left
    out, "" if none was. Raises JobFailed, LeaseLost, CapacityError when no node comes, Cancelled.
    """
    bench = _Bench(list(pieces))
    try:
        yield from _run_all(flow, trail, lease, bench, terms)
    except Cancelled:
        for job in bench.under_way:
            yield from _ask_to_end(flow, lease, job)
        raise
    if bench.failures:
        more = f" ({len(bench.failures)} jobs failed)" if len(bench.failures) > 1 else ""
        raise JobFailed(bench.failures[0] + more)
    return bench.stopped


def _ask_to_end(flow: Flow, lease: Lease, job: str) -> Steps[None]:
    """A refusal is noted, not raised: the release that follows is what surely ends the job."""
    try:
        yield from flow.call(contracts.CANCEL_JOB, JobQuery(lease=lease, job=job))
    except AppError as error:
        flow.note("cancel refused, the release ends it", lease=lease.id, job=job, error=str(error))


def _run_all(flow: Flow, trail: AuditTrail, lease: Lease, bench: _Bench, terms: Terms) -> Steps[None]:
    """One glance at all the jobs at a time, so that the history grows no faster than with one."""
    yield from _fill(flow, trail, lease, bench, terms)
    began = worked = flow.now
    while bench.under_way:
        paced = min(max(FIRST_LOOK_S, 0.05 * (flow.now - began).total_seconds()), terms.last_look_s)
        delay = max(paced, bench.poll_after_s)
        waiting = f"{len(bench.under_way)} jobs on {lease.offer}"
        flow.status(terms.phase, waiting_for=waiting, next_look_s=delay)
        yield from flow.rest(delay)
        report = yield from flow.call(contracts.OBSERVE_JOBS, _query(lease, bench.under_way.values()))
        if report.cancel_requested:
            raise Cancelled("cancelled by request")
        for glance in report.jobs:
            work = bench.under_way[glance.id]
            work.seen = glance.seen
            if glance.state is JobState.RUNNING and work.at_work_since is None:
                work.at_work_since = flow.now
            if glance.is_over:
                del bench.under_way[glance.id]
                yield from _conclude(flow, trail, lease, bench, work)
        bench.poll_after_s = report.poll_after_s
        worked = flow.now if _is_anybody_at_work(report) else worked
        _check_patience(flow.now, worked, lease, bench, report, terms)
        yield from _cut_the_hanging(flow, lease, bench, terms)
        yield from _fill(flow, trail, lease, bench, terms)


def _fill(flow: Flow, trail: AuditTrail, lease: Lease, bench: _Bench, terms: Terms) -> Steps[None]:
    """Queue pieces until the window is full."""
    while bench.todo and (not terms.window or len(bench.under_way) < terms.window):
        if reason := terms.may_begin():
            bench.stopped = f"{reason}; {len(bench.todo)} jobs were not begun"
            bench.todo.clear()
            return
        yield from _submit(flow, trail, lease, bench, bench.todo.pop(0), attempt=1)


def _submit(
    flow: Flow, trail: AuditTrail, lease: Lease, bench: _Bench, piece: Piece, *, attempt: int
) -> Steps[None]:
    """Queue what is open of a piece; nothing to do where nothing is."""
    written = yield from piece.write(attempt)
    if written.job is None:
        return
    flow.status("submitting", waiting_for=f"job {written.job.id} to be queued")
    yield from flow.call(contracts.SUBMIT_JOB, JobStep(lease=lease, job=written.job))
    yield from trail.write(
        "job submitted", written.job.id, why=f"{written.open_shards} open {piece.unit}", before="absent"
    )
    bench.under_way[written.job.id] = _Work(piece, written.job.id, attempt)


def _conclude(flow: Flow, trail: AuditTrail, lease: Lease, bench: _Bench, work: _Work) -> Steps[None]:
    """How a job ended: done, failed, or without its node, and then another follows it."""
    report = yield from flow.call(contracts.OBSERVE_JOB, JobQuery(lease=lease, job=work.job, seen=work.seen))
    if not report.look.state.is_over and not report.look.machine_lost:  # queued again between the two looks
        bench.under_way[work.job] = work
        return
    if report.look.machine_lost:
        raise LeaseLost(f"{lease.offer} was lost while job {work.job} ran: {report.look.message}")
    if report.look.preempted:
        flow.note("node taken away, submitting again", lease=lease.id, job=work.job)
        if work.attempt >= MAX_ATTEMPTS:
            raise LeaseLost(f"{lease.offer}: job {work.job} was the {work.attempt}. to lose its node")
        yield from _submit(flow, trail, lease, bench, work.piece, attempt=work.attempt + 1)
        return
    try:
        report.check_done(work.job)
    except JobFailed as error:
        bench.failures.append(error.message)


def _cut_the_hanging(flow: Flow, lease: Lease, bench: _Bench, terms: Terms) -> Steps[None]:
    """Cancel every job that should have ended itself by now."""
    if terms.each_within is None:
        return
    for work in list(bench.under_way.values()):
        if work.at_work_since and flow.now - work.at_work_since >= terms.each_within:
            yield from flow.call(contracts.CANCEL_JOB, JobQuery(lease=lease, job=work.job))
            del bench.under_way[work.job]
            bench.failures.append(
                f"job {work.job} hung: still at work after {terms.each_within}, and cancelled"
            )


def _query(lease: Lease, under_way: Iterable[_Work]) -> JobsQuery:
    return JobsQuery(lease=lease, jobs=tuple(JobSeen(id=work.job, seen=work.seen) for work in under_way))


def _is_anybody_at_work(report: JobsReport) -> bool:
    return any(glance.is_over or glance.state is JobState.RUNNING for glance in report.jobs)


def _check_patience(
    now: datetime, worked: datetime, lease: Lease, bench: _Bench, report: JobsReport, terms: Terms
) -> None:
    """Raises CapacityError when no node comes, JobFailed at the deadline."""
    if not bench.under_way:
        return
    if now >= terms.deadline:
        raise JobFailed(
            f"jobs {', '.join(bench.under_way)} were not over after limits.deadline; their machine is released"
        )
    if now - worked >= NODE_DEADLINE:
        raise CapacityError(
            f"{lease.offer}: no node came in {NODE_DEADLINE} for {len(bench.under_way)} jobs: "
            f"{report.why or 'no reason told'}",
            code="NoNode",
        )
