"""Where Microsoft's specifications are, and their official examples. The project itself holds none of these files."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim.contract import Contract

_ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "specs" / "azure-specs.tar.xz"
_unpacked: tempfile.TemporaryDirectory[str] | None = None


@cache
def specs_dir() -> Path:
    """AZURE_SPECS_DIR, or the archive beside the project unpacked once; skips the test where there is neither."""
    if named := os.environ.get("AZURE_SPECS_DIR"):
        return Path(named)
    if not _ARCHIVE.exists():
        pytest.skip("no official specifications: set AZURE_SPECS_DIR to check against them")
    global _unpacked
    _unpacked = tempfile.TemporaryDirectory(prefix="azure-specs-")
    with tarfile.open(_ARCHIVE) as archive:
        archive.extractall(_unpacked.name, filter="data")
    return Path(_unpacked.name)


@dataclass(frozen=True)
class Example:
    """One official example: a request, and the answers it may have."""

    name: str
    operation: str
    method: str
    path: str
    query: dict[str, str]
    body: Any
    answers: dict[int, Any]


def examples(contract: Contract, namespace: str, version: str) -> Iterator[Example]:
    for operation in contract.routes.operations(namespace, version):
        # Some files of a provider describe another provider's paths.
        if f"/providers/{namespace}/".casefold() not in operation.template.casefold():
            continue
        for name, reference in operation.node.value.get("x-ms-examples", {}).items():
            file = (operation.node.file.parent / reference["$ref"]).resolve()
            example = json.loads(file.read_text(encoding="utf-8-sig"))
            given = {key.casefold(): value for key, value in example["parameters"].items()}
            path, query, body = operation.template, {"api-version": version}, None
            for parameter in contract.parameters(operation):
                key, place = parameter.value["name"], parameter.value["in"]
                value = given.get(key.casefold())
                if place == "path" and value is not None:
                    path = path.replace(f"{{{key}}}", str(value).strip("/"))
                elif place == "query" and value is not None and key != "api-version":
                    query[key] = str(value).lower() if isinstance(value, bool) else str(value)
                elif place == "body":
                    body = value
            answers = {int(s): a.get("body") for s, a in example["responses"].items() if s.isdigit()}
            yield Example(name, operation.name, operation.method, path, query, body, answers)
