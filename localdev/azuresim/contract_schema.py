"""The dialect of JSON Schema the contract compilers write, and its validator.

Four keywords are added to draft 2020-12:

- `x-discriminator`: {"property", "map", "base", "any_case"}: the value of `property` picks the schema, as Swagger's
  discriminator does; an unknown value is an error, a missing one means the base.
- `x-forbidden`: {name: reason}: a property that exists but may not travel in this direction (read-only in a request,
  secret in an answer).
- `x-enum-any-case`: an enum of strings, compared without case.
- `x-null-ok`: true, or a list of names: properties that may be null whatever their type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import jsonschema
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

Schema = dict[str, Any]
Direction = Literal["request", "patch", "response"]

_LONGEST_MESSAGE = 300
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?")
_DURATION = re.compile(r"-?P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def problems(schema: Schema, instance: Any) -> Iterator[str]:
    """What is wrong with `instance`, each as `$.path: message (where the specification says so)`."""
    for error in _Validator(schema, format_checker=_FORMATS).iter_errors(instance):
        message = error.message
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + "..."
        place = error.schema.get("$comment", "") if isinstance(error.schema, Mapping) else ""
        yield f"{error.json_path}: {message}" + (f" ({place})" if place else "")


def _properties(
    validator: Any, properties: Mapping[str, Any], instance: Any, schema: Schema
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    null_ok = schema.get("x-null-ok", ())
    for name, subschema in properties.items():
        if name not in instance or (instance[name] is None and (null_ok is True or name in null_ok)):
            continue
        yield from validator.descend(instance[name], subschema, path=name, schema_path=name)


def _additional(validator: Any, allowed: Any, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    known = schema.get("properties", {})
    for name, value in instance.items():
        if name in known:
            continue
        if allowed is False:
            if name not in schema.get("x-forbidden", {}):
                yield ValidationError(f"{name!r} is not a property of this object")
        elif value is not None or schema.get("x-null-ok") is not True:
            yield from validator.descend(value, allowed, path=name)


def _discriminator(
    validator: Any, rule: Mapping[str, Any], instance: Any, schema: Schema
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        yield ValidationError(f"{instance!r} is not of type 'object'")
        return
    value = instance.get(rule["property"])
    chosen = rule["base"] if value is None else _chosen(rule, value)
    if chosen is None:
        known = ", ".join(sorted(rule["map"]))
        yield ValidationError(f"{rule['property']!r} is {value!r}, which is none of {known}")
        return
    yield from validator.descend(instance, chosen)


def _chosen(rule: Mapping[str, Any], value: Any) -> Any:
    if not isinstance(value, str):
        return None
    if not rule.get("any_case"):
        return rule["map"].get(value)
    return next((schema for name, schema in rule["map"].items() if name.casefold() == value.casefold()), None)


def _forbidden(
    validator: Any, names: Mapping[str, str], instance: Any, schema: Schema
) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for name, reason in names.items():
            if instance.get(name) is not None:
                yield ValidationError(f"{name!r} {reason}")


def _enum_any_case(
    validator: Any, values: list[str | None], instance: Any, schema: Schema
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and instance.casefold() in {each.casefold() for each in values if each}:
        return
    if instance is not None or None not in values:
        yield ValidationError(f"{instance!r} is not one of {values!r}")


_FORMATS = FormatChecker(formats=())


def _format(name: str, pattern: re.Pattern[str]) -> None:
    @_FORMATS.checks(name)
    def _check(value: object) -> bool:
        return not isinstance(value, str) or pattern.fullmatch(value) is not None


_format("date-time", _DATE_TIME)
_format("duration", _DURATION)
_format("uuid", _UUID)

_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "properties": _properties,
        "additionalProperties": _additional,
        "x-discriminator": _discriminator,
        "x-forbidden": _forbidden,
        "x-enum-any-case": _enum_any_case,
    },
)
