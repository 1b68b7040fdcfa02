"""The job that judges the models of many units: each unit's challenger, and its champion where it has one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node.errors import JobSpecError, ModelLoadError
from node.evaluate_job import Judged, Rules, judged, rules
from node.fields import (
    ID,
    Fields,
    anything,
    between,
    full_list,
    matching,
    short_text,
)
from node.frozen import BlobSource, blob_source
from node.job import Head, parse_head
from node.models import parse_card

SCHEMA = "muster.evaluate-units-job/1"
Contract = Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """`models` by role, and for a model whose card is not beside its file the name of its contract."""

    id: str
    value: str
    models: Mapping[str, Judged]
    contracts: Mapping[str, str]


@dataclass(frozen=True)
class UnitsJob:
    """`chunk`: under which number the findings are kept. `timeout_s`: of each model's predicting."""

    head: Head
    chunk: int
    data: BlobSource
    label: str
    column: str
    units: tuple[Unit, ...]
    contracts: Mapping[str, Contract]
    rules: Rules
    timeout_s: int
    workers: int


def parse_units_job(raw: bytes, account_url: str) -> UnitsJob:
    """The job in `raw`. Raises JobSpecError with the path of the first thing that is wrong."""
    head, fields = parse_head(raw, SCHEMA, account_url)
    contracts = fields.take("contracts", _contracts, default={})
    units = tuple(
        _unit(one, f"job.units[{n}]", contracts) for n, one in enumerate(fields.take("units", full_list))
    )
    for what in ({unit.id for unit in units}, {unit.value for unit in units}):
        if len(what) != len(units):
            raise JobSpecError("job.units: two have the same id or value")
    return UnitsJob(
        head=head,
        chunk=fields.take("chunk", between(0, 10**6)),
        data=fields.take("data", blob_source),
        label=fields.take("label", short_text),
        column=fields.take("column", short_text),
        units=units,
        contracts=contracts,
        rules=rules(fields),
        timeout_s=fields.take("timeout_s", between(1, 7 * 24 * 3600)),
        workers=fields.take("workers", between(1, 256), default=1),
    )


def _unit(raw: object, path: str, contracts: Mapping[str, Contract]) -> Unit:
    fields = Fields(raw, path)
    models, named = dict[str, Judged](), dict[str, str]()
    for n, one in enumerate(fields.take("models", full_list)):
        model = judged(one, f"{path}.models[{n}]")
        if model.role in models:
            raise JobSpecError(f"{path}.models: two have the same role")
        models[model.role] = model
        if contract := Fields(one, f"{path}.models[{n}]").take("contract", short_text, default=""):
            if contract not in contracts:
                raise JobSpecError(f"{path}.models[{n}].contract: {contract!r} is not among job.contracts")
            named[model.role] = contract
    return Unit(fields.take("id", matching(ID)), fields.take("value", short_text), models, named)


def _contracts(raw: object, path: str) -> dict[str, Contract]:
    fields = anything(raw, path)
    if not isinstance(fields, dict):
        raise JobSpecError(f"{path}: an object is expected")
    return {str(name): check_contract(one, f"{path}.{name}") for name, one in fields.items()}


def check_contract(raw: object, path: str) -> Contract:
    """What a model takes and gives, as its card has it. Raises JobSpecError."""
    if not isinstance(raw, dict):
        raise JobSpecError(f"{path}: an object is expected")
    card = {
        "name": "unit",
        "version": "0",
        "flavor": "sklearn",
        "file": "model.joblib",
        "sha256": "0" * 64,
        **raw,
    }
    try:
        parse_card(json.dumps(card).encode())
    except ModelLoadError as error:
        raise JobSpecError(f"{path}: {error}") from error
    return {name: raw[name] for name in ("inputs", "output", "keys") if name in raw}
