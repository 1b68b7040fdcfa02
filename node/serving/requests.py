"""What a client sends, checked against the model's card: every fault is found, and nothing is guessed or converted.

The shape is that of mlflow and of Azure ML's own examples. `index` is accepted and means nothing here.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from node.models import Column

MAX_BYTES = 1024 * 1024
MAX_ROWS = 1000
MOST_FAULTS = 50  # in one answer: the rest is counted
_MOST_SHOWN = 40  # characters of a value or a name that somebody sent
_INT64 = 2**63
_SHAPE = '{"input_data": {"columns": [...], "data": [[...], ...]}}'


class BadRequest(Exception):
    """The client must change its request. `faults` says all that is wrong with it."""

    def __init__(self, faults: Sequence[str], status: int = 400) -> None:
        super().__init__("; ".join(faults))
        self.faults, self.status = tuple(faults), status


@dataclass(frozen=True)
class Rows:
    """Rows as columns, in the order of the card, each value of the type that the card names."""

    columns: dict[str, list[Any]]
    count: int


def parse_rows(body: bytes, inputs: Sequence[Column]) -> Rows:
    """Raises BadRequest with every fault of the body."""
    if len(body) > MAX_BYTES:
        raise too_large()
    try:
        document = json.loads(body)
    except (
        ValueError,
        RecursionError,
    ) as error:  # also what is not UTF-8, and numbers of thousands of digits
        raise BadRequest([f"the body is not JSON: {_shown(str(error), 120)}"]) from None
    columns, rows = _table(document)
    if faults := _column_faults(columns, inputs):
        raise BadRequest(faults)
    return _typed(columns, rows, inputs)


def too_large() -> BadRequest:
    return BadRequest([f"the body has more than {MAX_BYTES} bytes"], status=413)


def _table(document: object) -> tuple[list[str], list[Any]]:
    """The table's column names and its rows. Raises BadRequest if the document has another shape."""
    table = document.get("input_data") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(table, dict):
        raise BadRequest([f"the body is not of the shape {_SHAPE}"])
    faults = [f"{_shown(name)}: not a field we know" for name in document if name != "input_data"]
    faults += [
        f"input_data.{_shown(name)}: not a field we know"
        for name in table
        if name not in ("columns", "data", "index")
    ]
    columns, rows = table.get("columns"), table.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        faults.append("input_data.columns: a list of names is expected")
    if not isinstance(rows, list) or not rows:
        faults.append("input_data.data: a list of rows is expected, of at least one")
    elif len(rows) > MAX_ROWS:
        faults.append(f"input_data.data: {len(rows)} rows; at most {MAX_ROWS} are scored at once")
    if faults or not isinstance(columns, list) or not isinstance(rows, list):
        raise BadRequest(_bounded(iter(faults)))
    return columns, rows


def _column_faults(columns: Sequence[str], inputs: Sequence[Column]) -> list[str]:
    wanted = [column.name for column in inputs]
    faults = [f"input_data.columns: {name!r} is missing" for name in wanted if name not in columns]
    faults += [
        f"input_data.columns: {_shown(name)} is no input of the model"
        for name in columns
        if name not in wanted
    ]
    faults += [
        f"input_data.columns: {_shown(name)} is there {count} times"
        for name, count in Counter(columns).items()
        if count > 1
    ]
    return _bounded(iter(faults))


def _typed(names: Sequence[str], rows: Sequence[Any], inputs: Sequence[Column]) -> Rows:
    columns: dict[str, list[Any]] = {column.name: [] for column in inputs}
    places = [(column, names.index(column.name)) for column in inputs]

    def read() -> Iterator[str]:
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names):
                yield f"input_data.data[{number}]: a list of {len(names)} values is expected"
                continue
            for column, place in places:
                try:
                    columns[column.name].append(_CHECKS[column.type](row[place]))
                except ValueError as fault:
                    yield f"input_data.data[{number}][{place}] ({column.name}): {fault}"

    if faults := _bounded(read()):
        raise BadRequest(faults)
    return Rows(columns, len(rows))


def _bounded(faults: Iterator[str]) -> list[str]:
    told = list(islice(faults, MOST_FAULTS))
    more = sum(1 for _ in faults)
    return [*told, f"and {more} faults more"] if more else told


def _double(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{_shown(value)} is no finite number")
    return number


def _long(value: object) -> int:
    if isinstance(value, float) and value.is_integer():  # 5.0: clients that know one kind of number send that
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "a whole number")
    if not -_INT64 <= value < _INT64:
        raise ValueError(f"{_shown(value)} is no 64-bit number")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a text")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("the text has half a character (a lone surrogate)")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return value


_CHECKS: dict[str, Callable[[object], Any]] = {
    "double": _double,
    "long": _long,
    "string": _string,
    "boolean": _boolean,
}


def _wrong(value: object, expected: str) -> ValueError:
    return ValueError(f"{_shown(value)} found, {expected} is expected")


def _shown(value: object, most: int = _MOST_SHOWN) -> str:
    """A value as somebody sent it, short and in ASCII: it goes into answers and logs."""
    if isinstance(value, int) and abs(value) >= _INT64:
        return "a huge number"
    try:
        text = json.dumps(value)
    except RecursionError:
        return "something deep"
    return text if len(text) <= most else text[: most - 3] + "..."
