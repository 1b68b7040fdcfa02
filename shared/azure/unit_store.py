"""The blobs of a model per unit: what a run leaves of its units, and the index of a version. No model is opened here."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from shared.azure import blob, ledger
from shared.azure.model_store import CONTAINER
from shared.config import settings
from shared.domain.errors import ConflictError, NotFoundError, SpecError
from shared.domain.jobs import BlobRef
from shared.domain.registry import ModelRef
from shared.domain.units import (
    UNITS,
    Contract,
    NextVersion,
    UnitLook,
    UnitRow,
    UnitsIndex,
    UnitSource,
    unit_blob,
)

AT_ONCE = 16  # requests of one activity under way


def evaluation_path(run: str, index: int) -> str:
    return f"runs/{run}/units/evaluations/{index:05d}.json"


def read_index(model: ModelRef | None) -> UnitsIndex | None:
    """What a version of units holds; None without a version. Raises SpecError if it is another kind of model."""
    if model is None:
        return None
    if model.flavor != UNITS:
        raise SpecError(
            f"{model} is one model for all, of flavor {model.flavor}; trials.unitColumn trains a model for each unit: "
            "give those a model.name of their own"
        )
    data = blob.read(model.container, model.prefix + model.file)
    try:
        return UnitsIndex.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise SpecError(f"{model.container}/{model.prefix}{model.file}: {where}: {fault['msg']}") from error


def read_looks(run: str, jobs: int) -> tuple[dict[str, UnitLook], dict[str, Contract]]:
    """What the judging jobs found, by trial, and what the challengers take and give."""
    with ThreadPoolExecutor(AT_ONCE) as readers:
        found = list(readers.map(lambda index: ledger.read(evaluation_path(run, index)), range(jobs)))
    looks, contracts = dict[str, UnitLook](), dict[str, Contract]()
    for document in found:
        if document is None:
            continue
        for each in document["units"]:
            looks[each["id"]] = UnitLook.model_validate({**(each.get("model") or {}), **each})
        contracts |= {name: Contract.model_validate(one) for name, one in document["contracts"].items()}
    return looks, contracts


def write_table(run: str, rows: Iterable[UnitRow]) -> BlobRef:
    """A line for each unit, as JSON lines: what became of it, and why."""
    path = f"runs/{run}/units/table.jsonl"
    data = b"".join(row.model_dump_json(exclude_defaults=True).encode() + b"\n" for row in rows)
    blob.create_only(settings().state_container, path, data)
    return BlobRef(container=settings().state_container, blob=path)


def write_next(run: str, version: NextVersion) -> BlobRef:
    path = f"runs/{run}/units/next.json"
    ledger.claim(path, version)
    return BlobRef(container=settings().state_container, blob=path)


def read_next(place: BlobRef) -> NextVersion:
    found = ledger.read(place.blob)
    if found is None:
        raise NotFoundError(f"{place.blob} is gone; it was written by this run", code="BlobNotFound")
    return NextVersion.model_validate(found)


def copy_models(prefix: str, sources: Iterable[UnitSource]) -> None:
    """Put each model under `prefix`. Safe to repeat: what is there is left, and is checked when all are."""

    def copy(source: UnitSource) -> None:
        target = unit_blob(prefix, source.model)
        if (source.container, source.blob) != (CONTAINER, target):
            blob.copy_only(CONTAINER, target, source_container=source.container, source=source.blob)

    with ThreadPoolExecutor(AT_ONCE) as copiers:
        list(copiers.map(copy, sources))


def check_models(prefix: str, index: UnitsIndex) -> None:
    """Raises ConflictError unless each unit's model is in its place with its size; who loads it checks its digest."""
    there = {found.name: found.size for found in blob.list_blobs(CONTAINER, f"{prefix.rstrip('/')}/units/")}
    wanted = {unit_blob(prefix, model): model.size for model in index.units}
    wrong = [name for name, size in wanted.items() if there.get(name) != size]
    if wrong or len(there) != len(wanted):
        unknown = sorted(set(there) - set(wanted))
        raise ConflictError(
            f"{CONTAINER}/{prefix} does not hold what its index names: {len(wrong)} models are missing or differ in "
            f"size, {len(unknown)} are unknown; {(wrong or unknown)[:3]}",
            code="UnitsIncomplete",
        )


def encoded(index: UnitsIndex) -> bytes:
    return ledger.encode(index)
