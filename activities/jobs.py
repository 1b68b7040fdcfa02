"""Jobs on machines: submit, look, cancel."""

from __future__ import annotations

from shared.azure import ledger
from shared.domain.jobs import (
    JobGlance,
    JobLook,
    JobQuery,
    JobReport,
    JobsQuery,
    JobsReport,
    JobState,
    JobStep,
    Progress,
)
from shared.domain.lease import Operation
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing
from shared.platforms import platform

_SAID = {"running": JobState.RUNNING, "succeeded": JobState.SUCCEEDED, "failed": JobState.FAILED}


@activity(contracts.SUBMIT_JOB)
def submit_job(step: JobStep) -> Operation:
    """Start the job on the lease's machine; the same job twice is one job."""
    return platform(step.lease.platform).jobs.submit_job(step.lease, step.job)


@activity(contracts.OBSERVE_JOB)
def observe_job(query: JobQuery) -> JobReport:
    """Look once at the job's own progress; ask the machine only when that does not move.

    An agent that works writes its progress every two seconds. If it has written since the last look, its machine
    is there, and a request to Azure is saved. Its last word counts: what it claims is checked before publishing.
    """
    progress = ledger.read_progress(query.lease.owner, query.job)
    cancel = ledger.is_cancel_requested(query.lease.owner)
    said = _SAID.get(progress.state, JobState.PENDING)
    if said is JobState.RUNNING and progress.updated != query.seen:
        return JobReport(
            look=JobLook(state=said, poll_after_s=0.0), progress=progress, cancel_requested=cancel
        )
    if said.is_over:
        look = JobLook(state=said, exit_code=progress.exit_code)
    else:
        where = platform(query.lease.platform)
        look = where.jobs.observe_job(query.lease, query.job)
        if look.state.is_over:  # its last word may have come between the two looks
            progress = ledger.read_progress(query.lease.owner, query.job)
            look = _killed_or_failed(look, progress, shared=where.shares_machine)
    return JobReport(look=look, progress=progress, cancel_requested=cancel)


@activity(contracts.OBSERVE_JOBS)
def observe_jobs(query: JobsQuery) -> JobsReport:
    """Glance at every job that shares the lease's machine, as observe_job looks at one.

    The answer is small however many they are: of one that is over, observe_job tells the rest.
    """
    reports = [observe_job(JobQuery(lease=query.lease, job=job.id, seen=job.seen)) for job in query.jobs]
    looks = [report.look for report in reports]
    return JobsReport(
        jobs=tuple(
            JobGlance(
                id=job.id,
                state=report.look.state,
                is_over=report.look.state.is_over or report.look.machine_lost,
                seen=report.progress.updated,
            )
            for job, report in zip(query.jobs, reports, strict=True)
        ),
        cancel_requested=any(report.cancel_requested for report in reports),
        poll_after_s=max((look.poll_after_s for look in looks if not look.state.is_over), default=0.0),
        why=next((look.message[:500] for look in looks if look.message and not look.state.is_over), ""),
    )


def _killed_or_failed(look: JobLook, progress: Progress, *, shared: bool) -> JobLook:
    """A process that ended by a signal and without a last word did not fail: it was killed, and its machine with it.

    That is a reboot, a host that died, or the kernel short of memory. Another machine may finish what it left open. On a
    shared machine it was one node's, and a job that ended as cancelled, though its run is not, lost its node as well.
    """
    if progress.exit_code is not None:
        return look
    killed = look.state is JobState.FAILED and (look.exit_code or 0) < 0
    if killed and not shared:
        return look.model_copy(
            update={"machine_lost": True, "message": f"the job was killed: {look.message}"}
        )
    if shared and (killed or look.state is JobState.CANCELED):
        return look.model_copy(update={"preempted": True})
    return look


@activity(contracts.CANCEL_JOB)
def cancel_job(query: JobQuery) -> Nothing:
    """Ask the machine to stop the job. The release of the machine, which follows, is what surely stops it."""
    platform(query.lease.platform).jobs.cancel_job(query.lease, query.job)
    return Nothing()
