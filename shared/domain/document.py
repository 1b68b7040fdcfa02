"""YAML text as plain data that remembers where it stood, read so that no text can be a bomb.

A subset of YAML: one document, no tags, no aliases, text keys, each once. Plain scalars mean what YAML 1.2's core
schema says, so `no`, `on`, `1:30` and dates stay text. JSON is a subset of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from shared.domain.errors import Fault

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 5_000

type Path = tuple[str | int, ...]

_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,2})?")
_CONSTANTS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Mark(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


class Document(NamedTuple):
    """The data, where every value and key of it stands, and what is wrong with the text. Data is None if unreadable."""

    data: JsonValue
    values: dict[Path, Mark]
    keys: dict[Path, Mark]
    faults: tuple[Fault, ...]

    def mark(self, path: Path, *, of_key: bool = False) -> Mark | None:
        """Where the value (or the key) at `path` stands, or the nearest thing around it that is there."""
        if of_key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return None


def dotted(path: Path) -> str:
    """`dotted(("compute", "sizes", 0)) -> "compute.sizes[0]"`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_document(text: str) -> Document:
    """Never raises for what the text says: a text that cannot be read has faults and no data."""
    reader = _Reader()
    data: JsonValue = None
    try:
        data = reader.read(_checked(text))
    except _Unreadable as error:
        reader.faults.append(error.fault)
    except yaml.YAMLError as error:
        reader.faults.append(_syntax_fault(error))
    return Document(data, reader.values, reader.keys, tuple(reader.faults))


class _Unreadable(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _checked(text: str) -> str:
    # Characters first: counting those of a 10 MB text costs nothing, encoding it does.
    try:
        too_long = len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES
    except UnicodeEncodeError:
        raise _Unreadable(Fault(path="", message="is not UTF-8 text")) from None
    if too_long:
        raise _Unreadable(
            Fault(path="", message="is too long for a declaration", allowed=f"at most {MAX_BYTES // 1024} KB")
        )
    if found := _DIRECTIVE.search(text):
        # 10,000 of them take libyaml a fifth of a second before it gives the first event.
        line = text.count("\n", 0, found.start()) + 1
        raise _Unreadable(Fault(path="", message="has a directive (`%...`)", line=line, column=1))
    return text


def _syntax_fault(error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return Fault(
        path="",
        message=f"is not YAML: {problem}",
        line=mark.line + 1 if mark else None,
        column=mark.column + 1 if mark else None,
        hint="Indent with spaces, and put text with `:`, `#`, `*` or `{` in quotes",
    )


class _Reader:
    def __init__(self) -> None:
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}
        self.faults: list[Fault] = []
        self._nodes = 0

    def read(self, text: str) -> JsonValue:
        # Events, not nodes: what is refused is refused before anything is built from it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        events: Iterator[yaml.Event] = yaml.parse(text, Loader=loader)
        first = next(e for e in events if not isinstance(e, yaml.StreamStartEvent | yaml.DocumentStartEvent))
        if isinstance(first, yaml.StreamEndEvent):
            raise _Unreadable(Fault(path="", message="is empty", allowed="a mapping that starts with `kind`"))
        data = self._node(first, events, ())
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise self._refusal(event, (), "a second document begins here", "one declaration per file")
        return data

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> JsonValue:
        self._admit(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(events, path)
        return self._mapping(events, path)

    def _admit(self, event: yaml.Event, path: Path) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._refusal(event, (), "has too many values", f"at most {MAX_NODES}")
        if len(path) > MAX_DEPTH:
            raise self._refusal(event, (), "is nested too deeply", f"at most {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise self._refusal(event, path, f"*{event.anchor} is an alias", "values written out")
        if getattr(event, "tag", None) is not None:
            raise self._refusal(event, path, "has a tag (`!...`)", "values without tags")
        self.values.setdefault(path, _mark(event))

    def _list(self, events: Iterator[yaml.Event], path: Path) -> JsonValue:
        items: list[JsonValue] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> JsonValue:
        mapping: dict[str, JsonValue] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refusal(event, path, "has a key that is not text", "text keys")
            key = event.value
            at = (*path, key)
            if key in mapping:
                first = self.keys[at].line
                self.faults.append(
                    Fault(
                        path=dotted(at),
                        message=f"is given twice, first in line {first}",
                        line=_mark(event).line,
                        column=_mark(event).column,
                        hint="Keep one of them",
                    )
                )
            self.keys.setdefault(at, _mark(event))
            value = self._node(next(events), events, at)
            mapping.setdefault(key, value)
        return mapping

    def _refusal(self, event: yaml.Event, path: Path, message: str, allowed: str) -> _Unreadable:
        mark = _mark(event)
        return _Unreadable(
            Fault(path=dotted(path), message=message, line=mark.line, column=mark.column, allowed=allowed)
        )


def _mark(event: yaml.Event) -> Mark:
    at = event.start_mark
    return Mark(at.line + 1, at.column + 1) if at else Mark(1, 1)


def _scalar(event: yaml.ScalarEvent) -> JsonValue:
    text: str = event.value
    is_plain = event.implicit[0]
    if not is_plain:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
