"""Bicep's type files compiled to the dialect of contract_schema: bodies of versions that have no public Swagger.

A `types.json` is a list of types that refer to each other by index. They know resource bodies, not paths or statuses,
and less than Swagger about formats.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localdev.azuresim.contract_schema import Direction, Schema

_REQUIRED, _READ_ONLY, _WRITE_ONLY = 1, 2, 4  # bicep-types: ObjectTypePropertyFlags
# Bicep gives every resource these as its own words; on the wire they are part of the URL or of the answer.
_ENVELOPE = ("id", "name", "type", "apiVersion")


class BicepTypes:
    """The types of one provider and version."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._types: list[dict[str, Any]] = json.loads(file.read_text())
        self._bodies = {
            each["name"].partition("@")[0].casefold(): each["body"]
            for each in self._types
            if each["$type"] == "ResourceType"
        }

    def has(self, resource_type: str) -> bool:
        return resource_type.casefold() in self._bodies

    def body(
        self, resource_type: str, direction: Direction, *, exact: bool = True, round_trip: bool = False
    ) -> Schema:
        """The schema of a resource's body. `exact` and `round_trip` as in contract_swagger.Compiler."""
        compiler = _Compiler(self, direction, exact, round_trip)
        reference = self._bodies[resource_type.casefold()]
        schema = dict(compiler.object(self.type(reference), envelope=True))
        return {**schema, "$defs": compiler.definitions}

    def type(self, reference: dict[str, str]) -> dict[str, Any]:
        return self._types[int(reference["$ref"].removeprefix("#/"))]


class _Compiler:
    def __init__(self, types: BicepTypes, direction: Direction, exact: bool, round_trip: bool) -> None:
        self._types, self._direction, self._exact, self._round_trip = types, direction, exact, round_trip
        self.definitions: dict[str, Schema] = {}

    def compile(self, reference: dict[str, str]) -> Schema:
        key = reference["$ref"].removeprefix("#/")
        if key not in self.definitions:
            self.definitions[key] = {}
            self.definitions[key].update(self._compile(self._types.type(reference)))
        return {"$ref": f"#/$defs/{key}"}

    def _compile(self, kind: dict[str, Any]) -> Schema:
        match kind["$type"]:
            case "ObjectType":
                return self.object(kind)
            case "DiscriminatedObjectType":
                return self._discriminated(kind)
            case "ArrayType":
                return {"type": "array", "items": self.compile(kind["itemType"])}
            case "UnionType":
                return self._union(kind)
            case "StringLiteralType":
                return {"const": kind["value"]}
            case "StringType":
                pattern = {"pattern": kind["pattern"]} if "pattern" in kind else {}
                return {"type": "string", **pattern}
            case "IntegerType":
                limits = {"minimum": kind.get("minValue"), "maximum": kind.get("maxValue")}
                # Bicep has no fractions: Swagger's `number` is an integer here.
                return {"type": "number", **{name: n for name, n in limits.items() if n is not None}}
            case "BooleanType":
                return {"type": "boolean"}
            case "NullType":
                return {"type": "null"}
            case _:
                return {}

    def object(self, kind: dict[str, Any], *, envelope: bool = False) -> Schema:
        schema: Schema = {"type": "object", "$comment": f"{kind['name']} in {self._types.file.parent.name}"}
        properties: Schema = {}
        required, forbidden, null_ok = [], {}, []
        for name, each in kind["properties"].items():
            flags = each["flags"]
            own = envelope and name in _ENVELOPE
            if own and (self._direction == "response" or self._round_trip) and name != "apiVersion":
                properties[name] = {"type": "string"}
                continue
            if reason := self._forbids(flags, own):
                forbidden[name] = reason
                continue
            properties[name] = self.compile(each["type"])
            if flags & _REQUIRED and self._direction == "request":
                required.append(name)
            if self._direction != "request":
                null_ok.append(name)
        schema |= {"properties": properties, "x-forbidden": forbidden, "x-null-ok": null_ok}
        if required:
            schema["required"] = required
        if "additionalProperties" in kind:
            schema["additionalProperties"] = self.compile(kind["additionalProperties"])
        elif self._exact and kind["properties"]:
            schema["additionalProperties"] = False
        return schema

    def _forbids(self, flags: int, own: bool) -> str:
        if self._direction == "response":
            return "is write-only: it may not be returned" if flags & _WRITE_ONLY else ""
        read_only = own or (flags & _READ_ONLY and not self._round_trip)
        return "is read-only: it may not be sent" if read_only else ""

    def _discriminated(self, kind: dict[str, Any]) -> Schema:
        base = {"name": kind["name"], "properties": kind["baseProperties"]}
        by_value = {}
        for value, reference in kind["elements"].items():
            element = self._types.type(reference)
            merged = {**element, "properties": {**kind["baseProperties"], **element["properties"]}}
            by_value[value] = self.object(merged)
        any_case = self._direction != "response"
        rule = {"property": kind["discriminator"], "map": by_value, "base": self.object(base)}
        return {"x-discriminator": {**rule, "any_case": any_case}}

    def _union(self, kind: dict[str, Any]) -> Schema:
        elements = [self._types.type(each) for each in kind["elements"]]
        if not all(element["$type"] == "StringLiteralType" for element in elements):
            if any(element["$type"] == "StringType" for element in elements):
                return {"type": "string"}  # the literals are only hints: the enum is open
            return {"anyOf": [self.compile(each) for each in kind["elements"]]}
        if not self._exact:
            return {"type": "string"}
        return {"enum": [element["value"] for element in elements]}
