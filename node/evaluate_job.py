"""The evaluation job: which models are judged on which frozen rows, and how. Believed only after checks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from node.errors import JobSpecError
from node.fields import (
    SHA256,
    Fields,
    a_list,
    between,
    blob_name,
    container_name,
    full_list,
    matching,
    one_of,
    short_text,
)
from node.frozen import BlobSource, blob_source
from node.job import Head, parse_head

SCHEMA = "muster.evaluate-job/1"
ROLES = ("champion", "challenger")
METRICS = ("auc", "logLoss", "accuracy", "brier", "rmse", "mae", "r2")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Judged:
    """A model and the part it plays."""

    role: str
    name: str
    version: str
    container: str
    prefix: str
    file: str
    sha256: str
    flavor: str


@dataclass(frozen=True)
class Rules:
    """How models are compared. `slices`: columns by whose values the first metric is told as well."""

    metrics: tuple[str, ...]
    slices: tuple[str, ...]
    confidence: float
    bootstrap: int
    seed: int


@dataclass(frozen=True)
class EvaluateJob:
    """`timeout_s`: of each model's predicting."""

    head: Head
    data: BlobSource
    label: str
    models: tuple[Judged, ...]
    rules: Rules
    timeout_s: int


def parse_evaluate_job(raw: bytes, account_url: str) -> EvaluateJob:
    """The job in `raw`. Raises JobSpecError with the path of the first thing that is wrong."""
    head, fields = parse_head(raw, SCHEMA, account_url)
    models = tuple(judged(one, f"job.models[{n}]") for n, one in enumerate(fields.take("models", full_list)))
    if len({model.role for model in models}) != len(models):
        raise JobSpecError("job.models: two have the same role")
    return EvaluateJob(
        head=head,
        data=fields.take("data", blob_source),
        label=fields.take("label", short_text),
        models=models,
        rules=rules(fields),
        timeout_s=fields.take("timeout_s", between(1, 24 * 3600), default=1800),
    )


def judged(raw: object, path: str) -> Judged:
    fields = Fields(raw, path)
    return Judged(
        role=fields.take("role", one_of(*ROLES)),
        name=fields.take("name", short_text),
        version=fields.take("version", short_text),
        container=fields.take("container", container_name),
        prefix=fields.take("prefix", blob_name),
        file=fields.take("file", matching(_FILE)),
        sha256=fields.take("sha256", matching(SHA256)),
        flavor=fields.take("flavor", short_text),
    )


def rules(fields: Fields) -> Rules:
    """The rules among the fields of a job, of one evaluation or of many units'. Raises JobSpecError."""
    return Rules(
        metrics=_texts(fields.take("metrics", full_list), "job.metrics", METRICS),
        slices=_texts(fields.take("slices", a_list, default=[]), "job.slices", None),
        confidence=fields.take("confidence", _share, default=0.95),
        bootstrap=fields.take("bootstrap", between(100, 100_000), default=1000),
        seed=fields.take("seed", between(0, 2**31), default=0),
    )


def _texts(raw: list[object], path: str, allowed: tuple[str, ...] | None) -> tuple[str, ...]:
    check = one_of(*allowed) if allowed else short_text
    return tuple(dict.fromkeys(check(one, f"{path}[{n}]") for n, one in enumerate(raw)))


def _share(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value < 1:
        raise JobSpecError(f"{path}: a number from 0.5 to below 1 is expected")
    return float(value)
