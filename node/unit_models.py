"""A stored model per unit: its index, and each unit's model, loaded when the first of its rows comes.

The index is the file that the job promised by its hash, and has the hash of every unit's file: nothing is unpickled
before its own hash is right.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.errors import ModelLoadError
from node.fields import is_safe_name
from node.job import ModelSource
from node.models import FLAVORS, Model, ModelCard, load_model, parse_card
from node.storage import NotThere, Store

SCHEMA = "muster.units/1"
CACHE_MODELS = 1_000
CACHE_BYTES = 256 * 1024 * 1024
"""Of the models that a worker keeps loaded, by their files' sizes. The files stay on the disk."""


@dataclass(frozen=True)
class UnitEntry:
    """One unit's model: where its file is, how large, and what it takes and gives."""

    key: str
    size: int
    card: ModelCard


@dataclass(frozen=True)
class UnitIndex:
    column: str
    units: Mapping[str, UnitEntry]


def parse_index(raw: bytes, card: ModelCard) -> UnitIndex:
    """The index of the version whose card this is. Raises ModelLoadError."""
    try:
        document = json.loads(raw)
        if document["schema_version"] != SCHEMA:
            raise ModelLoadError(f"{card.file}: {document['schema_version']!r} is not {SCHEMA}")
        contracts = {str(name): dict(one) for name, one in document["contracts"].items()}
        units = {str(each["unit"]): _entry(each, contracts, card) for each in document["units"]}
        return UnitIndex(str(document["column"]), units)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{card.file}: {type(error).__name__}: {error}") from error


def _entry(each: Mapping[str, Any], contracts: Mapping[str, Any], whole: ModelCard) -> UnitEntry:
    named = {"name": whole.name, "version": whole.version}
    described = {name: each[name] for name in ("flavor", "file", "sha256")}
    card = parse_card(json.dumps({**contracts[each["contract"]], **named, **described}).encode())
    key = str(each["key"])
    if card.flavor not in FLAVORS or "/" in key or not is_safe_name(key):
        raise ModelLoadError(
            f"{whole.file}: unit {each['unit']!r} has flavor {card.flavor!r} and key {key!r}"
        )
    if card.output != whole.output:
        raise ModelLoadError(f"{whole.file}: unit {each['unit']!r} gives another column than its version")
    return UnitEntry(key, int(each["size"]), card)


class UnitModels:
    """The models of one version, as one worker needs them. Those not asked for longest make room."""

    def __init__(self, store: Store, source: ModelSource, index: UnitIndex, folder: Path) -> None:
        self._store, self._source, self._index, self._folder = store, source, index, folder
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        self._bytes = 0

    def entry(self, unit: str) -> UnitEntry | None:
        return self._index.units.get(unit)

    @property
    def column(self) -> str:
        return self._index.column

    def load(self, unit: str) -> Model:
        """Raises ModelLoadError if the unit's file is not there, not what the index promises, or raises on load."""
        if unit in self._loaded:
            self._loaded.move_to_end(unit)
            return self._loaded[unit]
        entry = self._index.units[unit]
        model = load_model(self._on_disk(entry), entry.card)
        self._loaded[unit] = model
        self._bytes += entry.size
        while len(self._loaded) > 1 and (len(self._loaded) > CACHE_MODELS or self._bytes > CACHE_BYTES):
            gone, _ = self._loaded.popitem(last=False)
            self._bytes -= self._index.units[gone].size
        return model

    def _on_disk(self, entry: UnitEntry) -> Path:
        folder, file = self._folder / entry.key, entry.card.file
        if (folder / file).exists():
            return folder
        blob = f"{self._source.prefix.rstrip('/')}/units/{entry.key}/{file}"
        half = self._folder / f"{entry.key}.half"
        try:
            found = self._store.fetch(self._source.container, blob, half)
        except NotThere as error:
            raise ModelLoadError(str(error)) from error
        if found != entry.card.sha256:
            raise ModelLoadError(f"{blob}: sha256 {found}, the index promises {entry.card.sha256}")
        folder.mkdir(exist_ok=True)
        half.rename(folder / file)
        return folder
