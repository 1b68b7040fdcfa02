"""The columns of training data: what a retraining needs, and how what is there differs from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

type Columns = Mapping[
    str, str
]  # name -> type, in MODEL.json's words: double, long, string, boolean, timestamp, ...

_NUMBERS = ("double", "long")  # an integer column with a gap in it is a double one day
ABSENT_TYPE = "null"  # a column of nothing but gaps fits any type


def demanded(inputs: Iterable[Mapping[str, object]], *others: str) -> dict[str, str]:
    """The columns that a model's card names, with its types, and `others` of any type."""
    wanted = {name: "" for name in others if name}
    return wanted | {str(each["name"]): str(each.get("type", "")) for each in inputs}


def faults(wanted: Columns, found: Columns) -> tuple[str, ...]:
    """What keeps data with the columns `found` from being used: a column less, or another type. Columns more are fine.

    faults({"distance": "double"}, {"distanse": "double"}) -> ("distance (double) is missing",)
    """
    told = []
    for name, type_ in wanted.items():
        if name not in found:
            told.append(f"{name}{f' ({type_})' if type_ else ''} is missing")
        elif not _fits(type_, found[name]):
            told.append(f"{name} is {found[name]}, was {type_}")
    return tuple(told)


def difference(wanted: Columns, found: Columns) -> str:
    """All of the difference in one line, for a person: what is missing, what changed, what is new."""
    new = [f"{name} ({type_}) is new" for name, type_ in found.items() if name not in wanted]
    told = [*faults(wanted, found), *new]
    return "; ".join(told[:20]) + (f"; and {len(told) - 20} more" if len(told) > 20 else "")


def _fits(wanted: str, found: str) -> bool:
    if not wanted or ABSENT_TYPE in (wanted, found) or wanted == found:
        return True
    return wanted in _NUMBERS and found in _NUMBERS
