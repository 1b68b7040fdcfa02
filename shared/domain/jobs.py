"""A job: one piece of work handed to a machine, and what one look at it can find."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.wire import Wire


class BlobRef(Wire):
    """A blob in the app's own storage account, with the SHA-256 (hex) its reader must find."""

    container: str
    blob: str
    sha256: str = ""


class JobRequest(Wire):
    """The agent's code and the job it shall do, both in Blob Storage. `timeout_s` is the platform's own brake."""

    id: str
    agent: BlobRef
    job: BlobRef
    timeout_s: int = 3600


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
    """One look at a job on its machine. `machine_lost` when there is no machine to ask any more."""

    state: JobState
    exit_code: int | None = None
    message: str = ""
    machine_lost: bool = False
    poll_after_s: float = 15.0
