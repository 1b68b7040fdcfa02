"""What a developer is told when the host is up: the functions with their triggers, and what will not work here."""

from __future__ import annotations

from collections.abc import Iterator

from localdev.runner.dispatcher import TRIGGERS
from localdev.runner.http_trigger import route_of
from localdev.runner.loader import Function, http_methods
from localdev.runner.log import logger

_FIRED_HERE = {"httpTrigger", "timerTrigger", "eventGridTrigger", *TRIGGERS}
_BOUND_HERE = {"durableClient", "http"}
_INTERNAL = "BuiltIn__"  # the durable SDK registers call_http's own functions in every app


def announce(functions: list[Function], url: str, prefix: str) -> None:
    for function in functions:
        if not function.name.startswith(_INTERNAL):
            logger.info("%s: %s", function.name, _trigger(function, url, prefix))
        for shortcoming in _shortcomings(function):
            logger.warning("%s: %s", function.name, shortcoming)


def _trigger(function: Function, url: str, prefix: str) -> str:
    match function.trigger_type:
        case "httpTrigger":
            methods = ",".join(sorted(http_methods(function))) or "*"
            return f"[{methods}] {url}/{prefix}{'/' if prefix else ''}{route_of(function)}"
        case "timerTrigger":
            return f"timerTrigger {function.trigger['schedule']}"
        case other:
            return other


def _shortcomings(function: Function) -> Iterator[str]:
    if function.trigger_type not in _FIRED_HERE:
        yield f"nothing fires a {function.trigger_type} here; run it with POST /admin/functions/{function.name}"
    for binding in function.bindings:
        if binding["type"] not in _BOUND_HERE:
            yield f"the {binding['type']} binding {binding['name']!r} does nothing here: inputs fail, outputs are dropped"
