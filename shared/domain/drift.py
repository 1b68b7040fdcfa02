"""Drift that Muster measures itself: the declaration of a monitor, and a measurement as values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator

from shared.domain.cost import Charge
from shared.domain.errors import Failure, JobFailed
from shared.domain.fields import BlobPattern, BlobPrefix, WorkloadName, refusal
from shared.domain.jobs import BlobRef
from shared.domain.ml_events import EventKind, MlEvent
from shared.domain.offers import Offer
from shared.domain.retraining import PlainName
from shared.domain.sections import Compute, Count, DataContainer, Limits, Schedule, Spec
from shared.domain.wire import Wire

MAX_BLOBS = 50_000  # of one side: both are listed in one job, and every one is fetched by one machine
SHOWN = 20  # features told one by one; all of them are in the run's drift.json
SOURCE = "muster"

Metric = Literal["psi", "ks", "jensenShannon"]


class Reference(Spec):
    """What the target is compared with: the newest or the oldest blobs in the order of their names, or all of them.

    Blobs of the target are never among them, so `newest` of the same prefix are those right before the target.
    """

    container: DataContainer
    prefix: BlobPrefix
    pattern: BlobPattern = "*.parquet"
    newest: Count | None = Field(default=None, le=MAX_BLOBS)
    oldest: Count | None = Field(default=None, le=MAX_BLOBS)

    @field_validator("oldest")
    @classmethod
    def _from_one_end(cls, oldest: int | None, info: ValidationInfo) -> int | None:
        if oldest is not None and info.data.get("newest") is not None:
            raise refusal("has both `newest` and `oldest`", allowed="one of them, or none: all", above=True)
        return oldest


class Target(Spec):
    """What may have drifted: the newest blobs in the order of their names."""

    container: DataContainer
    prefix: BlobPrefix
    pattern: BlobPattern = "*.parquet"
    newest: Count = Field(le=MAX_BLOBS)


class DriftMonitor(Spec):
    """Measure how far the newest data have moved from a reference, and report it as an event.

    The Retraining workloads whose `trigger.monitor` is this name decide about it. `threshold`: from there on it is a
    breach, where they have none of their own. `features`: absent, every column that both sides have.
    """

    kind: Literal["DriftMonitor"] = "DriftMonitor"
    name: WorkloadName
    schedule: Schedule | None = None
    reference: Reference
    target: Target
    features: tuple[PlainName, ...] | None = Field(default=None, min_length=1, max_length=100)
    metric: Metric = "psi"
    threshold: float = Field(strict=True, gt=0)
    compute: Compute
    limits: Limits = Field(default_factory=Limits)

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if features is not None and len(set(features)) != len(features):
            raise refusal("names a feature twice", allowed="each feature once")
        return features

    @field_validator("threshold")
    @classmethod
    def _can_be_reached(cls, threshold: float, info: ValidationInfo) -> float:
        metric = info.data.get("metric", "psi")
        if metric != "psi" and threshold > 1:
            raise refusal(f"{threshold:g} is never reached: {metric} is at most 1", allowed="0 to 1")
        return threshold

    @field_validator("compute")
    @classmethod
    def _one_machine(cls, compute: Compute) -> Compute:
        if compute.instances != 1:
            raise refusal("drift is measured on one machine", hint="Remove `instances`")
        return compute


class DriftRequest(Wire):
    """Measure `workload`'s drift once."""

    run: str
    slot: str
    workload: DriftMonitor
    started_by: str
    reason: str = ""


class Comparison(Wire):
    """What is compared with what: both sides fixed by (blob, etag, size) in `manifest`."""

    manifest: BlobRef
    reference_blobs: int = 0
    target_blobs: int = 0

    @property
    def missing(self) -> str:
        """The sides that are empty, "" if none is."""
        sides = {"reference": self.reference_blobs, "target": self.target_blobs}
        return " and ".join(side for side, blobs in sides.items() if not blobs)


class MeasureRequest(Wire):
    """Measure a run's frozen comparison on the first of `offers` that can be had."""

    request: DriftRequest
    comparison: Comparison
    offers: tuple[Offer, ...]

    @property
    def instance_id(self) -> str:
        return measure_instance_id(self.request.run)


def measure_instance_id(run: str) -> str:
    return f"{run}.drift"


class MeasureOutcome(Wire):
    """How the machine's part ended. What was measured is in the run's drift.json."""

    charges: tuple[Charge, ...] = ()
    remains: tuple[str, ...] = ()
    failure: Failure | None = None


class DriftJobRequest(Wire):
    """Write the job of an epoch. No job when the run's result is there already."""

    measure: MeasureRequest
    epoch: int
    attempt: int = 1


class FeatureDrift(Wire):
    """One feature's distances. None: it has no such metric (`ks` is of numbers alone) or could not be measured."""

    name: str
    psi: FiniteFloat | None = None
    ks: FiniteFloat | None = None
    js: FiniteFloat | None = None
    error: str = ""
    rows_reference: int = 0
    rows_target: int = 0

    def value(self, metric: Metric) -> float | None:
        return {"psi": self.psi, "ks": self.ks, "jensenShannon": self.js}[metric]


class Measurement(Wire):
    """What was measured: the worst feature's metric counts. `features`: the worst, a bounded number, worst first."""

    coefficient: float
    feature: str
    measured: int
    without: int = 0  # features that have no such metric, or could not be measured
    features: tuple[FeatureDrift, ...] = ()
    rows_reference: int = 0
    rows_target: int = 0


def judge_features(found: tuple[FeatureDrift, ...], monitor: DriftMonitor) -> Measurement:
    """The measurement by the monitor's metric. Raises JobFailed when there is none, or a declared feature has none."""
    values = {each.name: value for each in found if (value := each.value(monitor.metric)) is not None}
    if gaps := [name for name in monitor.features or () if name not in values]:
        errors = {each.name: each.error for each in found}
        why = errors.get(gaps[0]) or "ks is of numbers alone"
        raise JobFailed(
            f"{', '.join(gaps[:5])}: declared under features, and without {monitor.metric}: {why}"
        )
    if not values:
        raise JobFailed(f"none of {len(found)} common columns has {monitor.metric}: nothing was measured")
    ranked = sorted(found, key=lambda each: (-values.get(each.name, -1.0), each.name))
    worst = ranked[0]
    return Measurement(
        coefficient=values[worst.name],
        feature=worst.name,
        measured=len(values),
        without=len(found) - len(values),
        features=tuple(_short(each) for each in ranked[:SHOWN]),
        rows_reference=worst.rows_reference,
        rows_target=worst.rows_target,
    )


def _short(feature: FeatureDrift) -> FeatureDrift:
    """For a history, which takes 16 KB at a time."""
    return feature.model_copy(update={"name": feature.name[:128], "error": feature.error[:200]})


class DriftReport(Wire):
    """Put a measurement on record as an event that happened `at`."""

    request: DriftRequest
    measurement: Measurement
    at: datetime


class Reported(Wire):
    """The event's key in the ledger."""

    key: str


def drift_event(report: DriftReport) -> MlEvent:
    """The fact of a measurement: one for each run, whether it is a breach or not, so that drift can be seen to end."""
    monitor, measured = report.request.workload, report.measurement
    return MlEvent(
        kind=EventKind.DRIFT,
        source=SOURCE,
        subject=f"runs/{report.request.run}",
        run=report.request.run,
        monitor=monitor.name,
        message=told(monitor, measured),
        coefficient=measured.coefficient,
        threshold=monitor.threshold,
        caused_by=report.request.run,
        occurred=report.at,
        event_id=report.request.run,
    )


def is_breach(monitor: DriftMonitor, measured: Measurement) -> bool:
    return measured.coefficient >= monitor.threshold


def told(monitor: DriftMonitor, measured: Measurement) -> str:
    """`psi of month is 0.41 and reaches the threshold 0.25`."""
    relation = "and reaches" if is_breach(monitor, measured) else "under"
    return (
        f"{monitor.metric} of {measured.feature[:128]} is {measured.coefficient:.4g} {relation} "
        f"the threshold {monitor.threshold:g}"
    )


class DriftState(StrEnum):
    COMPLETED = "Completed"  # measured and reported, a breach or not
    NOTHING_TO_COMPARE = "NothingToCompare"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class DriftOutcome(Wire):
    """How a run ended, for the record and for the user. `event` is the key of what it reported."""

    run: str
    workload: str
    slot: str
    state: DriftState
    reason: str = ""
    metric: str = ""
    threshold: float = 0.0
    breached: bool | None = None
    measurement: Measurement | None = None
    event: str = ""
    comparison: Comparison | None = None
    usd: float = 0.0
    charges: tuple[Charge, ...] = ()
    offers: tuple[str, ...] = ()
    teardown: str = "Clean"
    remains: tuple[str, ...] = ()
    audit_head: str = ""
    started: datetime | None = None
    ended: datetime | None = None
