"""A job: one piece of work handed to a machine, and what one look at it can find."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from shared.domain.errors import JobFailed
from shared.domain.lease import Lease
from shared.domain.wire import Wire


class BlobRef(Wire):
    """A blob in the app's own storage account, with the SHA-256 (hex) its reader must find."""

    container: str
    blob: str
    sha256: str = ""


class JobRequest(Wire):
    """The agent's code and the job it shall do, both in Blob Storage. `timeout_s`: the platform's own brake.

    `data_asset`: what the job learns from, by its ARM id, where Azure ML knows of it.
    """

    id: str
    agent: BlobRef
    job: BlobRef
    timeout_s: int = 3600
    data_asset: str = Field(default="", exclude_if=lambda asset: not asset)


class JobState(StrEnum):
    ABSENT = "absent"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"

    @property
    def is_over(self) -> bool:
        return self not in (JobState.PENDING, JobState.RUNNING)


class JobLook(Wire):
    """One look at a job on its machine. `machine_lost` when there is no machine to ask any more.

    `preempted`: the job is over because its node of a shared machine was taken away. The machine is there, and takes
    the same work again under another id.
    """

    state: JobState
    exit_code: int | None = None
    message: str = ""
    machine_lost: bool = False
    preempted: bool = False
    poll_after_s: float = 15.0


class JobStep(Wire):
    """Hand `job` to the machine of `lease`."""

    lease: Lease
    job: JobRequest


class JobQuery(Wire):
    """Look at a job. `seen` is the progress stamp of the last look: only when it has not moved is Azure asked too."""

    lease: Lease
    job: str
    seen: str = ""


class Progress(Wire):
    """What the agent on the machine says of its own work."""

    state: str = "pending"
    shards_total: int = 0
    shards_done: int = 0
    items_total: int = 0
    items_done: int = 0
    items_quarantined: int = 0
    rows: int = 0
    updated: str = ""
    exit_code: int | None = None
    error_type: str = ""
    error_message: str = ""

    @property
    def is_last_word(self) -> bool:
        return self.state in ("succeeded", "failed")


class JobReport(Wire):
    """One look: the job's state from its own progress and, where that is not enough, from the machine."""

    look: JobLook
    progress: Progress = Progress()
    cancel_requested: bool = False

    def check_done(self, job: str) -> None:
        """Raises JobFailed unless the job succeeded by its own word and by its exit code."""
        look, progress = self.look, self.progress
        if look.state is JobState.SUCCEEDED and progress.shards_done == progress.shards_total:
            return
        reason = f"{progress.error_type}: {progress.error_message}" if progress.error_type else look.message
        raise JobFailed(f"job {job} {look.state}, exit code {look.exit_code}: {reason or 'no reason given'}")


class JobSeen(Wire):
    """A job that shares its machine with others, and the progress stamp of the last look at it."""

    id: str
    seen: str = ""


class JobsQuery(Wire):
    """Look at several jobs of one lease."""

    lease: Lease
    jobs: tuple[JobSeen, ...]


class JobGlance(Wire):
    """What decides whether to look closer: `is_over` when the job ended or lost its node or machine."""

    id: str
    state: JobState
    is_over: bool = False
    seen: str = ""


class JobsReport(Wire):
    """One glance at each job, in the order asked. `why` is what keeps one from starting, where Azure says it."""

    jobs: tuple[JobGlance, ...]
    cancel_requested: bool = False
    poll_after_s: float = 0.0
    why: str = ""


class WrittenJob(Wire):
    """The job of a batch as stored. None when every shard of the batch is committed already."""

    job: JobRequest | None = None
    open_shards: int = 0
