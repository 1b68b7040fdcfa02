"""A child of an Azure ML sweep: which trial it is, and with which parameters, is Azure ML's to say.

A child is called `{sweep}_{number}` (AZUREML_RUN_ID). What was drawn for it is in AZUREML_SWEEP_<parameter>
(azure-ai-ml, SweepJob), or else where Azure ML filled in its command: a line `name=value` each in MUSTER_DRAWN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from node.errors import JobSpecError
from node.fields import ID, Fields, full_list, matching, one_of, short_text
from node.train_job import Scalar, TrainJob, Trial, parameters

DRAWN = "MUSTER_DRAWN"
NUMBER, WHOLE = "number", "whole"

type Values = str | tuple[Scalar, ...]  # NUMBER, WHOLE, or the values there are to choose from


@dataclass(frozen=True)
class Slot:
    """A trial to be filled by a child: by the one with these parameters, or where it has none, by its number."""

    id: str
    parameters: dict[str, Scalar]


@dataclass(frozen=True)
class Sweep:
    """`metric` is what Azure ML compares the children by."""

    name: str
    metric: str
    slots: tuple[Slot, ...]
    space: dict[str, Values]


def parse_sweep(raw: object) -> Sweep:
    fields = Fields(raw, "job.sweep")
    slots = fields.take("trials", full_list)
    return Sweep(
        name=fields.take("name", matching(ID)),
        metric=fields.take("metric", short_text),
        slots=tuple(_slot(slot, f"job.sweep.trials[{n}]") for n, slot in enumerate(slots)),
        space=fields.take("space", _space),
    )


def as_child(job: TrainJob, sweep: Sweep, environment: Mapping[str, str]) -> TrainJob:
    """The job that this child of the sweep has to do. Raises JobSpecError if it is none of its children."""
    run = environment.get("AZUREML_RUN_ID", "")
    number = run.removeprefix(f"{sweep.name}_")
    if number == run or not number.isdigit():
        raise JobSpecError(f"run {run!r} is no child of sweep {sweep.name}")
    drawn = _drawn(sweep.space, environment)
    slot = _slot_of(sweep, int(number), drawn)
    return replace(
        job,
        head=replace(job.head, job=f"{job.head.job}_{number}"),
        trials=(Trial(slot.id),),
        parameters=drawn,
        metric=sweep.metric,
        azure_run=run,
    )


def _slot_of(sweep: Sweep, number: int, drawn: dict[str, Scalar]) -> Slot:
    for slot in sweep.slots:
        if slot.parameters and slot.parameters == drawn:
            return slot
    if number >= len(sweep.slots) or sweep.slots[number].parameters:
        raise JobSpecError(
            f"child {number} with {drawn} is none of the {len(sweep.slots)} trials of the sweep"
        )
    return sweep.slots[number]


def _drawn(space: Mapping[str, Values], environment: Mapping[str, str]) -> dict[str, Scalar]:
    filled = dict(line.split("=", 1) for line in environment.get(DRAWN, "").splitlines() if "=" in line)
    drawn: dict[str, Scalar] = {}
    for name, values in space.items():
        text = environment.get(f"AZUREML_SWEEP_{name}", filled.get(name))
        if text is None:
            raise JobSpecError(f"no value was drawn for {name}")
        drawn[name] = _value(name, text, values)
    return drawn


def _value(name: str, text: str, values: Values) -> Scalar:
    """`text` as what was declared: a choice keeps its type, and 4.0 of whole steps is 4."""
    if not isinstance(values, str):
        for choice in values:
            if text == _word(choice):
                return choice
        for choice in values:
            if not isinstance(choice, bool | str) and _number(text) == choice:
                return choice
        raise JobSpecError(f"{name}: {text!r} was drawn and is none of the declared values")
    number = _number(text)
    if number is None:
        raise JobSpecError(f"{name}: {text!r} was drawn and is no number")
    return int(number) if values == WHOLE and number.is_integer() else number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _slot(raw: object, path: str) -> Slot:
    fields = Fields(raw, path)
    return Slot(fields.take("id", matching(ID)), fields.take("parameters", parameters, default={}))


def _space(raw: object, path: str) -> dict[str, Values]:
    if not isinstance(raw, dict):
        raise JobSpecError(f"{path}: an object is expected")
    parameters(dict.fromkeys(raw, 0), path)  # for the names
    space: dict[str, Values] = {}
    for name, values in raw.items():
        if isinstance(values, str):
            space[name] = one_of(NUMBER, WHOLE)(values, f"{path}.{name}")
        else:
            choices = full_list(values, f"{path}.{name}")
            space[name] = tuple(parameters({name: each}, path)[name] for each in choices)
    return space
