"""Converted models in the store of record: a version beside the original. Files are copied, never opened."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from shared.azure import blob, ledger, ml_registry, model_store
from shared.config import settings
from shared.domain.conversion import ConversionRecord, converted_version
from shared.domain.errors import ConflictError
from shared.domain.ml_events import OWN
from shared.domain.registry import ModelRef

FILE = "model.onnx"
GOLDEN = "golden.jsonl"


def store(original: ModelRef, run: str, found: ConversionRecord, *, record: str) -> tuple[ModelRef, str]:
    """Make the converted file of `found` a version, whole: file, card, golden answers, lineage, Azure ML's version.

    Gives it and its id in Azure ML, "" where there is no workspace. Safe to repeat: each is written once. Raises
    ConflictError if the file is not the one that the record promised.
    """
    assert found.file is not None
    data = blob.read(settings().state_container, found.file.blob)
    if (sha256 := hashlib.sha256(data).hexdigest()) != found.file.sha256 or len(data) != found.file.size:
        raise ConflictError(f"{found.file.blob} is not the file that {record} promises", code="ModelChanged")
    version = converted_version(original.version, sha256)
    model = ModelRef(
        name=original.name, version=version, flavor="onnx", container=model_store.CONTAINER,
        prefix=f"{original.name}/{version}/", file=FILE, sha256=sha256,
    )  # fmt: skip
    lineage = _first(model, model_store.LINEAGE, _lineage(original, model, run, found, record))
    model_store.write_once(model.prefix + FILE, data)
    for name, content in _golden(original).items():
        model_store.write_once(model.prefix + name, content)
    _first(model, model_store.CARD, _card(original, model, len(data), record))  # makes the version whole
    asset = ml_registry.register_version(
        model.name, version, container=model.container, prefix=model.prefix, tags=_tags(lineage),
        description=f"{original} as ONNX, converted for {run}",
    )  # fmt: skip
    return model, asset


def _first(model: ModelRef, name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Write it unless it is there: another record may have come to the same bytes, and the first one's word stands."""
    blob.create_only(model.container, model.prefix + name, ledger.encode(content))
    found: dict[str, Any] = json.loads(blob.read(model.container, model.prefix + name))
    if found.get("sha256") != model.sha256:
        raise ConflictError(f"{model.prefix}{name} is of another file", code="VersionTaken")
    return found


def _lineage(
    original: ModelRef, model: ModelRef, run: str, found: ConversionRecord, record: str
) -> dict[str, Any]:
    """What it was converted from, with what, and by which record."""
    return {
        "run": run,
        "sha256": model.sha256,
        "convertedFrom": {
            "name": original.name, "version": original.version, "flavor": original.flavor,
            "sha256": original.sha256,
        },
        "record": record,
        "opsets": found.opsets,
        "versions": found.versions,
    }  # fmt: skip


def _card(original: ModelRef, model: ModelRef, size: int, record: str) -> dict[str, Any]:
    """The original's card: inputs, output and keys are the same."""
    card = model_store.read_card({"container": original.container, "prefix": original.prefix})
    new = {"version": model.version, "flavor": "onnx", "file": FILE, "sha256": model.sha256, "size": size}
    return {**card, **new, "converted": {"from": str(original), "record": record}}


def _golden(original: ModelRef) -> dict[str, bytes]:
    """What the original must answer, its conversion must."""
    data = blob.read_or_none(original.container, f"{original.prefix}{GOLDEN}")
    return {GOLDEN: data} if data is not None else {}


def _tags(lineage: dict[str, Any]) -> dict[str, str]:
    """`causedBy` is how its ModelRegistered event is known as our own doing."""
    source = lineage["convertedFrom"]
    return {
        "run": lineage["run"],
        "modelDigest": lineage["sha256"],
        "causedBy": f"{OWN} {lineage['run']}",
        "convertedFrom": f"{source['name']}:{source['version']}",
    }
