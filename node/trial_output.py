"""What a training child left in OUT, checked: nothing in there is believed, and nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from node.errors import ItemFault, ModelLoadError
from node.models import CARD, FLAVORS, parse_card
from node.plain_files import open_folder, open_plain

METRICS = "metrics.json"
FILES = {"sklearn": "model.joblib", "onnx": "model.onnx"}
MODEL_MAX_BYTES = 2 * 1024**3
_JSON_MAX_BYTES = 256 * 1024
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class TrialOutput:
    """`model` is a copy outside the child's reach; `card` has its file, hash and size filled in."""

    card: dict[str, Any]
    metrics: dict[str, float]
    model: Path
    sha256: str

    @property
    def flavor(self) -> str:
        return str(self.card["flavor"])

    @property
    def documents(self) -> dict[str, bytes]:
        return {
            CARD: json.dumps(self.card, indent=1, sort_keys=True).encode(),
            METRICS: json.dumps(self.metrics, indent=1, sort_keys=True).encode(),
        }

    @property
    def digest(self) -> str:
        """Of all of it: two tries with the same digest left the same."""
        whole = hashlib.sha256(self.sha256.encode())
        for name, data in sorted(self.documents.items()):
            whole.update(name.encode() + b"\0" + data)
        return whole.hexdigest()


def collect_output(out: Path, label: str, safe: Path) -> TrialOutput:
    """Copy the model into the folder `safe`. Raises ItemFault with the reason if OUT is not as agreed."""
    try:
        folder = open_folder(out)
    except OSError as error:
        raise ItemFault("the output folder is gone") from error
    try:
        metrics = _metrics(_json(folder, METRICS))
        card = _json(folder, CARD)
        flavor = card.get("flavor")
        if flavor not in FLAVORS:
            raise ItemFault(f"{CARD}: flavor {flavor!r} is not {' or '.join(FLAVORS)}")
        path = safe / FILES[flavor]
        with _opened(folder, path.name, MODEL_MAX_BYTES) as model:
            digest, size = _copy(model, path)
    finally:
        os.close(folder)
    known = {"file": path.name, "sha256": digest, "size": size}
    kept = {name: value for name, value in card.items() if name not in ("name", "version")}
    return TrialOutput(_checked({**kept, **known}, label), metrics, path, digest)


def _metrics(document: dict[str, Any]) -> dict[str, float]:
    if not document:
        raise ItemFault(f"{METRICS} names no metric")
    for name, value in document.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ItemFault(f"{METRICS}: {name} is {value!r}, a finite number is expected")
    return document


def _checked(card: dict[str, Any], label: str) -> dict[str, Any]:
    try:
        parsed = parse_card(json.dumps({**card, "name": "trial", "version": "0"}).encode())
    except ModelLoadError as error:
        raise ItemFault(str(error)) from error
    if label in (column.name for column in parsed.inputs):
        raise ItemFault(f"{CARD}: the label {label} is among the model's inputs")
    return card


def _json(folder: int, name: str) -> dict[str, Any]:
    with _opened(folder, name, _JSON_MAX_BYTES) as file:
        data = file.read(_JSON_MAX_BYTES)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ItemFault(f"{name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ItemFault(f"{name}: an object is expected")
    return document


def _opened(folder: int, name: str, max_bytes: int) -> IO[bytes]:
    try:
        file = open_plain(name, folder)
    except FileNotFoundError as error:
        raise ItemFault(f"{name} is missing") from error
    except OSError as error:
        raise ItemFault(f"{name} is no plain file") from error
    if (size := os.fstat(file.fileno()).st_size) > max_bytes:
        file.close()
        raise ItemFault(f"{name} has {size} bytes, at most {max_bytes} are taken")
    return file


def _copy(source: IO[bytes], path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    if size == 0:
        raise ItemFault(f"{path.name} is empty")
    return digest.hexdigest(), size
