"""The training job: one trial, or many units of which each gets a model of its own. Believed only after checks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from node.errors import JobSpecError
from node.fields import (
    ID,
    SHA256,
    Fields,
    anything,
    between,
    blob_name,
    container_name,
    full_list,
    matching,
    short_text,
)
from node.frozen import BlobSource, blob_source
from node.job import Head, parse_head

SCHEMA = "muster.train-job/1"
Scalar = float | int | str | bool
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_OURS = frozenset({"data", "label", "out", "checkpoint"})
_DAY_S = 24 * 3600


@dataclass(frozen=True)
class TrainingCode:
    source: BlobSource
    entry: str


@dataclass(frozen=True)
class Trial:
    """`unit`: the one value of the job's unit column whose rows this trial sees; None where it sees all."""

    id: str
    unit: str | None = None


@dataclass(frozen=True)
class TrainJob:
    """`workers`: trials at once on this machine.

    `sweep`, as given: which trial this is, is for Azure ML to say (node/sweep.py); `azure_run` is then that child's name
    and `metric` what Azure ML compares it by.
    """

    head: Head
    trials: tuple[Trial, ...]
    unit_column: str | None
    parameters: dict[str, Scalar]
    data: BlobSource
    code: TrainingCode
    timeout_s: int
    workers: int
    sweep: object = None
    metric: str = ""
    azure_run: str = ""


def parse_train_job(raw: bytes, account_url: str) -> TrainJob:
    """The job in `raw`. Raises JobSpecError with the path of the first thing that is wrong."""
    head, fields = parse_head(raw, SCHEMA, account_url)
    sweep = fields.take("sweep", anything, default=None)
    column, trials = _trials(fields) if sweep is None else (None, ())
    return TrainJob(
        head=head,
        trials=trials,
        unit_column=column,
        parameters=fields.take("parameters", parameters, default={}),
        data=fields.take("data", blob_source),
        code=fields.take("code", _code),
        timeout_s=fields.take("timeout_s", between(1, 7 * _DAY_S)),
        workers=fields.take("workers", between(1, 256), default=1),
        sweep=sweep,
    )


def _trials(fields: Fields) -> tuple[str | None, tuple[Trial, ...]]:
    """(unit column, trials): `units` of `unitColumn`, or one `trial` with or without its `unit`."""
    units = fields.take("units", full_list, default=None)
    if units is not None:
        column = fields.take("unitColumn", short_text)
        trials = tuple(_unit(raw, f"job.units[{n}]") for n, raw in enumerate(units))
        if len({trial.id for trial in trials}) != len(trials):
            raise JobSpecError("job.units: two have the same id")
        return column, trials
    name = fields.take("trial", matching(ID))
    if (unit := fields.take("unit", anything, default=None)) is None:
        return None, (Trial(name),)
    one = Fields(unit, "job.unit")
    return one.take("column", short_text), (Trial(name, one.take("value", _value)),)


def _unit(raw: object, path: str) -> Trial:
    fields = Fields(raw, path)
    return Trial(fields.take("id", matching(ID)), fields.take("value", _value))


def _value(value: object, path: str) -> str:
    """Units are compared as text: 7 and "7" are the same unit."""
    return short_text(str(value) if isinstance(value, int) and not isinstance(value, bool) else value, path)


def _code(raw: object, path: str) -> TrainingCode:
    fields = Fields(raw, path)
    source = BlobSource(
        fields.take("container", container_name),
        fields.take("blob", blob_name),
        fields.take("sha256", matching(SHA256)),
    )
    return TrainingCode(source, fields.take("entry", blob_name))


def parameters(raw: object, path: str) -> dict[str, Scalar]:
    if not isinstance(raw, dict):
        raise JobSpecError(f"{path}: an object is expected")
    for name, value in raw.items():
        if not _NAME.fullmatch(name) or name in _OURS:
            raise JobSpecError(f"{path}: {name!r} cannot be the name of a parameter")
        if not isinstance(value, bool | int | float | str) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise JobSpecError(f"{path}.{name}: a number, a text, true or false is expected")
    return dict(raw)
