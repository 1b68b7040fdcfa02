"""Which events a subscription wants. Source: learn event-grid/event-filtering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localdev.azuresim.event_grid.events import GridEvent

ALL_EVENTS = "All"  # what older versions write for "every type"
_Test = Callable[[Any, list[Any]], bool]


def wants(filter_: Mapping[str, Any], event: GridEvent) -> bool:
    types = filter_.get("includedEventTypes") or []
    if types and ALL_EVENTS not in types and event.type.casefold() not in [str(t).casefold() for t in types]:
        return False
    exactly = bool(filter_.get("isSubjectCaseSensitive"))
    fold: Callable[[str], str] = (lambda text: text) if exactly else str.casefold
    subject = fold(event.subject)
    if not subject.startswith(fold(str(filter_.get("subjectBeginsWith") or ""))):
        return False
    if not subject.endswith(fold(str(filter_.get("subjectEndsWith") or ""))):
        return False
    return all(_passes(each, event) for each in filter_.get("advancedFilters") or [])


def _passes(rule: Mapping[str, Any], event: GridEvent) -> bool:
    """A missing key passes the negative operators only."""
    operator = str(rule["operatorType"])
    values = rule["values"] if "values" in rule else [rule.get("value")]
    found = _value(event, str(rule["key"]))
    return OPERATORS[operator](found, values)


def _value(event: GridEvent, key: str) -> Any:
    top = {
        "id": event.id, "topic": event.topic, "source": event.topic, "subject": event.subject,
        "eventtype": event.type, "type": event.type, "dataversion": event.data_version,
    }  # fmt: skip
    name, _, rest = key.partition(".")
    value: Any = event.data if name.casefold() == "data" else top.get(name.casefold())
    for part in rest.split(".") if rest else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(test: Callable[[str, str], bool]) -> _Test:
    def check(found: Any, values: list[Any]) -> bool:
        return isinstance(found, str) and any(test(found.casefold(), str(each).casefold()) for each in values)

    return check


def _number(test: Callable[[float, float], bool]) -> _Test:
    def check(found: Any, values: list[Any]) -> bool:
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        return is_number and any(test(found, each) for each in values)

    return check


def _not(test: _Test) -> _Test:
    return lambda found, values: not test(found, values)


OPERATORS: Mapping[str, _Test] = {
    "StringIn": _text(lambda found, each: found == each),
    "StringNotIn": _not(_text(lambda found, each: found == each)),
    "StringContains": _text(lambda found, each: each in found),
    "StringNotContains": _not(_text(lambda found, each: each in found)),
    "StringBeginsWith": _text(str.startswith),
    "StringNotBeginsWith": _not(_text(str.startswith)),
    "StringEndsWith": _text(str.endswith),
    "StringNotEndsWith": _not(_text(str.endswith)),
    "NumberIn": _number(lambda found, each: found == each),
    "NumberNotIn": _not(_number(lambda found, each: found == each)),
    "NumberGreaterThan": _number(lambda found, each: found > each),
    "NumberGreaterThanOrEquals": _number(lambda found, each: found >= each),
    "NumberLessThan": _number(lambda found, each: found < each),
    "NumberLessThanOrEquals": _number(lambda found, each: found <= each),
    "BoolEquals": lambda found, values: isinstance(found, bool) and found in values,
    "IsNullOrUndefined": lambda found, values: found is None,
    "IsNotNull": lambda found, values: found is not None,
}
