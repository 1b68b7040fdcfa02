"""A drift run's data on real storage: sides frozen once, a job that the agent takes, a result judged, a fact recorded."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from activities import drift
from node.drift import DriftJob, parse_drift_job
from shared.azure import blob, event_ledger, ledger
from shared.config import settings
from shared.domain.drift import (
    MAX_BLOBS,
    Comparison,
    DriftJobRequest,
    DriftMonitor,
    DriftOutcome,
    DriftReport,
    DriftRequest,
    DriftState,
    Measurement,
    MeasureRequest,
)
from shared.domain.errors import ConflictError, JobFailed, SpecError
from shared.domain.jobs import WrittenJob
from tests.support.drifts import drift_monitor, parsed, request

DAYS = [f"2013-{month:02d}-{day:02d}.parquet" for month in (1, 7) for day in (1, 2, 3)]
AT = datetime(2026, 3, 1, 2, 10, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("cloud")


def landed(files: list[str], **changes: Any) -> DriftRequest:
    """A run of a monitor of its own on blobs of its own."""
    name = f"d-{uuid.uuid4().hex[:8]}"
    for file in files:
        blob.create_only("landing", f"{name}/{file}", file.encode())
    return request(parsed(drift_monitor(name, **changes)))


def sides(asked: DriftRequest) -> dict[str, list[str]]:
    """The names that were frozen, without their prefix."""
    found = ledger.read(f"runs/{asked.run}/data.json")
    assert found is not None
    return {side: [each["blob"].rpartition("/")[2] for each in items] for side, items in found.items()}


def write(asked: DriftRequest, comparison: Comparison, *, epoch: int = 1) -> WrittenJob:
    measure = MeasureRequest(request=asked, comparison=comparison, offers=())
    return drift.write_drift_job(DriftJobRequest(measure=measure, epoch=epoch))


def left(asked: DriftRequest, document: object) -> None:
    """What the agent leaves."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    blob.create_only("muster", f"runs/{asked.run}/drift.json", data)


def test_the_oldest_are_compared_with_the_newest() -> None:
    asked = landed(DAYS)

    comparison = drift.freeze_comparison(asked)

    assert (comparison.reference_blobs, comparison.target_blobs, comparison.missing) == (2, 2, "")
    assert sides(asked) == {"reference": DAYS[:2], "target": DAYS[-2:]}


@pytest.mark.parametrize(
    ("reference", "frozen"),
    [({"oldest": None, "newest": 3}, DAYS[1:4]), ({"oldest": None}, DAYS[:4]), ({"oldest": 9}, DAYS[:4])],
    ids=["those right before the target", "all of them", "more than there are"],
)
def test_a_blob_is_never_on_both_sides(reference: dict[str, Any], frozen: list[str]) -> None:
    asked = landed(DAYS, reference=reference)
    drift.freeze_comparison(asked)
    assert sides(asked) == {"reference": frozen, "target": DAYS[-2:]}


def test_a_pattern_chooses_among_the_blobs() -> None:
    asked = landed(
        [*DAYS, "2013-08-01.csv"], target={"pattern": "2013-07-*"}, reference={"pattern": "*-02.*"}
    )
    drift.freeze_comparison(asked)
    assert sides(asked) == {"reference": ["2013-01-02.parquet"], "target": DAYS[-2:]}


def test_what_lands_or_changes_later_is_not_what_was_frozen() -> None:
    asked = landed(DAYS)
    first = drift.freeze_comparison(asked)
    blob.create_only("landing", f"{asked.workload.name}/2013-08-01.parquet", b"later")

    assert drift.freeze_comparison(asked) == first
    assert sides(asked)["target"] == DAYS[-2:]


@pytest.mark.parametrize(("files", "missing"), [([], "reference and target"), (DAYS[:2], "reference")])
def test_an_empty_side_is_named(files: list[str], missing: str) -> None:
    assert drift.freeze_comparison(landed(files)).missing == missing


def test_a_reference_without_an_end_is_refused_past_what_a_machine_can_fetch() -> None:
    asked = landed([], reference={"oldest": None})
    many = (blob.Found(f"{n:06d}.parquet", '"0x1"', 1, AT) for n in range(MAX_BLOBS + 1))
    with pytest.raises(SpecError, match=r"more than 50,000 blobs .* reference\.newest"):
        drift._chosen(many, asked.workload)


def _parsed(written: WrittenJob) -> DriftJob:
    assert written.job is not None
    return parse_drift_job(
        blob.read(written.job.job.container, written.job.job.blob), settings().storage_account_url
    )


def test_the_agent_takes_the_job_and_finds_what_was_frozen() -> None:
    asked = landed(DAYS, features=["hour", "carrier"], limits={"deadline": "PT20M"})

    written = write(asked, drift.freeze_comparison(asked))

    job = _parsed(written)
    assert (job.head.run, job.features, job.timeout_s) == (asked.run, ("hour", "carrier"), 1200)
    assert written.job is not None and written.job.timeout_s == 1200
    found = [(each.container, each.blob, each.etag) for each in job.target]
    assert found == [
        ("landing", each.name, each.etag)
        for each in list(blob.list_blobs("landing", f"{asked.workload.name}/"))[-2:]
    ]


def test_without_declared_features_the_agent_is_to_take_them_all() -> None:
    asked = landed(DAYS, limits={"deadline": "P2D"})
    job = _parsed(write(asked, drift.freeze_comparison(asked)))
    assert job.features is None
    assert job.timeout_s == 24 * 3600, "the longest that the agent lets itself be told"


def test_a_job_is_written_once_and_none_where_the_result_is_there() -> None:
    asked = landed(DAYS)
    comparison = drift.freeze_comparison(asked)
    first = write(asked, comparison)
    left(asked, {"features": []})

    assert write(asked, comparison) == first
    assert write(asked, comparison, epoch=2).job is None


def test_what_the_machine_left_is_judged_by_the_declared_metric() -> None:
    asked = landed([], metric="ks", threshold=0.2)
    left(
        asked,
        {
            "schema": "muster.drift/1",
            "features": [
                {"name": "carrier", "psi": 0.9, "ks": None, "js": 0.3, "rows_reference": 5, "rows_target": 7},
                {"name": "hour", "psi": 0.1, "ks": 0.25, "js": 0.1, "rows_reference": 5, "rows_target": 7},
            ],
            "worst": {"name": "carrier", "psi": 0.9},
        },
    )

    measured = drift.read_measurement(asked)

    assert (measured.feature, measured.coefficient, measured.without) == ("hour", 0.25, 1)
    assert (measured.rows_reference, measured.rows_target) == (5, 7)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"features": [{"name": "hour", "psi": NaN}]}',
        {"features": [{"psi": 1.0}]},
        {"features": 3},
        {"features": ["hour"]},
        {},
        {"features": []},
    ],
)
def test_what_is_no_measurement_fails_the_run(document: object) -> None:
    asked = landed([])
    left(asked, document)
    with pytest.raises(JobFailed):
        drift.read_measurement(asked)


def test_a_job_that_left_nothing_fails_the_run() -> None:
    with pytest.raises(JobFailed, match="left no"):
        drift.read_measurement(landed([]))


def _report(monitor: DriftMonitor) -> DriftReport:
    measured = Measurement(coefficient=0.41, feature="month", measured=1)
    return DriftReport(request=request(monitor), measurement=measured, at=AT)


def test_a_measurement_is_one_fact_that_waits_to_be_considered_however_often_it_is_reported() -> None:
    report = _report(parsed(drift_monitor(f"d-{uuid.uuid4().hex[:8]}")))

    key = drift.report_drift(report).key
    assert drift.report_drift(report).key == key

    (event,) = [each for each in event_ledger.unconsidered() if each.key == key]
    assert (event.coefficient, event.caused_by) == (0.41, report.request.run)
    event_ledger.set_considered(key)
    drift.report_drift(report)
    assert key not in {each.key for each in event_ledger.unconsidered()}, "considered once"


def test_an_outcome_is_for_ever() -> None:
    run = f"drift-w-manual-{uuid.uuid4().hex[:16]}"
    outcome = DriftOutcome(run=run, workload="w", slot="s", state=DriftState.COMPLETED)
    drift.record_drift(outcome)
    drift.record_drift(outcome)
    with pytest.raises(ConflictError):
        drift.record_drift(outcome.model_copy(update={"state": DriftState.FAILED}))
