"""Conversion of a model to ONNX before it is served: the declaration, what a machine found, and the parity gate."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator

from shared.domain.fields import BlobPattern, BlobPrefix, refusal
from shared.domain.registry import ModelRef
from shared.domain.sections import Compute, Count, DataContainer, Limits, Spec
from shared.domain.times import Deadline
from shared.domain.wire import Wire

MAX_ROWS = 100_000
MAX_BLOBS = 100
OLDEST_OPSET, NEWEST_OPSET = 15, 22  # skl2onnx 1.20 is tested up to 22
DIGITS = 12  # of a converted file's digest in the name of its version

Difference = Annotated[float, Field(strict=True, ge=0, le=1_000_000)]


class ParitySample(Spec):
    """What both models are asked: the newest blobs in the order of their names, fixed by etag when a run freezes them."""

    container: DataContainer
    prefix: BlobPrefix
    pattern: BlobPattern = "*.parquet"
    newest: Count = Field(default=1, le=MAX_BLOBS)


class Parity(Spec):
    """How like the original the converted model must answer.

    `rows`: so many of the sample's rows are compared, spread over all of them; `min_rows`: fewer are too few.
    `max_label_flips`: rows of a classifier that come to lie on the other side of `threshold`.
    """

    sample: ParitySample
    rows: Count = Field(default=5000, le=MAX_ROWS)
    min_rows: Count = Field(default=100, le=MAX_ROWS)
    max_abs_difference: Difference = 1e-4
    max_label_flips: int = Field(default=0, strict=True, ge=0, le=MAX_ROWS)
    threshold: float = Field(default=0.5, strict=True, gt=0, lt=1)

    @field_validator("min_rows")
    @classmethod
    def _can_be_had(cls, least: int, info: ValidationInfo) -> int:
        rows = info.data.get("rows")
        if rows is not None and least > rows:
            raise refusal(f"{least} is more than parity.rows, {rows}", allowed=f"1 to {rows}")
        return least


class ConversionLimits(Limits):
    """Of the conversion alone. A deployment's own deadline leaves room for this one."""

    deadline: Deadline = timedelta(hours=1)


class Conversion(Spec):
    """Convert the model on a machine of its own, and serve the result if it answers like the original.

    `opset`: of ONNX's own operators, at most; a graph that needs less says less. `on_failure`: what becomes of the
    deployment if the model cannot be converted or answers differently.
    """

    to: Literal["onnx"] = "onnx"
    opset: int = Field(default=21, strict=True, ge=OLDEST_OPSET, le=NEWEST_OPSET)
    parity: Parity
    compute: Compute
    limits: ConversionLimits = Field(default_factory=ConversionLimits)
    on_failure: Literal["fail", "serve-original"] = "fail"

    @field_validator("compute")
    @classmethod
    def _one_machine(cls, compute: Compute) -> Compute:
        if compute.instances != 1:
            raise refusal("a model is converted on one machine", hint="Remove `instances`")
        return compute

    def key(self, model: ModelRef, tools: str) -> str:
        """What a record can be used again for: the same bytes, converted and asked alike by the same libraries.

        Tolerances are not in it: they are held against the record's numbers each time.
        """
        asked = self.parity.model_dump(mode="json", include={"sample", "rows", "threshold"})
        told = {"model": model.sha256, "to": self.to, "opset": self.opset, "parity": asked, "tools": tools}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class ConvertedFile(Wire):
    """The converted model, in the state container."""

    blob: str = Field(max_length=1024)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)


class Latency(Wire):
    """Of one thread, both models in one process: the median of single rows, and a batch."""

    single_ms: FiniteFloat = Field(ge=0)
    batch_ms: FiniteFloat = Field(ge=0)


class ConversionRecord(Wire):
    """What the machine found. `error`: why there is no converted model, or none that answers. Written once.

    `label_flips` is None of a model that gives no probabilities. `opsets`: by domain, "" being ONNX's own.
    """

    to: str
    model_sha256: str
    error: str = Field(default="", max_length=2000)
    file: ConvertedFile | None = None
    rows: int = Field(default=0, ge=0)
    rows_left_out: int = Field(default=0, ge=0)
    max_abs_difference: FiniteFloat | None = None
    mean_abs_difference: FiniteFloat | None = None
    label_flips: int | None = None
    not_finite: int = Field(default=0, ge=0)
    threshold: float = 0.5
    size_before: int = 0
    original: Latency | None = None
    converted: Latency | None = None
    batch_rows: int = 0
    precision: str = Field(default="", max_length=20)
    opsets: dict[str, int] = {}
    versions: dict[str, str] = {}


class ParityRow(Wire):
    """One rule of the gate: what was found, what was allowed."""

    rule: str
    value: str
    limit: str
    ok: bool


class ParityVerdict(Wire):
    """`ok` only if every rule is met; then the converted model may be served in the original's place."""

    ok: bool
    reason: str = ""
    rows: tuple[ParityRow, ...] = ()


def judge_parity(record: ConversionRecord, parity: Parity) -> ParityVerdict:
    """Whether the converted model answers like the original. What was not measured has not passed."""
    if record.error or record.file is None:
        return ParityVerdict(ok=False, reason=record.error or "the record names no converted model")
    worst = record.max_abs_difference
    rows = [
        ParityRow(
            rule="rows compared", value=f"{record.rows}", limit=f"at least {parity.min_rows}",
            ok=record.rows >= parity.min_rows,
        ),
        ParityRow(
            rule="answers that are no finite number", value=f"{record.not_finite}", limit="none",
            ok=record.not_finite == 0,
        ),
        ParityRow(
            rule="largest difference", value="not measured" if worst is None else f"{worst:.3g}",
            limit=f"at most {parity.max_abs_difference:g}",
            ok=worst is not None and worst <= parity.max_abs_difference,
        ),
    ]  # fmt: skip
    if record.label_flips is not None:
        rows.append(
            ParityRow(
                rule=f"labels flipped at {record.threshold:g}", value=f"{record.label_flips}",
                limit=f"at most {parity.max_label_flips}", ok=record.label_flips <= parity.max_label_flips,
            )
        )  # fmt: skip
    failed = [f"{row.rule}: {row.value}, {row.limit} allowed" for row in rows if not row.ok]
    return ParityVerdict(ok=not failed, reason="; ".join(failed), rows=tuple(rows))


class ConversionReport(Wire):
    """What a deployment's conversion came to. `served`: the version that goes on. `reused`: by an earlier record."""

    served: str
    sha256: str
    converted: bool
    reused: bool = False
    reason: str = ""
    record: str = ""  # path of the record in the state container
    verdict: ParityVerdict | None = None
    found: ConversionRecord | None = None
    usd: float = 0.0

    @property
    def lines(self) -> tuple[str, ...]:
        """For a person: what is served, by which numbers."""
        if not self.converted:
            return (f"conversion: {self.served} is not converted: {self.reason}"[:200],)
        again = ", by an earlier record" if self.reused else ""
        told = [f"conversion: {self.served} takes the original's place{again}, ${self.usd:.4f}"]
        found = self.found
        if found and found.max_abs_difference is not None and found.file:
            told.append(
                f"parity: {found.rows} rows, at most {found.max_abs_difference:.3g} apart, "
                f"{found.label_flips or 0} labels flipped; {found.size_before} to {found.file.size} bytes"
            )
        if found and found.original and found.converted:
            told.append(
                f"latency of one row {found.original.single_ms:.2f} to {found.converted.single_ms:.2f} ms, "
                f"of {found.batch_rows} rows {found.original.batch_ms:.1f} to {found.converted.batch_ms:.1f} ms"
            )
        return tuple(line[:200] for line in told)


def converted_version(version: str, sha256: str) -> str:
    """`converted_version("19", "ab12cd34ef56...") -> "19-onnx-ab12cd34ef56"`: the same model's version by its bytes."""
    return f"{version}-onnx-{sha256[:DIGITS]}"


def original_version(version: str) -> str:
    """`original_version("19-onnx-ab12cd34ef56") -> "19"`; a version that is no conversion is its own original."""
    return re.sub(rf"-onnx-[0-9a-f]{{{DIGITS}}}$", "", version)
