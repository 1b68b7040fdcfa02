"""Finds the operation a request belongs to: which file, which path template, which version.

The folder is laid out as Azure/azure-rest-api-specs (`official/specification/<service>/resource-manager/<namespace>/
.../<version>/*.json`) and Azure/bicep-types-az (`bicep/generated/<service>/<namespace>/<version>/types.json`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localdev.azuresim.contract_bicep import BicepTypes
from localdev.azuresim.contract_swagger import Documents, Node

_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")
_NEIGHBOUR_YEARS = 3  # a specification further away than that says too little about a version
_PROVIDER = re.compile(r"/providers/([^/]+)(?!.*/providers/)", re.IGNORECASE)


@dataclass(frozen=True)
class Operation:
    """What the specification says about one method on one path."""

    node: Node
    shared_parameters: tuple[dict[str, Any], ...]
    template: str
    method: str
    version: str  # of the specification, not of the request

    @property
    def name(self) -> str:
        return str(self.node.value.get("operationId", f"{self.method} {self.template}"))


@dataclass(frozen=True)
class Spec:
    """How well a request is covered. `exact` is False when a neighbouring version has to serve."""

    operation: Operation
    exact: bool
    bicep: BicepTypes | None = None
    bicep_exact: bool = False


class Routes:
    """All operations under a folder of specifications; files are read when their version is first asked for."""

    def __init__(self, *roots: Path) -> None:
        self.documents = Documents()
        self._swagger: dict[str, dict[str, list[Path]]] = {}
        self._bicep: dict[str, dict[str, Path]] = {}
        self._types: dict[Path, BicepTypes] = {}
        self._index: dict[tuple[str, str], list[tuple[re.Pattern[str], str, Path]]] = {}
        for root in roots:
            self._scan(root)

    def versions(self, namespace: str) -> list[str]:
        found = {*self._swagger.get(namespace.casefold(), ()), *self._bicep.get(namespace.casefold(), ())}
        return sorted(found)

    def find(self, method: str, path: str, version: str) -> Spec | None:
        """The best specification for a request; None if none near its version knows this path."""
        namespace = provider(path)
        operation = self._at(namespace, version, method, path)
        if operation:
            return Spec(operation, exact=True)
        bicep_version = _newest(self._bicep.get(namespace, {}), version)
        for neighbour in _neighbours(self._swagger.get(namespace, {}), version):
            if operation := self._at(namespace, neighbour, method, path):
                types = self._bicep_types(namespace, bicep_version) if bicep_version > neighbour else None
                return Spec(operation, exact=False, bicep=types, bicep_exact=bicep_version == version)
        return None

    def operations(self, namespace: str, version: str) -> Iterator[Operation]:
        for _, template, file in self._templates(namespace.casefold(), version):
            item = self.documents.load(file)["paths"][template]
            for method in item:
                if method in ("get", "put", "post", "patch", "delete", "head"):
                    yield _operation(file, template, item, method, version)

    def _at(self, namespace: str, version: str, method: str, path: str) -> Operation | None:
        for pattern, template, file in self._templates(namespace, version):
            item = self.documents.load(file)["paths"][template]
            if method.lower() in item and pattern.fullmatch(path.rstrip("/")):
                return _operation(file, template, item, method.lower(), version)
        return None

    def _templates(self, namespace: str, version: str) -> list[tuple[re.Pattern[str], str, Path]]:
        """Path templates, those with fewer placeholders first: `.../instanceView` before `.../{name}`."""
        key = (namespace, version)
        if key not in self._index:
            found = [
                (_pattern(template), template, file)
                for file in self._swagger.get(namespace, {}).get(version, ())
                for template in self.documents.load(file).get("paths", {})
            ]
            self._index[key] = sorted(found, key=lambda each: each[1].count("{"))
        return self._index[key]

    def _bicep_types(self, namespace: str, version: str) -> BicepTypes:
        file = self._bicep[namespace][version]
        if file not in self._types:
            self._types[file] = BicepTypes(file)
        return self._types[file]

    def _scan(self, root: Path) -> None:
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = sorted(each for each in subfolders if each not in ("examples", "data-plane"))
            here = Path(folder)
            if not _VERSION.fullmatch(here.name):
                continue
            if "types.json" in files:
                self._bicep.setdefault(here.parent.name.casefold(), {})[here.name] = here / "types.json"
                continue
            parts = here.parts
            if "resource-manager" in parts:
                namespace = parts[parts.index("resource-manager") + 1].casefold()
                found = self._swagger.setdefault(namespace, {}).setdefault(here.name, [])
                found += [(here / each).resolve() for each in sorted(files) if each.endswith(".json")]


def provider(path: str) -> str:
    """The namespace an ARM path is served by; Microsoft.Resources where the path names none."""
    match = _PROVIDER.search(path)
    return match[1].casefold() if match else "microsoft.resources"


def resource_type(path: str) -> str:
    """resource_type(".../providers/Microsoft.Compute/virtualMachines/v/runCommands/r") ->
    "Microsoft.Compute/virtualMachines/runCommands"; the same for the collection the resource is in."""
    _, _, tail = path.rpartition("/providers/")
    namespace, *rest = tail.split("/")
    return "/".join([namespace, *rest[::2]])


def _operation(file: Path, template: str, item: dict[str, Any], method: str, version: str) -> Operation:
    node = Node(file, item[method], f"/paths/{template.replace('/', '~1')}/{method}")
    return Operation(node, tuple(item.get("parameters", ())), template, method, version)


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", template.rstrip("/"))
    text = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
    return re.compile(text, re.IGNORECASE)


def _neighbours(versions: Iterable[str], version: str) -> list[str]:
    """Versions that may speak for `version`: older ones first, the nearest first of each."""
    if not _VERSION.fullmatch(version):
        return []
    near = [each for each in versions if abs(int(each[:4]) - int(version[:4])) <= _NEIGHBOUR_YEARS]
    older, newer = [each for each in near if each < version], [each for each in near if each > version]
    return [*sorted(older, reverse=True), *sorted(newer)]


def _newest(versions: dict[str, Path], limit: str) -> str:
    return max((each for each in versions if each <= limit), default="")
