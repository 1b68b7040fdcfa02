"""A day on which a model is converted before it is served, and the machine's part goes well."""

from __future__ import annotations

from typing import Any

from shared.domain.conversion import ConversionReport, judge_parity
from shared.domain.converting import ConversionPlan, Converted, KeepRequest
from shared.domain.jobs import BlobRef, JobGlance, JobRequest, JobsQuery, JobsReport, JobState, WrittenJob
from shared.domain.wire import Wire
from tests.durable.night import Night
from tests.durable.serving_day import MODEL, RUN, ServingDay
from tests.support.conversions import record

ONNX = MODEL.model_copy(update={"version": "2-onnx-cccccccccccc", "flavor": "onnx", "sha256": "c" * 64})
SAMPLE = BlobRef(container="muster", blob=f"runs/{RUN}/conversion-sample.json")


class ConvertingDay(ServingDay):
    """`found` is what the machine's record says, `is_done` whether there was one before."""

    def __init__(self) -> None:
        super().__init__()
        self.is_done = False
        self.found: dict[str, Any] = {}

    def write_audit(self, entry: Any) -> Wire:
        """The run's own chain is kept; its child has another."""
        link = Night.write_audit(self, entry)
        if entry["chain"] != RUN:
            self.audit.pop()
        return link

    def prepare_conversion(self, _: Any) -> Wire:
        return ConversionPlan(is_done=self.is_done, sample=None if self.is_done else SAMPLE, blobs=2)

    def write_convert_job(self, _: Any) -> Wire:
        return WrittenJob(job=JobRequest(id="convert-e1", agent=SAMPLE, job=SAMPLE), open_shards=1)

    def observe_jobs(self, query: Any) -> Wire:
        jobs = JobsQuery.model_validate(query).jobs
        return JobsReport(
            jobs=tuple(JobGlance(id=job.id, state=JobState.SUCCEEDED, is_over=True) for job in jobs)
        )

    def keep_conversion(self, payload: Any) -> Wire:
        asked = KeepRequest.model_validate(payload)
        found = record(**self.found)
        verdict = judge_parity(found, asked.request.conversion.parity)
        model = ONNX if verdict.ok else MODEL
        report = ConversionReport(
            served=str(model), sha256=model.sha256, converted=verdict.ok, reused=self.is_done, reason=verdict.reason,
            verdict=verdict, found=found, usd=asked.usd,
        )  # fmt: skip
        return Converted(model=model, asset="azureml:m:2-onnx" if verdict.ok else "", report=report)
