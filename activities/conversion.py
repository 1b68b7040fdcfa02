"""A model's conversion: what it is compared on, the job, and the converted model as a version of its own.

A record is the model's, not the run's: `conversions/{name}/{version}/{key}.json`, written once by whoever had it made.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from node.package import conversion_tools
from shared.azure import blob, converted_models, job_blobs, ledger, training_data
from shared.config import settings
from shared.domain import names
from shared.domain.conversion import ConversionRecord, ConversionReport, judge_parity
from shared.domain.converting import (
    ConversionPlan,
    Converted,
    ConvertJobRequest,
    ConvertRequest,
    KeepRequest,
)
from shared.domain.errors import JobFailed, SpecError
from shared.domain.jobs import BlobRef, WrittenJob
from shared.durable import contracts
from shared.durable.blueprint import activity

SCHEMA = "muster.convert-job/1"
AGENT_PATIENCE = timedelta(days=1)  # the longest the agent lets itself be told
MAX_RECORD = 8 * 1024  # bytes of what a machine says of one conversion: it goes into histories


@activity(contracts.PREPARE_CONVERSION)
def prepare_conversion(asked: ConvertRequest) -> ConversionPlan:
    """Look for a record of the same conversion; where there is none, list the sample once, create-only.

    Raises SpecError if the sample is empty: nothing was bought.
    """
    if ledger.exists(_record(asked)) or ledger.exists(_result(asked.run)):
        return ConversionPlan(is_done=True)
    path = f"runs/{asked.run}/conversion-sample.json"
    frozen = ledger.read(path)
    if frozen is None:
        sample = asked.conversion.parity.sample
        newest = training_data.list_data(sample)[-sample.newest :]
        if not newest:
            where = f"{sample.container}/{sample.prefix}{sample.pattern}"
            raise SpecError(f"conversion.parity.sample: no blob is {where}; nothing was bought")
        ledger.claim(path, training_data.as_items(sample.container, newest))
        frozen = ledger.read(path) or []
    return ConversionPlan(
        is_done=False,
        sample=BlobRef(container=settings().state_container, blob=path),
        blobs=len(frozen),
    )


@activity(contracts.WRITE_CONVERT_JOB)
def write_convert_job(request: ConvertJobRequest) -> WrittenJob:
    """The job that converts. The run's record is there: there is no job."""
    asked, conversion = request.work.request, request.work.request.conversion
    job = names.train_job_id("convert", request.epoch, request.attempt)
    timeout_s = int(min(conversion.limits.deadline, AGENT_PATIENCE).total_seconds())

    def make() -> dict[str, Any] | None:
        if ledger.exists(_result(asked.run)):
            return None
        model = asked.model.model_dump(
            mode="json", include={"name", "version", "flavor", "container", "prefix", "sha256"}
        )
        return {
            **job_blobs.job_head(SCHEMA, asked.run, job),
            "model": model,
            "to": conversion.to,
            "opset": conversion.opset,
            "sample": ledger.read(request.work.sample.blob),
            "rows": conversion.parity.rows,
            "threshold": conversion.parity.threshold,
            "timeout_s": timeout_s,
        }

    return job_blobs.write_once(asked.run, job, make, timeout_s=timeout_s, parts=lambda _: 1)


@activity(contracts.KEEP_CONVERSION)
def keep_conversion(request: KeepRequest) -> Converted:
    """Put what was found on record for the model, hold it against the gate, and store what passes as a version.

    Safe to repeat at any point: the first record stands, and the version is what it names, byte for byte. What the run
    goes on with is in deployments/{run}/conversion.json.
    """
    converted = _kept(request.request, request.usd)
    ledger.create(f"deployments/{request.request.run}/conversion.json", converted.report)
    return converted


def _kept(asked: ConvertRequest, usd: float) -> Converted:
    path = _record(asked)
    if not ledger.exists(path):
        found = _found(asked)
        ledger.claim(path, {"run": asked.run, "found": found.model_dump(mode="json")})
    kept = ledger.read(path) or {}
    run, found = str(kept["run"]), ConversionRecord.model_validate(kept["found"])
    verdict = judge_parity(found, asked.conversion.parity)
    report = ConversionReport(
        served=str(asked.model), sha256=asked.model.sha256, converted=False, reused=run != asked.run,
        reason=verdict.reason, record=path, verdict=verdict, found=found, usd=usd,
    )  # fmt: skip
    if not verdict.ok:
        return Converted(model=asked.model, report=report)
    model, asset = converted_models.store(asked.model, run, found, record=path)
    served = {"served": str(model), "sha256": model.sha256, "converted": True}
    return Converted(model=model, asset=asset, report=report.model_copy(update=served))


def _found(asked: ConvertRequest) -> ConversionRecord:
    """What the machine left. Raises JobFailed when that is no record of this model: it is believed only if it is."""
    path = _result(asked.run)
    data = blob.read_or_none(settings().state_container, path)
    if data is None:
        raise JobFailed(f"the job ended well, and left no {path}")
    try:
        found = ConversionRecord.model_validate(json.loads(data[:MAX_RECORD]))
    except (ValueError, ValidationError) as error:
        raise JobFailed(f"{path} is no record of a conversion: {str(error)[:300]}") from error
    if (found.to, found.model_sha256) != (asked.conversion.to, asked.model.sha256):
        raise JobFailed(f"{path} is of another model: {found.model_sha256} to {found.to}")
    if found.file and not found.file.blob.startswith(f"runs/{asked.run}/"):
        raise JobFailed(f"{path} names a model of another run: {found.file.blob[:200]}")
    return found


def _record(asked: ConvertRequest) -> str:
    key = asked.conversion.key(asked.model, conversion_tools())
    return f"conversions/{asked.model.name}/{asked.model.version}/{key}.json"


def _result(run: str) -> str:
    return f"runs/{run}/conversion.json"
