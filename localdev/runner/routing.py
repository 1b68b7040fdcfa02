"""ASP.NET route templates, which Azure Functions uses: `runs/{id:guid}`, `{name?}`, `{page=1}`, `files/{*rest}`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from localdev.runner.errors import AppError

_LITERAL, _CONSTRAINED, _FREE, _CATCH_ALL = range(4)
Check = Callable[[str], bool]


def _parses(parse: Callable[[str], object]) -> Check:
    def check(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


def _signed(bits: int) -> Check:
    limit = 1 << (bits - 1)
    return lambda value: re.fullmatch(r"[+-]?\d+", value) is not None and -limit <= int(value) < limit


_SIMPLE: dict[str, Check] = {
    "int": _signed(32),
    "long": _signed(64),
    "bool": lambda value: value.lower() in ("true", "false"),
    "guid": _parses(uuid.UUID),
    "alpha": lambda value: re.fullmatch("[a-zA-Z]*", value) is not None,
    "datetime": _parses(datetime.fromisoformat),
    "decimal": _parses(float),
    "double": _parses(float),
    "float": _parses(float),
    "required": bool,
}


def _constraint(rule: str, template: str) -> Check:
    name, _, argument = rule.partition("(")
    argument = argument.removesuffix(")")
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name == "regex":
        pattern = re.compile(argument.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
        return lambda value: pattern.search(value) is not None
    numbers = [int(n) for n in argument.split(",")] if re.fullmatch(r"-?\d+(,-?\d+)?", argument) else []
    match name, numbers:
        case ("length", [exact]):
            return lambda value: len(value) == exact
        case ("length", [low, high]):
            return lambda value: low <= len(value) <= high
        case ("minlength", [low]):
            return lambda value: len(value) >= low
        case ("maxlength", [high]):
            return lambda value: len(value) <= high
        case ("min", [low]):
            return lambda value: _SIMPLE["long"](value) and int(value) >= low
        case ("max", [high]):
            return lambda value: _SIMPLE["long"](value) and int(value) <= high
        case ("range", [low, high]):
            return lambda value: _SIMPLE["long"](value) and low <= int(value) <= high
        case _:
            raise AppError(f"route {template!r}: unknown constraint {rule!r}")


@dataclass(frozen=True)
class Segment:
    pattern: re.Pattern[str]
    rank: int
    checks: tuple[tuple[str, Check], ...] = ()
    names: tuple[str, ...] = ()
    default: str | None = None
    optional: bool = False

    def match(self, text: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        values = dict(zip(self.names, found.groups(), strict=True))
        return values if all(check(values[name]) for name, check in self.checks) else None


class RouteTemplate:
    """One parsed template. `match` gives the route parameters of a path, None when it is another route's."""

    def __init__(self, template: str) -> None:
        self.template = template.strip("/")
        parts = [part for part in _split(self.template) if part]
        self._segments = [_segment(part, self.template) for part in parts]
        if any(s.rank == _CATCH_ALL for s in self._segments[:-1]):
            raise AppError(f"route {template!r}: a catch-all parameter can only be the last segment")

    @property
    def precedence(self) -> tuple[int, ...]:
        """Sorts as ASP.NET prefers: literal, then constrained, then free, then catch-all, segment by segment."""
        return tuple(segment.rank for segment in self._segments)

    def match(self, path: str) -> dict[str, str] | None:
        """`path` as it came, still percent-encoded, so that an encoded slash stays inside its segment."""
        texts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
        values: dict[str, str] = {}
        for index, segment in enumerate(self._segments):
            if segment.rank == _CATCH_ALL:
                rest = "/".join(texts[index:]) or segment.default or ""
                found = segment.match(rest)
                return None if found is None else values | found
            if index >= len(texts):
                if segment.default is not None:
                    values[segment.names[0]] = segment.default
                elif not segment.optional:
                    return None
                continue
            found = segment.match(texts[index])
            if found is None:
                return None
            values |= found
        return values if len(texts) <= len(self._segments) else None


def _split(template: str) -> list[str]:
    """Split at slashes outside braces (a regex constraint may hold one)."""
    parts, depth = [""], 0
    for char in template:
        depth += (char == "{") - (char == "}")
        if char == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


@dataclass(frozen=True)
class _Parameter:
    name: str
    rules: tuple[str, ...]
    default: str | None
    optional: bool
    catch_all: bool


def _segment(part: str, template: str) -> Segment:
    pieces = _pieces(part, template)
    parameters = [piece for piece in pieces if isinstance(piece, _Parameter)]
    if not parameters:
        return Segment(re.compile(re.escape(part), re.IGNORECASE), _LITERAL)
    checks = tuple((p.name, _constraint(rule, template)) for p in parameters for rule in p.rules)
    first = parameters[0]
    any_text = "(.*)" if first.catch_all else "(.+?)"
    pattern = "".join(any_text if isinstance(piece, _Parameter) else re.escape(piece) for piece in pieces)
    rank = _CATCH_ALL if first.catch_all else _CONSTRAINED if checks or len(pieces) > 1 else _FREE
    return Segment(
        re.compile(pattern, re.IGNORECASE | re.DOTALL),
        rank,
        checks,
        tuple(p.name for p in parameters),
        first.default,
        first.optional,
    )


def _pieces(part: str, template: str) -> list[str | _Parameter]:
    """`file-{id:int}.txt` -> ["file-", id, ".txt"]"""
    pieces: list[str | _Parameter] = []
    text, depth = "", 0
    for char in part:
        if char == "{" and depth == 0:
            pieces += [text] if text else []
            text, depth = "", 1
        elif char == "}" and depth == 1:
            pieces.append(_parameter(text, template))
            text, depth = "", 0
        else:
            depth += (char == "{") - (char == "}")
            text += char
        if depth < 0:
            break
    if depth != 0:
        raise AppError(f"route {template!r}: braces do not match in the segment {part!r}")
    return pieces + ([text] if text else [])


def _parameter(text: str, template: str) -> _Parameter:
    """`*name:rule(..):rule=default` or `name?`; signs inside a rule's parentheses belong to the rule."""
    catch_all, body = text.startswith("*"), text.lstrip("*")
    tokens, depth = [""], 0
    for char in body:
        if depth == 0 and char in ":=?" and not tokens[-1].startswith("="):
            tokens.append("")
        depth += (char == "(") - (char == ")")
        tokens[-1] += char
    name, *marks = tokens
    if not name.strip():
        raise AppError(f"route {template!r}: a parameter has no name")
    defaults = [mark[1:] for mark in marks if mark[0] == "="]
    return _Parameter(
        name.strip(),
        tuple(mark[1:] for mark in marks if mark[0] == ":"),
        defaults[0] if defaults else None,
        "?" in marks,
        catch_all,
    )


@dataclass(frozen=True)
class Route[T]:
    template: RouteTemplate
    methods: frozenset[str]
    target: T


class RouteTable[T]:
    """Finds the target of a request; the best template that also takes the method wins."""

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self._routes = sorted(routes, key=lambda route: route.template.precedence)

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        for route in self._routes:
            if route.methods and method.upper() not in route.methods:
                continue
            values = route.template.match(path)
            if values is not None:
                return route.target, values
        return None
