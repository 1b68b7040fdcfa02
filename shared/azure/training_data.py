"""Which blobs a retraining would learn from, and which of them its champion does not know."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from typing import Any, Protocol

from shared.azure import blob
from shared.azure.blob import Found
from shared.domain.retraining import Retraining

MODELS = "models"


class Place(Protocol):
    """The part of a declaration that says which blobs are meant."""

    @property
    def container(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    @property
    def pattern(self) -> str: ...


def list_data(data: Place) -> list[Found]:
    """The blobs that a declaration names, in name order."""
    found = blob.list_blobs(data.container, data.prefix)
    return [each for each in found if fnmatch.fnmatchcase(each.name.removeprefix(data.prefix), data.pattern)]


def as_items(container: str, found: Iterable[Found]) -> list[dict[str, Any]]:
    """Blobs as they are frozen for an agent: what it reads must still have this etag."""
    return [
        {"container": container, "blob": each.name, "etag": each.etag, "size": each.size} for each in found
    ]


def count_new(workload: Retraining) -> int:
    """How many of its blobs the champion was not trained on: none of that name and etag is in its lineage."""
    known = known_to_champion(workload.model.name)
    return sum((each.name, each.etag) not in known for each in list_data(workload.data))


def known_to_champion(model: str) -> set[tuple[str, str]]:
    """Name and etag of every blob that the champion was trained on. Nothing where there is no champion or no lineage."""
    alias = _json(f"{model}/champion.json")
    lineage = _json(f"{model}/{alias['version']}/LINEAGE.json") if alias else None
    place = (lineage or {}).get("data")
    if not place:
        return set()
    frozen = json.loads(blob.read(place["container"], place["blob"]))
    return {(each["blob"], each["etag"]) for each in frozen["train"]}


def champion_card(model: str) -> dict[str, Any] | None:
    """The champion's MODEL.json; None where there is no champion."""
    alias = _json(f"{model}/champion.json")
    card: dict[str, Any] | None = _json(f"{model}/{alias['version']}/MODEL.json") if alias else None
    return card


def _json(path: str) -> Any:
    data = blob.read_or_none(MODELS, path)
    return json.loads(data) if data else None
