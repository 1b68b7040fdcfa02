"""A run's data: inputs frozen, jobs written, scores published with proof or taken back."""

from __future__ import annotations

import fnmatch
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from shared.azure import agent, blob, job_blobs, ledger, watermarks
from shared.config import settings
from shared.domain import names
from shared.domain.coverage import FoundBlob, ShardRecord, build_manifest, coverage_faults, quarantine_fault
from shared.domain.errors import Cancelled, JobFailed, NotFoundError
from shared.domain.jobs import BlobRef, WrittenJob
from shared.domain.registry import ModelRef
from shared.domain.scoring import (
    BatchSummary,
    DiscardRequest,
    FreezeRequest,
    FrozenInputs,
    PublishRequest,
    Receipt,
    RunOutcome,
    ScoreRequest,
    WriteJobRequest,
)
from shared.domain.shards import InputItem, Shard, plan_batches, plan_shards
from shared.domain.units import UNITS
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing

READERS = 16
# Last-Modified has whole seconds: a blob may still appear in the second that is not over yet.
MIN_SETTLE = timedelta(seconds=1)


@activity(contracts.FREEZE_INPUTS)
def freeze_inputs(freeze: FreezeRequest) -> FrozenInputs:
    """List the new inputs once, cut them into shards and batches, and keep that in a create-only manifest.

    Called again it gives what was frozen the first time, whatever has happened to the container since.
    """
    request, path = freeze.request, f"runs/{freeze.request.run}/inputs.json"
    frozen = ledger.read(path)
    if frozen is None:
        blob.create_only(
            settings().state_container, path, ledger.encode(_list_and_plan(request, freeze.model))
        )
        frozen = ledger.read(path)
        if frozen is None:
            raise NotFoundError(f"{path} was written and cannot be read back", code="BlobNotFound")
    shards = [Shard.model_validate(s) for s in frozen["shards"]]
    by_id = {s.id: s for s in shards}
    batches = [[by_id[i] for i in ids] for ids in frozen["batches"]]
    return FrozenInputs(
        manifest=BlobRef(container=settings().state_container, blob=path),
        items=sum(len(s.items) for s in shards),
        size=sum(i.size for s in shards for i in s.items),
        shards=len(shards),
        batches=tuple(
            BatchSummary(
                index=n,
                shards=len(b),
                items=sum(len(s.items) for s in b),
                size=sum(i.size for s in b for i in s.items),
            )
            for n, b in enumerate(batches)
        ),
        through=datetime.fromisoformat(frozen["through"]),
        watermark_etag=frozen["watermark_etag"],
    )


def _list_and_plan(request: ScoreRequest, model: ModelRef) -> dict[str, object]:
    """New inputs, from just after the watermark to `settle` ago by the storage's own clock."""
    spec = request.workload.input
    since, etag = watermarks.read(request.workload.name)
    if spec.watermark == "none":
        since = datetime.min.replace(tzinfo=UTC)
    through = ledger.storage_now().replace(microsecond=0) - max(spec.settle, MIN_SETTLE)
    items = [
        InputItem(container=spec.container, blob=found.name, etag=found.etag, size=found.size)
        for found in blob.list_blobs(spec.container, spec.prefix)
        if fnmatch.fnmatchcase(found.name.removeprefix(spec.prefix), spec.pattern)
        and since < found.last_modified <= through
    ]
    code = agent.scoring_code(request.workload)
    shards = plan_shards(
        items,
        max_shards=request.workload.fanout.max_shards,
        model_digest=model.sha256,
        code_digest=code.digest if code else "",
    )
    return {
        "run": request.run,
        "through": through.isoformat(),
        "watermark_etag": etag,
        "shards": [s.model_dump(mode="json") for s in shards],
        "batches": plan_batches(shards, request.workload.compute.instances) if shards else [],
    }


@activity(contracts.WRITE_JOB)
def write_job(request: WriteJobRequest) -> WrittenJob:
    """The job of one batch: its shards that have no commit record. None of them open: there is no job."""
    batch, run = request.batch, request.batch.request.run
    job_id = names.job_id(batch.index, request.epoch, request.attempt)

    def make() -> dict[str, object] | None:
        job = _job(request, job_id)
        return job if job["shards"] else None

    return job_blobs.write_once(
        run, job_id, make, timeout_s=request.timeout_s, parts=lambda job: len(job["shards"])
    )


def _job(request: WriteJobRequest, job_id: str) -> dict[str, object]:
    batch, run, workload = request.batch, request.batch.request.run, request.batch.request.workload
    frozen = ledger.read(batch.inputs.blob)
    if frozen is None:
        raise NotFoundError(f"{batch.inputs.blob} is gone; it was frozen by this run", code="BlobNotFound")
    mine = set(frozen["batches"][batch.index])
    committed = _committed(run)
    model = batch.model
    return {
        **job_blobs.job_head("muster.score-job/1", run, job_id),
        "model": {
            "container": model.container, "prefix": model.prefix, "name": model.name,
            "version": model.version, "flavor": model.flavor, "sha256": model.sha256,
            **({"unknown_units": workload.model.unknown_units} if model.flavor == UNITS else {}),
        },
        "code": agent.upload_scoring_code(workload),
        "output": {"container": workload.output.container, "path": batch.output_path},
        "attempts": workload.fanout.attempts,
        "workers": request.workers,
        "shards": [s for s in frozen["shards"] if s["id"] in mine and s["id"] not in committed],
    }  # fmt: skip


def _committed(run: str) -> set[str]:
    prefix = f"runs/{run}/shards/"
    return {
        found.name.removeprefix(prefix).removesuffix(".json")
        for found in blob.list_blobs(settings().state_container, prefix)
    }


@activity(contracts.PUBLISH_SCORES)
def publish_scores(publish: PublishRequest) -> Receipt:
    """Write `_MANIFEST.json`, then `_SUCCESS`, if the scores cover the frozen inputs; otherwise nothing.

    Raises JobFailed when inputs are not covered or too many are quarantined, ConflictError when another run of the
    workload has published these inputs meanwhile. Safe to repeat: the same scores give the same bytes.
    """
    request, container = publish.request, publish.request.workload.output.container
    if ledger.is_cancel_requested(request.run):
        raise Cancelled("cancelled before anything was published")
    frozen = ledger.read(publish.inputs.manifest.blob)
    if frozen is None:
        raise NotFoundError(
            f"{publish.inputs.manifest.blob} is gone; it was frozen by this run", code="BlobNotFound"
        )
    shards = [Shard.model_validate(s) for s in frozen["shards"]]
    records = _read_records(request.run, shards)
    faults = coverage_faults(shards, records, _found_parts(container, publish.output_path), publish.model)
    if faults:
        raise JobFailed(f"the scores do not cover the inputs: {'; '.join(faults[:5])} ({len(faults)} in all)")
    manifest = build_manifest(
        run=request.run, workload=request.workload.name, slot=request.slot,
        model=publish.model, shards=shards, records=records,
    )  # fmt: skip
    if fault := quarantine_fault(manifest, min_success_ratio=request.workload.fanout.min_success_ratio):
        raise JobFailed(fault)

    keeps_watermark = request.workload.input.watermark != "none"
    if keeps_watermark:
        watermarks.claim(publish)
    manifest_ref = _commit(publish, "_MANIFEST.json", ledger.encode(manifest))
    success_ref = _commit(
        publish, "_SUCCESS", ledger.encode({"run": request.run, "manifest": manifest_ref.sha256})
    )
    if keeps_watermark:
        watermarks.settle(publish)
    return Receipt(
        manifest=manifest_ref, success=success_ref, listed=manifest.listed, scored=manifest.scored,
        quarantined=manifest.quarantined, rows=manifest.rows, parts=len(manifest.parts),
        unpredicted=manifest.unpredicted,
    )  # fmt: skip


def _read_records(run: str, shards: list[Shard]) -> dict[str, ShardRecord]:
    def read(shard: Shard) -> tuple[str, object]:
        return shard.id, ledger.read(f"runs/{run}/shards/{shard.id}.json")

    with ThreadPoolExecutor(READERS) as readers:
        return {
            i: ShardRecord.model_validate(data) for i, data in readers.map(read, shards) if data is not None
        }


def _found_parts(container: str, path: str) -> dict[str, FoundBlob]:
    return {
        found.name: FoundBlob(blob=found.name, size=found.size, sha256=found.metadata.get("sha256", ""))
        for found in blob.list_blobs(container, path, metadata=True)
        if found.name.removeprefix(path) not in ("_MANIFEST.json", "_SUCCESS")
    }


def _commit(publish: PublishRequest, file: str, data: bytes) -> BlobRef:
    """Write once, under the run's name, and read back. Raises JobFailed if other content is there already."""
    container, name = publish.request.workload.output.container, publish.output_path + file
    blob.create_only(container, name, data, metadata={"run": publish.request.run})
    if blob.read(container, name) != data:
        raise JobFailed(f"{container}/{name} is there already with other content; it was not overwritten")
    return BlobRef(container=container, blob=name, sha256=hashlib.sha256(data).hexdigest())


@activity(contracts.DISCARD_SCORES)
def discard_scores(discard: DiscardRequest) -> Nothing:
    """Delete what a failed run wrote to its output, unless it was published after all."""
    container, path = discard.request.workload.output.container, discard.output_path
    if blob.exists(container, f"{path}_SUCCESS"):
        return Nothing()
    records = (ledger.read(name) for name in _record_paths(discard.request.run))
    own = {r["output"]["blob"] for r in records if r and r.get("output")}
    for found in list(blob.list_blobs(container, path, metadata=True)):
        # What was written right before a death has no record: parts and receipt bear the run in their metadata.
        if found.name in own or found.metadata.get("run") == discard.request.run:
            blob.delete(container, found.name)
    return Nothing()


def _record_paths(run: str) -> list[str]:
    return [found.name for found in blob.list_blobs(settings().state_container, f"runs/{run}/shards/")]


@activity(contracts.RECORD_OUTCOME)
def record_outcome(outcome: RunOutcome) -> Nothing:
    """How the run ended, for ever."""
    ledger.create(f"runs/{outcome.run}/outcome.json", outcome)
    return Nothing()
