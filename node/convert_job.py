"""The conversion job: which model, compared on which rows. Believed only after checks."""

from __future__ import annotations

from dataclasses import dataclass

from node.errors import JobSpecError
from node.fields import between, full_list, one_of
from node.frozen import items_of
from node.job import Head, Item, ModelSource, model_source, parse_head

SCHEMA = "muster.convert-job/1"


@dataclass(frozen=True)
class ConvertJob:
    """`rows`: so many are compared at most. `threshold`: a probability above it is the other label."""

    head: Head
    model: ModelSource
    to: str
    opset: int
    sample: tuple[Item, ...]
    rows: int
    threshold: float
    timeout_s: int


def parse_convert_job(raw: bytes, account_url: str) -> ConvertJob:
    """The job in `raw`. Raises JobSpecError with the path of the first thing that is wrong."""
    head, fields = parse_head(raw, SCHEMA, account_url)
    return ConvertJob(
        head=head,
        model=fields.take("model", model_source),
        to=fields.take("to", one_of("onnx")),
        opset=fields.take("opset", between(1, 100)),
        sample=items_of(fields.take("sample", full_list), "job.sample"),
        rows=fields.take("rows", between(1, 10_000_000)),
        threshold=fields.take("threshold", _share),
        timeout_s=fields.take("timeout_s", between(1, 24 * 3600)),
    )


def _share(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise JobSpecError(f"{path}: a number between 0 and 1 is expected")
    return float(value)
