"""From the text of a declaration to its model, or to every fault in it: where, what, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from shared.domain.document import Document, Path, dotted, read_document
from shared.domain.errors import Fault, SpecErrors
from shared.domain.fields import REFUSED, did_you_mean

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
    "too_short": ("min_length", "at least"),
    "too_long": ("max_length", "at most"),
}


def parse_spec[M: BaseModel](
    text: str,
    kinds: Mapping[str, type[M]],
    *,
    source: str,
    known: Mapping[str, Collection[str] | str | None],
) -> M:
    """The model of `text`, of the kind that its `kind` names. Raises SpecErrors with all faults of text and values.

    `known` is what validators may ask for through their context.
    """
    return model_of(read_document(text), kinds, source=source, known=known)


def model_of[M: BaseModel](
    document: Document,
    kinds: Mapping[str, type[M]],
    *,
    source: str,
    known: Mapping[str, Collection[str] | str | None],
) -> M:
    """The same for a text that was read already."""
    faults = list(document.faults)
    kind = _kind(document, kinds, faults)
    if kind is not None:
        try:
            model = kind.model_validate(
                document.data, extra="forbid", by_alias=True, by_name=False, context=dict(known)
            )
            if not faults:
                return model
        except ValidationError as error:
            told = error.errors(include_url=False, include_input=True)
            faults += [_fault(e, document, kind) for e in told if not _only_follows(e)]
    raise SpecErrors(source=source, faults=sorted(faults, key=lambda f: (f.line or 0, f.column or 0)))


def _kind[M: BaseModel](
    document: Document, kinds: Mapping[str, type[M]], faults: list[Fault]
) -> type[M] | None:
    data, allowed = document.data, ", ".join(kinds)
    if not isinstance(data, dict):
        if not faults:
            faults.append(_place(document, (), f"must be a mapping, not {_told(data)}", allowed="key: value"))
        return None
    if "kind" not in data:
        faults.append(
            _place(document, (), "has no `kind`", allowed=allowed, hint="Begin with kind: BatchScoring")
        )
        return None
    kind = data["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        hint = did_you_mean(str(kind), kinds)
        faults.append(_place(document, ("kind",), f"{_told(kind)} is not a kind", allowed=allowed, hint=hint))
        return None
    return kinds[kind]


def _only_follows(error: ErrorDetails) -> bool:
    """Whether the error only follows from another one: pydantic counts no refused item, and computes no default then."""
    if error["type"] == "too_short":
        return bool(len(error["input"]) >= error["ctx"]["min_length"])
    return error["type"] == "default_factory_not_called"


def _fault(error: ErrorDetails, document: Document, kind: type[BaseModel]) -> Fault:
    path: Path = tuple(error["loc"])
    if path[-1:] == ("[key]",):  # pydantic's mark for the key of a mapping: what is refused is the key
        path = path[:-1]
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case t if t == REFUSED:
            path = path[:-1] if context["above"] else path
            return _place(
                document, path, context["message"], allowed=context["allowed"], hint=context["hint"]
            )
        case "missing":
            return _place(
                document, path, "is required", hint=f"Add `{path[-1]}:` to {dotted(path[:-1]) or 'the file'}"
            )
        case "extra_forbidden":
            names = _keys_at(kind, path[:-1])
            hint = did_you_mean(str(path[-1]), names)
            return _place(
                document, path, "is not a known key", allowed=", ".join(names), hint=hint, of_key=True
            )
        case "literal_error":
            values = re.findall(r"'([^']*)'", context["expected"])
            message = f"{_told(error['input'])} is not one of them"
            return _place(
                document,
                path,
                message,
                allowed=", ".join(values),
                hint=did_you_mean(str(error["input"]), values),
            )
        case t if t in _BOUNDS:
            key, words = _BOUNDS[t]
            return _place(document, path, f"is {_told(error['input'])}", allowed=f"{words} {context[key]}")
        case t if t in _TYPES:
            message = f"must be {_TYPES[t]}, not {_told(error['input'])}"
            return _place(document, path, message, hint=_type_hint(t, error["input"]))
    return _place(document, path, error["msg"])


def _place(
    document: Document, path: Path, message: str, *, allowed: str = "", hint: str = "", of_key: bool = False
) -> Fault:
    mark = document.mark(path, of_key=of_key)
    return Fault(
        path=dotted(path),
        message=message,
        line=mark.line if mark else None,
        column=mark.column if mark else None,
        allowed=allowed or None,
        hint=hint or None,
    )


def _type_hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "Put it in quotes"
    if kind in ("int_type", "float_type") and isinstance(value, str) and re.fullmatch(r"[0-9.]+", value):
        return f"Remove the quotes: {value[:40]}"
    return "Write it as [value]" if kind == "tuple_type" and isinstance(value, str) else ""


def _told(value: JsonValue) -> str:
    """The value in few words."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys_at(kind: type[BaseModel], path: Path) -> list[str]:
    """The keys that the mapping at `path` may have."""
    found: Any = kind
    for part in path:
        found = _inside(found, part)
    candidates = (found, *get_args(found))
    model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _inside(annotation: Any, part: str | int) -> Any:
    """The annotation of what stands at `part` of a value so annotated, be it a model, a list, a mapping or optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return next((f.annotation for f in annotation.model_fields.values() if f.alias == part), None)
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return arguments[1]
    if get_origin(annotation) is tuple:
        return arguments[0]
    return next(filter(None, (_inside(each, part) for each in arguments)), None)


def schema_of(kinds: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """The JSON Schema of a declaration of any of `kinds`, refusing unknown keys."""
    schemas = [kind.model_json_schema(by_alias=True) for kind in kinds]
    definitions: dict[str, Any] = {}
    for schema in schemas:
        definitions |= schema.pop("$defs", {})
    for schema in (*schemas, *definitions.values()):
        if schema.get("type") == "object":
            schema["additionalProperties"] = False
    for schema in schemas:
        schema["required"] = ["kind", *schema["required"]]
    whole = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": definitions}
