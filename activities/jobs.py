"""Jobs on machines: submit, look, cancel."""

from __future__ import annotations

from shared.azure import ledger
from shared.domain.jobs import JobLook, JobQuery, JobReport, JobState, JobStep
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
        look = platform(query.lease.platform).jobs.observe_job(query.lease, query.job)
        if look.state.is_over:  # its last word may have come between the two looks
            progress = ledger.read_progress(query.lease.owner, query.job)
    return JobReport(look=look, progress=progress, cancel_requested=cancel)


@activity(contracts.CANCEL_JOB)
def cancel_job(query: JobQuery) -> Nothing:
    """Ask the machine to stop the job. The release of the machine, which follows, is what surely stops it."""
    platform(query.lease.platform).jobs.cancel_job(query.lease, query.job)
    return Nothing()
