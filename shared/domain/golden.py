"""Golden answers: inputs whose right answer is known, one JSON object a line, and the signature that they are for.

`{"input": {"hour": 7, ...}, "expect": {"value": 0.31, "tolerance": 0.2}}`, or `{"min": 0, "max": 1}` in place of a value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.errors import Fault, SpecError, SpecErrors

MAX_LINES, MAX_BYTES = 500, 1024 * 1024
_NUMBERS = ("double", "long")


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, as its card says."""

    inputs: tuple[tuple[str, str], ...]
    output: str

    def may_be(self, value: object) -> bool:
        """Whether a JSON value is an answer of this model. NaN and the infinities never are."""
        if self.output in _NUMBERS:
            return _is_number(value)
        return isinstance(value, bool if self.output == "boolean" else str)


@dataclass(frozen=True)
class Golden:
    """One line. Of a value, `tolerance` is how far a number may be from it; else the bounds count."""

    source: str
    input: Mapping[str, Any]
    value: float | str | bool | None = None
    tolerance: float = 0.0
    least: float = -math.inf
    most: float = math.inf

    @property
    def rule(self) -> str:
        if self.value is None:
            return f"{self.least:g} to {self.most:g}"
        return f"{self.value:g} ± {self.tolerance:g}" if _is_number(self.value) else json.dumps(self.value)

    def allows(self, found: object) -> bool:
        if not _is_number(found):
            return self.value is not None and type(found) is type(self.value) and found == self.value
        assert isinstance(found, int | float)
        if self.value is None:
            return self.least <= found <= self.most
        if not isinstance(self.value, int | float) or isinstance(self.value, bool):
            return False
        return abs(found - self.value) <= self.tolerance


def read_signature(card: Mapping[str, Any]) -> Signature:
    """Raises SpecError if MODEL.json does not say what the model takes and gives."""
    try:
        inputs = tuple((str(column["name"]), str(column["type"])) for column in card["inputs"])
        output = str(card["output"]["type"])
    except (KeyError, TypeError) as error:
        raise SpecError(f"MODEL.json does not say what the model takes and gives: {error}") from error
    known = ("double", "long", "string", "boolean")
    if not inputs or output not in known or any(kind not in known for _, kind in inputs):
        raise SpecError(f"MODEL.json: inputs and output must have types of {', '.join(known)}")
    return Signature(inputs, output)


def read_golden(data: bytes, source: str, signature: Signature) -> tuple[Golden, ...]:
    """All lines. Raises SpecErrors with every fault, and for a file without a line: a test of nothing passes always."""
    if len(data) > MAX_BYTES:
        raise SpecError(f"{source} has {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise SpecError(f"{source} is not UTF-8: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not 1 <= len(numbered) <= MAX_LINES:
        raise SpecError(f"{source} has {len(numbered)} lines; 1 to {MAX_LINES} are expected")
    goldens, faults = list[Golden](), list[Fault]()
    for number, line in numbered:
        try:
            goldens.append(_read_line(line, f"{source}:{number}", signature))
        except SpecErrors as error:
            faults += [fault.model_copy(update={"line": number}) for fault in error.faults]
    if faults:
        raise SpecErrors(source=source, faults=faults)
    return tuple(goldens)


def _read_line(line: str, source: str, signature: Signature) -> Golden:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SpecErrors(faults=[Fault(path="", message=f"not JSON: {error}")]) from None
    if not isinstance(document, dict) or set(document) != {"input", "expect"}:
        raise SpecErrors(faults=[Fault(path="", message='{"input": {...}, "expect": {...}} is expected')])
    faults = [*_input_faults(document["input"], signature), *_expect_faults(document["expect"], signature)]
    if faults:
        raise SpecErrors(faults=faults)
    expect = document["expect"]
    return Golden(
        source=source,
        input=document["input"],
        value=expect.get("value"),
        tolerance=float(expect.get("tolerance", 0)),
        least=float(expect.get("min", -math.inf)),
        most=float(expect.get("max", math.inf)),
    )


def _input_faults(given: object, signature: Signature) -> Iterator[Fault]:
    wanted = dict(signature.inputs)
    if not isinstance(given, dict):
        yield Fault(path="input", message="an object is expected")
        return
    for name in sorted(wanted.keys() - given.keys()):
        yield Fault(path=f"input.{name}", message="is missing: the model wants it")
    for name in sorted(given.keys() - wanted.keys()):
        yield Fault(path=f"input.{name}", message="is no input of the model", allowed=", ".join(wanted))
    for name in sorted(given.keys() & wanted.keys()):
        if not _fits(given[name], wanted[name]):
            yield Fault(path=f"input.{name}", message=f"is no {wanted[name]}: {json.dumps(given[name])[:40]}")


def _expect_faults(expect: object, signature: Signature) -> Iterator[Fault]:
    known = {"value", "tolerance"}, {"min", "max"}
    if not isinstance(expect, dict) or not expect or not (set(expect) <= known[0] or set(expect) <= known[1]):
        yield Fault(
            path="expect",
            message="one of two is expected",
            allowed='{"value", "tolerance"} or {"min", "max"}',
        )
        return
    if "value" not in expect and "tolerance" in expect:
        yield Fault(path="expect.value", message="is missing")
    if "value" in expect and not signature.may_be(expect["value"]):
        yield Fault(path="expect.value", message=f"is no finite {signature.output}")
    if set(expect) - {"value"} and signature.output not in _NUMBERS:
        yield Fault(path="expect", message=f"a {signature.output} has neither bounds nor tolerance")
    bounds = [name for name in ("tolerance", "min", "max") if name in expect]
    wrong = [name for name in bounds if not _is_number(expect[name])]
    yield from (Fault(path=f"expect.{name}", message="a finite number is expected") for name in wrong)
    if not wrong and expect.get("tolerance", 0) < 0:
        yield Fault(path="expect.tolerance", message="is negative")
    if not wrong and expect.get("min", -math.inf) > expect.get("max", math.inf):
        yield Fault(path="expect.min", message="is larger than max: nothing could be right")


def _fits(value: object, kind: str) -> bool:
    if kind == "double":
        return _is_number(value)
    if kind == "long":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "boolean" else str)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
