"""A batch scoring run as values: what is asked, what was frozen, what each batch did, how it ended."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from shared.domain.cost import Charge
from shared.domain.errors import Failure
from shared.domain.jobs import BlobRef
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.wire import Wire
from shared.domain.workload import BatchScoring


class ScoreRequest(Wire):
    """Score `workload` once. `started_by` says who asked: a timer's slot or an authenticated caller."""

    run: str
    slot: str
    workload: BatchScoring
    started_by: str
    reason: str = ""

    @property
    def output_path(self) -> str:
        return self.workload.output.path.format(slot=self.slot, run=self.run)


class FreezeRequest(Wire):
    """List the inputs of a run, cut them into shards and batches, and keep that for ever."""

    request: ScoreRequest
    model: ModelRef


class BatchSummary(Wire):
    index: int
    shards: int
    items: int
    size: int


class FrozenInputs(Wire):
    """What a run will score: fixed by (blob, etag, size) in `manifest`, whatever happens to the container later."""

    manifest: BlobRef
    items: int = 0
    size: int = 0
    shards: int = 0
    batches: tuple[BatchSummary, ...] = ()
    through: datetime | None = None
    watermark_etag: str = ""


class BatchRequest(Wire):
    """One lease's part of a run: batch `index` of its frozen inputs, on the first of `offers` that can be had.

    On a platform that `shares_machine` the lease serves the batches `further` as well, a node for each. Both fields are
    left out of the payload where they say nothing: it is then what it was before they were there.
    """

    request: ScoreRequest
    model: ModelRef
    inputs: BlobRef
    index: int
    offers: tuple[Offer, ...]
    output_path: str
    further: tuple[int, ...] = Field(default=(), exclude_if=lambda further: not further)
    shares_machine: bool = Field(default=False, exclude_if=lambda shares: not shares)

    @property
    def instance_id(self) -> str:
        return batch_instance_id(self.request.run, self.index)

    @property
    def alone(self) -> tuple[BatchRequest, ...]:
        """Every batch of the lease as a request of its own."""
        return tuple(
            self.model_copy(update={"index": index, "further": ()}) for index in (self.index, *self.further)
        )


def batch_instance_id(run: str, index: int) -> str:
    return f"{run}.b{index:02d}"


class BatchOutcome(Wire):
    """How a batch ended. `remains` are resources that could not be taken away and are now the reaper's."""

    index: int
    charges: tuple[Charge, ...] = ()
    setbacks: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    audit_head: str = ""
    failure: Failure | None = None


class WriteJobRequest(Wire):
    """Write the job of one batch under one epoch: its shards that have no commit record yet.

    `attempt` counts the jobs of the batch under that epoch: one whose node was taken away is followed by another.
    """

    batch: BatchRequest
    epoch: int
    attempt: int = Field(default=1, exclude_if=lambda attempt: attempt == 1)
    workers: int = 1
    timeout_s: int = 3600


class PublishRequest(Wire):
    """Commit a run's scores if they cover its frozen inputs."""

    request: ScoreRequest
    model: ModelRef
    inputs: FrozenInputs
    output_path: str


class DiscardRequest(Wire):
    """Take back the uncommitted parts of a run that failed."""

    request: ScoreRequest
    output_path: str


class Receipt(Wire):
    """Proof of coverage: listed = scored + quarantined, item by item in `manifest`."""

    manifest: BlobRef
    success: BlobRef
    listed: int
    scored: int
    quarantined: int
    rows: int
    parts: int
    unpredicted: int = Field(default=0, exclude_if=lambda rows: rows == 0)


class RunState(StrEnum):
    COMPLETED = "Completed"
    COMPLETED_WITH_QUARANTINE = "CompletedWithQuarantine"
    NOTHING_NEW = "NothingNew"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class RunOutcome(Wire):
    """How a run ended, for the record and for the user. `teardown` is Degraded while something could not be removed."""

    run: str
    workload: str
    slot: str
    state: RunState
    reason: str = ""
    model: str = ""
    listed: int = 0
    receipt: Receipt | None = None
    usd: float = 0.0
    charges: tuple[Charge, ...] = ()
    offers: tuple[str, ...] = ()  # one line of reason per offer looked at
    teardown: str = "Clean"
    remains: tuple[str, ...] = ()
    audit_head: str = ""
    started: datetime | None = None
    ended: datetime | None = None
