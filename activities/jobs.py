"""Jobs on machines: submit, look, cancel."""

from __future__ import annotations

from shared.azure import ledger
from shared.domain.jobs import JobLook, JobQuery, JobReport, JobState, JobStep, Progress
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
            look = _killed_or_failed(look, progress)
    return JobReport(look=look, progress=progress, cancel_requested=cancel)


def _killed_or_failed(look: JobLook, progress: Progress) -> JobLook:
    """A process that ended by a signal and without a last word did not fail: it was killed, and its machine with it.

    That is a reboot, a host that died, or the kernel short of memory. Another machine may finish what it left open.
    """
    if look.state is JobState.FAILED and (look.exit_code or 0) < 0 and progress.exit_code is None:
        return look.model_copy(
            update={"machine_lost": True, "message": f"the job was killed: {look.message}"}
        )
    return look


@activity(contracts.CANCEL_JOB)
def cancel_job(query: JobQuery) -> Nothing:
    """Ask the machine to stop the job. The release of the machine, which follows, is what surely stops it."""
    platform(query.lease.platform).jobs.cancel_job(query.lease, query.job)
    return Nothing()
