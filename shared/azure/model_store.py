"""The store of record for models: `models/{name}/{version}/` and the title of champion. Files are copied, never opened.

A version belongs to the run that wrote its LINEAGE.json first, so a run that is interrupted finds its own again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from shared.azure import blob, ledger
from shared.domain.errors import ConflictError, TransientError
from shared.domain.registry import CHAMPION, ModelRef

CONTAINER = "models"
CARD, LINEAGE = "MODEL.json", "LINEAGE.json"
_MOST_RIVALS = 20  # each lost race is another run's version


def claim_version(name: str, lineage: Mapping[str, Any]) -> str:
    """The version that belongs to the run of `lineage`: the next free number, for the first who writes its lineage."""
    known = _numbers(name)
    for version in sorted(known, reverse=True)[:_MOST_RIVALS]:
        if _owner(name, version) == lineage["run"]:
            return str(version)
    for version in range(max(known, default=0) + 1, max(known, default=0) + 1 + _MOST_RIVALS):
        if blob.create_only(CONTAINER, f"{name}/{version}/{LINEAGE}", ledger.encode(lineage)):
            return str(version)
        if _owner(name, version) == lineage["run"]:
            return str(version)
    raise TransientError(
        f"{_MOST_RIVALS} versions of {name} were taken meanwhile", code="Contended", retry_after_s=5
    )


def store_model(name: str, version: str, source: Mapping[str, Any], card: Mapping[str, Any]) -> ModelRef:
    """Copy a trial's model file and write its card, which makes the version whole. Safe to repeat.

    Raises ConflictError if the file is not the one that the trial's record promised.
    """
    prefix, file, sha256 = f"{name}/{version}/", str(source["file"]), str(source["sha256"])
    data = blob.read(source["container"], f"{source['prefix']}{file}")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ConflictError(
            f"{source['container']}/{source['prefix']}{file} is not the file that its trial recorded",
            code="ModelChanged",
        )
    whole = {**card, "name": name, "version": version, "file": file, "sha256": sha256, "size": len(data)}
    write_once(prefix + file, data)
    write_once(prefix + CARD, ledger.encode(whole))
    return ModelRef(
        name=name, version=version, flavor=str(source["flavor"]), container=CONTAINER, prefix=prefix, file=file,
        sha256=sha256,
    )  # fmt: skip


def read_card(source: Mapping[str, Any]) -> dict[str, Any]:
    """The card that a trial left beside its model."""
    card: dict[str, Any] = json.loads(blob.read(source["container"], f"{source['prefix']}{CARD}"))
    return card


def crown(name: str, version: str, *, before: ModelRef | None) -> bool:
    """Make `version` champion in place of `before`. False if by now another version has the title.

    Safe to repeat: a version that has the title keeps it.
    """
    path = f"{name}/{CHAMPION}.json"
    found = blob.read_with_etag(CONTAINER, path)
    held = str(json.loads(found.data)["version"]) if found else None
    if held == version:
        return True
    if held != (before.version if before else None):
        return False
    written = blob.write_if_match(
        CONTAINER, path, ledger.encode({"version": version}), etag=found.etag if found else ""
    )
    if written:
        return True
    now = blob.read_or_none(CONTAINER, path)  # our own write, its answer lost, or somebody else's
    return now is not None and str(json.loads(now)["version"]) == version


def champion(name: str) -> str:
    """The version that has the title; "" if none has."""
    alias = blob.read_or_none(CONTAINER, f"{name}/{CHAMPION}.json")
    return str(json.loads(alias)["version"]) if alias else ""


def versions(name: str) -> list[str]:
    """The whole versions of a model, in the order of their names."""
    folders = blob.list_folders(CONTAINER, f"{name}/")
    whole = (each for each in folders if blob.exists(CONTAINER, f"{name}/{each}/{CARD}"))
    return sorted(whole, key=lambda v: (len(v), v))


def _numbers(name: str) -> set[int]:
    """The versions that are numbers, of which anything is there. Others are people's own and in nobody's way."""
    folders = blob.list_folders(CONTAINER, f"{name}/")
    return {int(each) for each in folders if each.isdecimal() and each.isascii()}


def _owner(name: str, version: int) -> str | None:
    data = blob.read_or_none(CONTAINER, f"{name}/{version}/{LINEAGE}")
    return str(json.loads(data).get("run")) if data else None


def write_once(path: str, data: bytes) -> None:
    """Raises ConflictError if other content is there."""
    if not blob.create_only(CONTAINER, path, data) and blob.read(CONTAINER, path) != data:
        raise ConflictError(f"{CONTAINER}/{path} is there already with other content", code="VersionTaken")
