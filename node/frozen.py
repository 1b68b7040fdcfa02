"""The frozen data of a run: which blobs train, which judge, and the columns they had when they were listed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from node.errors import InputChanged, JobSpecError, Stopped
from node.fields import (
    SHA256,
    Fields,
    a_list,
    blob_name,
    container_name,
    is_safe_name,
    matching,
    parse_json,
    short_text,
)
from node.job import Item, frozen_item
from node.storage import NotThere, Store

_MANIFEST_MAX_BYTES = 256 * 1024 * 1024
_AT_ONCE = 8


@dataclass(frozen=True)
class BlobSource:
    """A blob and the hash that its bytes must have."""

    container: str
    blob: str
    sha256: str


@dataclass(frozen=True)
class Frozen:
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    label: str


def blob_source(raw: object, path: str) -> BlobSource:
    fields = Fields(raw, path)
    return BlobSource(
        container=fields.take("container", container_name),
        blob=fields.take("blob", blob_name),
        sha256=fields.take("sha256", matching(SHA256)),
    )


def read_promised(store: Store, source: BlobSource, max_bytes: int) -> bytes:
    """The blob's bytes. Raises JobSpecError if it is not there or not what was promised."""
    try:
        data = store.read(source.container, source.blob, max_bytes=max_bytes)
    except NotThere as error:
        raise JobSpecError(str(error)) from error
    if (found := hashlib.sha256(data).hexdigest()) != source.sha256:
        raise JobSpecError(f"{source.blob}: sha256 {found}, promised {source.sha256}")
    return data


def read_frozen(store: Store, source: BlobSource) -> Frozen:
    fields = Fields(parse_json(read_promised(store, source, _MANIFEST_MAX_BYTES)), "data")
    return Frozen(
        train=items_of(fields.take("train", a_list), "data.train"),
        test=items_of(fields.take("test", a_list), "data.test"),
        label=fields.take("label", short_text),
    )


def items_of(raw: Sequence[object], path: str) -> tuple[Item, ...]:
    """Inputs that will be files. Raises JobSpecError if two would be the same file, or one would leave its folder."""
    items = tuple(frozen_item(item, f"{path}[{n}]") for n, item in enumerate(raw))
    if unsafe := [item.blob for item in items if not is_safe_name(item.blob)]:
        raise JobSpecError(f"{path}: not a name that stays in its place: {unsafe[0]!r}")
    if len({item.blob for item in items}) != len(items):
        raise JobSpecError(f"{path}: two blobs have the same name")
    return items


def fetch_items(store: Store, items: Sequence[Item], folder: Path, stop: threading.Event) -> list[Path]:
    """Put the blobs under `folder` by their names, as they were when they were frozen. Raises InputChanged."""

    def fetch(item: Item) -> Path:
        if stop.is_set():
            raise Stopped("stopped by SIGTERM while the data were fetched")
        path = folder / item.blob
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(item.container, item.blob, path, etag=item.etag)
        return path

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(fetch, items))
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputChanged(f"one blob's name is the folder of another: {error}") from error


def write_json(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path
