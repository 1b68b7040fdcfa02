"""Swagger 2.0 with Microsoft's extensions, read file by file and compiled to the dialect of contract_schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localdev.azuresim.contract_schema import Direction, Schema

_COPIED = (
    *("enum", "minimum", "maximum", "multipleOf", "minLength", "maxLength"),
    *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
)
_OBJECT_WORDS = {"properties", "allOf", "additionalProperties"}
_CHECKED_FORMATS = ("date-time", "duration", "uuid")


@dataclass(frozen=True)
class Node:
    """A piece of a Swagger file, with the file its references are relative to."""

    file: Path
    value: dict[str, Any]
    pointer: str = ""

    def get(self, *keys: str) -> Node | None:
        value: Any = self.value
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        path = "".join(f"/{key}" for key in keys)
        return Node(self.file, value, self.pointer + path) if isinstance(value, dict) else None

    def __str__(self) -> str:
        return f"{self.file.name}#{self.pointer}"


class Documents:
    """Loads Swagger files once and follows references between them."""

    def __init__(self) -> None:
        self._loaded: dict[Path, dict[str, Any]] = {}
        self._derived: dict[Path, dict[str, list[str]]] = {}

    def load(self, file: Path) -> dict[str, Any]:
        if file not in self._loaded:
            self._loaded[file] = json.loads(file.read_text(encoding="utf-8-sig"))
        return self._loaded[file]

    def loaded(self) -> int:
        """How many files were read so far."""
        return len(self._loaded)

    def follow(self, node: Node) -> Node:
        """The node itself, or the one its `$ref` leads to."""
        while isinstance(reference := node.value.get("$ref"), str):
            name, _, pointer = reference.partition("#")
            file = (node.file.parent / name).resolve() if name else node.file
            value: Any = self.load(file)
            for part in filter(None, pointer.split("/")):
                value = value[part.replace("~1", "/").replace("~0", "~")]
            node = Node(file, value, pointer)
        return node

    def derived(self, base: Node) -> Iterator[Node]:
        """Every definition, in the file of `base`, that extends it, directly or not."""
        table = self._derivations(base.file)
        waiting = list(table.get(base.pointer.rpartition("/")[2], ()))
        while waiting:
            name = waiting.pop()
            yield Node(base.file, self.load(base.file)["definitions"][name], f"/definitions/{name}")
            waiting += table.get(name, ())

    def _derivations(self, file: Path) -> dict[str, list[str]]:
        if file not in self._derived:
            table: dict[str, list[str]] = {}
            for name, definition in self.load(file).get("definitions", {}).items():
                for base in definition.get("allOf", ()):
                    if str(base.get("$ref", "")).startswith("#/definitions/"):
                        table.setdefault(base["$ref"].rpartition("/")[2], []).append(name)
            self._derived[file] = table
        return self._derived[file]


class Compiler:
    """Compiles schemas for one direction of travel. Results are shared: a definition is compiled once."""

    def __init__(
        self,
        documents: Documents,
        direction: Direction,
        *,
        exact: bool = True,
        secrets: bool = False,
        round_trip: bool = False,
    ) -> None:
        """`exact=False` is for a specification of a neighbouring version: unknown names and enum values pass.

        `secrets`: they may be answered. `round_trip`: what is read-only may be sent, for services ignore it.
        """
        self._documents, self._direction = documents, direction
        self._exact, self._secrets, self._round_trip = exact, secrets, round_trip
        self.definitions: dict[str, Schema] = {}

    def root(self, node: Node) -> Schema:
        """A complete schema, with the definitions it needs beside it."""
        return {**self.compile(node), "$defs": self.definitions}

    def compile(self, node: Node) -> Schema:
        if "$ref" in node.value:
            return self._reference(self._documents.follow(node))
        return self._inline(node)

    def _reference(self, target: Node) -> Schema:
        key = re.sub(r"[^\w.-]", "_", f"{target.file.parent.name}_{target.file.stem}_{target.pointer}")
        if key not in self.definitions:
            self.definitions[key] = {}  # a place for recursive references to point at
            self.definitions[key].update(self._definition(target))
        return {"$ref": f"#/$defs/{key}"}

    def _definition(self, target: Node) -> Schema:
        discriminator = target.value.get("discriminator")
        if not discriminator:
            return self._inline(target)
        by_value = {}
        for derived in self._documents.derived(target):
            value = derived.value.get("x-ms-discriminator-value", derived.pointer.rpartition("/")[2])
            nested = derived.value.get("discriminator", discriminator) != discriminator
            by_value[value] = self._reference(derived) if nested else self._plain(derived)
        own = target.value.get("x-ms-discriminator-value")
        base = self._plain(target)
        if own:
            by_value[own] = base
        any_case = self._direction != "response"
        rule = {"property": discriminator, "map": by_value, "base": base, "any_case": any_case}
        return {"x-discriminator": rule, "$comment": str(target)}

    def _plain(self, target: Node) -> Schema:
        """`target` without dispatch on its discriminator."""
        key = re.sub(r"[^\w.-]", "_", f"{target.file.parent.name}_{target.file.stem}_{target.pointer}_only")
        if key not in self.definitions:
            self.definitions[key] = {}
            self.definitions[key].update(self._inline(target))
        return {"$ref": f"#/$defs/{key}"}

    def _inline(self, node: Node) -> Schema:
        value = node.value
        kind = value.get("type")
        # Some enums of Microsoft.MachineLearningServices say `additionalProperties: false` beside `type: string`.
        if kind == "object" or (kind is None and value.keys() & _OBJECT_WORDS):
            return self._object(node)
        schema: Schema = {name: value[name] for name in _COPIED if name in value}
        if not self._exact:
            schema.pop("enum", None)
        if isinstance(kind, str) and kind != "file":
            schema["type"] = [kind, "null"] if value.get("x-nullable") else kind
        if "enum" in schema:
            schema |= self._enum(schema.pop("enum"), nullable=bool(value.get("x-nullable")))
        if value.get("format") in _CHECKED_FORMATS:
            schema["format"] = value["format"]
        if "pattern" in value and _is_regex(value["pattern"]):
            schema["pattern"] = value["pattern"]
        if "items" in value:
            schema["items"] = self.compile(Node(node.file, value["items"], f"{node.pointer}/items"))
        return schema

    def _enum(self, values: list[Any], *, nullable: bool) -> Schema:
        """Services read enum values without regard to case, and answer them as specified."""
        if self._direction != "response" and all(isinstance(value, str) for value in values):
            return {"x-enum-any-case": [*values, None] if nullable else values}
        return {"enum": [*values, None] if nullable else values}

    def _object(self, node: Node) -> Schema:
        properties: dict[str, Node] = {}
        required: list[str] = []
        extra: list[Node | bool] = []
        self._flatten(node, properties, required, extra)
        schema: Schema = {"type": "object", "$comment": str(node), "properties": {}}
        forbidden: dict[str, str] = {}
        null_ok: list[str] = []
        for name, each in properties.items():
            target = self._documents.follow(each)
            if (
                any(value.get("readOnly") for value in (each.value, target.value))
                and self._direction != "response"
            ):
                required = [other for other in required if other != name]
            if reason := self._forbids(each.value, target.value):
                forbidden[name] = reason
                required = [other for other in required if other != name]
                continue
            schema["properties"][name] = self.compile(each)
            if self._may_be_null(name, required, each.value, target.value):
                null_ok.append(name)
        if forbidden:
            schema["x-forbidden"] = forbidden
        if null_ok:
            schema["x-null-ok"] = null_ok
        if required and self._direction != "patch":
            schema["required"] = sorted(set(required))
        return self._close(schema, extra, open_ended=not properties)

    def _close(self, schema: Schema, extra: list[Node | bool], *, open_ended: bool) -> Schema:
        described = next((each for each in extra if isinstance(each, Node)), None)
        if described:
            schema["additionalProperties"] = self.compile(described)
            if self._direction != "request":
                schema["x-null-ok"] = True
        elif not extra and not open_ended and self._exact:
            schema["additionalProperties"] = False
        return schema

    def _flatten(
        self, node: Node, properties: dict[str, Node], required: list[str], extra: list[Node | bool]
    ) -> None:
        """Collect what `node` and everything it extends says."""
        for index, base in enumerate(node.value.get("allOf", ())):
            followed = self._documents.follow(Node(node.file, base, f"{node.pointer}/allOf/{index}"))
            self._flatten(followed, properties, required, extra)
        for name, value in node.value.get("properties", {}).items():
            properties[name] = Node(node.file, value, f"{node.pointer}/properties/{name}")
        required += node.value.get("required", ())
        additional = node.value.get("additionalProperties")
        if isinstance(additional, dict) and additional:
            extra.append(Node(node.file, additional, f"{node.pointer}/additionalProperties"))
        elif additional is not None and additional is not False:
            extra.append(True)

    def _forbids(self, *values: dict[str, Any]) -> str:
        mutability = next((v["x-ms-mutability"] for v in values if "x-ms-mutability" in v), None)
        if self._direction == "response":
            if mutability is not None and "read" not in mutability and not self._secrets:
                return "is write-only: it may not be returned"
            if any(value.get("x-ms-secret") for value in values) and not self._secrets:
                return "is a secret: it may not be returned"
            return ""
        if any(value.get("readOnly") for value in values):
            return "" if self._round_trip else "is read-only: it may not be sent"
        needed = "update" if self._direction == "patch" else "create"
        if mutability is not None and needed not in mutability and "update" not in mutability:
            return f"may not be sent to {needed}: its mutability is {', '.join(mutability)}"
        return ""

    def _may_be_null(self, name: str, required: list[str], *values: dict[str, Any]) -> bool:
        if any(value.get("x-nullable") for value in values):
            return True
        return self._direction == "patch" or (self._direction == "response" and name not in required)


def _is_regex(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False  # JavaScript's dialect; the specifications hold a few Python cannot read
    return True
