"""A night on which drift is measured and everything goes well: what Azure and Blob Storage answer to each step."""

from __future__ import annotations

from typing import Any

from shared.domain.drift import Comparison, FeatureDrift, Measurement, Reported
from shared.domain.jobs import (
    BlobRef,
    JobGlance,
    JobLook,
    JobReport,
    JobRequest,
    JobsQuery,
    JobsReport,
    JobState,
    WrittenJob,
)
from shared.domain.wire import Wire
from tests.durable.night import Night

MANIFEST = BlobRef(container="muster", blob="runs/x/data.json")
MEASURED = Measurement(
    coefficient=0.41, feature="month", measured=2, features=(FeatureDrift(name="month", psi=0.41),)
)
QUIET = MEASURED.model_copy(update={"coefficient": 0.1})
LOST = JobReport(look=JobLook(state=JobState.RUNNING, machine_lost=True))
FAILED = JobReport(look=JobLook(state=JobState.FAILED, exit_code=1))
GOING = JobsReport(jobs=(JobGlance(id="drift-e1", state=JobState.RUNNING),))


class DriftNight(Night):
    def freeze_comparison(self, _: Any) -> Wire:
        return Comparison(manifest=MANIFEST, reference_blobs=60, target_blobs=7)

    def write_drift_job(self, _: Any) -> Wire:
        return WrittenJob(job=JobRequest(id="drift-e1", agent=MANIFEST, job=MANIFEST), open_shards=1)

    def observe_jobs(self, query: Any) -> Wire:
        jobs = JobsQuery.model_validate(query).jobs
        over = tuple(JobGlance(id=job.id, state=JobState.SUCCEEDED, is_over=True) for job in jobs)
        return JobsReport(jobs=over)

    def read_measurement(self, _: Any) -> Wire:
        return MEASURED

    def report_drift(self, _: Any) -> Wire:
        return Reported(key="0" * 32)

    record_drift = Night.record_outcome
