"""A night on which everything goes well: what Azure and Blob Storage answer to each step of a scoring run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import yaml

from shared.domain.audit import AuditEntry, AuditLink, digest, seal
from shared.domain.jobs import BlobRef, JobLook, JobReport, JobRequest, JobState, Progress, WrittenJob
from shared.domain.lease import Lease, Machine, MachineState, Operation, Remains
from shared.domain.offers import Headroom, HeadroomReport, Offer
from shared.domain.registry import ModelRef
from shared.domain.scoring import (
    BatchRequest,
    BatchSummary,
    FrozenInputs,
    Receipt,
    ScoreRequest,
)
from shared.domain.upkeep import Overdue
from shared.domain.wire import Wire
from shared.domain.workload import BatchScoring, parse_workload
from shared.durable.contracts import Nothing
from tests.support.estate import declaration

RUN = "score-nightly-20260301T020000Z"
OFFERS = (
    Offer(size="Standard_D2s_v5", region="westeurope", vcpus=2, price_usd_per_hour=0.10),
    Offer(size="Standard_D4s_v5", region="westeurope", vcpus=4, price_usd_per_hour=0.20),
)
MODEL = ModelRef(
    name="plain", version="1", flavor="sklearn", container="models", prefix="plain/1/", file="m", sha256="a" * 64
)  # fmt: skip
BOOT_S, STOP_S = 75.0, 40.0
REAPED = datetime(2026, 3, 1, 5, 0, 30, tzinfo=UTC)
DONE = JobReport(
    look=JobLook(state=JobState.SUCCEEDED, exit_code=0),
    progress=Progress(state="succeeded", shards_total=2, shards_done=2),
)
RUNNING = JobReport(look=JobLook(state=JobState.RUNNING, poll_after_s=0.0))


def request(**changes: Any) -> ScoreRequest:
    text = yaml.safe_dump(declaration("nightly", **changes))
    workload = parse_workload(text, source="test", platforms=("dsvm",))
    assert isinstance(workload, BatchScoring)
    return ScoreRequest(run=RUN, slot="20260301T020000Z", workload=workload, started_by="test")


def batch(**changes: Any) -> BatchRequest:
    asked = request(**changes)
    return BatchRequest(
        request=asked, model=MODEL, inputs=_blob("inputs.json"), index=0, offers=OFFERS,
        output_path=asked.output_path,
    )  # fmt: skip


class Night:
    """Each lease's machine as its last request left it, and the plain answer to every other step."""

    def __init__(self, machines: int = 1) -> None:
        self.audit: list[bytes] = []
        self._machines = machines
        self._state: dict[str, MachineState] = {}

    def __call__(self, step: str, payload: Any) -> Wire:
        answer: Callable[[Any], Wire] = getattr(self, step)
        return answer(payload)

    def read_model(self, _: Any) -> Wire:
        return MODEL

    def freeze_inputs(self, _: Any) -> Wire:
        batches = tuple(BatchSummary(index=n, shards=2, items=4, size=100) for n in range(self._machines))
        return FrozenInputs(
            manifest=_blob("inputs.json"), items=4 * self._machines, size=100, shards=2 * self._machines,
            batches=batches,
        )  # fmt: skip

    def check_headroom(self, _: Any) -> Wire:
        return HeadroomReport(looks=tuple(Headroom(offer=offer, available=True) for offer in OFFERS))

    def begin_provision(self, lease: Any) -> Wire:
        return self._becomes(lease, MachineState.READY, BOOT_S)

    def observe_machine(self, lease: Any) -> Wire:
        return Machine(state=self._seen(lease))

    def begin_release(self, lease: Any) -> Wire:
        return self._becomes(lease, MachineState.DEALLOCATED, STOP_S)

    def begin_delete(self, lease: Any) -> Wire:
        return self._becomes(lease, MachineState.ABSENT, STOP_S)

    def observe_release(self, lease: Any) -> Wire:
        return Remains(machine=self._seen(lease))

    def confirm_release(self, _: Any) -> Wire:
        return Remains()

    def write_job(self, _: Any) -> Wire:
        job = JobRequest(id="b00-e1", agent=_blob("code.zip"), job=_blob("jobs/b00-e1.json"))
        return WrittenJob(job=job, open_shards=2)

    def submit_job(self, _: Any) -> Wire:
        return Operation(poll_after_s=30.0)

    def observe_job(self, _: Any) -> Wire:
        return DONE

    def publish_scores(self, _: Any) -> Wire:
        return Receipt(
            manifest=_blob("m", "b" * 64), success=_blob("s"), listed=4, scored=4, quarantined=0, rows=20, parts=2
        )  # fmt: skip

    def write_audit(self, entry: Any) -> Wire:
        self.audit.append(seal(AuditEntry.model_validate(entry)))
        return AuditLink(digest=digest(self.audit[-1]))

    def _nothing(self, _: Any) -> Wire:
        return Nothing()

    open_lease = close_lease = cancel_job = discard_scores = record_cost = record_outcome = _nothing
    remove_resource = settle_lease = _nothing

    def list_leases(self, _: Any) -> Wire:
        return Overdue(now=REAPED)

    def _becomes(self, lease: Any, state: MachineState, poll_after_s: float) -> Wire:
        self._state[_key(lease)] = state
        return Operation(poll_after_s=poll_after_s)

    def _seen(self, lease: Any) -> MachineState:
        return self._state.get(_key(lease), MachineState.ABSENT)


def _key(lease: Any) -> str:
    parsed = Lease.model_validate(lease)
    return json.dumps([parsed.id, parsed.epoch])


def _blob(name: str, sha256: str = "") -> BlobRef:
    return BlobRef(container="muster", blob=f"runs/{RUN}/{name}", sha256=sha256)
