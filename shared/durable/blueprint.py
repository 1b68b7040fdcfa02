"""Decorators that make a plain function a durable step: wire JSON becomes models, expected failures become values.

Azure knows a step by the name that function_app.py gives to shared.durable.index.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

from shared.domain.errors import AppError
from shared.domain.wire import Wire
from shared.durable import index, wire
from shared.durable.contracts import Step
from shared.durable.flow import Flow

logger = logging.getLogger(__name__)


def activity[I: Wire, O: Wire](step: Step[I, O]) -> Callable[[Callable[[I], O]], Callable[[I], O]]:
    """Make `function` the activity `step`. The function itself stays callable, for tests."""

    def decorate(function: Callable[[I], O]) -> Callable[[I], O]:
        def run(payload: Any) -> dict[str, Any]:
            try:
                return wire.answer(function(wire.from_wire(step.input, payload)))
            except AppError as error:
                logger.warning("step failed", extra={"step": step.name, "error": type(error).__name__})
                return wire.failure(error)

        _provide(step, function, run)
        return function

    return decorate


def orchestrator[I: Wire, O: Wire](
    step: Step[I, O], *, fails: Callable[[O], str | None] = lambda _: None
) -> Callable[[Callable[[Flow, I], Generator[Any, Any, O]]], Callable[[Flow, I], Generator[Any, Any, O]]]:
    """Make a generator function the orchestrator `step`.

    `fails` says whether an outcome is a failure that the portal must show as one: a text makes the instance Failed,
    so that nobody reads "Completed" over work that was not done.
    """

    def decorate(
        function: Callable[[Flow, I], Generator[Any, Any, O]],
    ) -> Callable[[Flow, I], Generator[Any, Any, O]]:
        def run(context):  # type: ignore[no-untyped-def]
            request = wire.from_wire(step.input, context.get_input())
            try:
                outcome = yield from function(Flow(context), request)
            except AppError as error:
                return wire.failure(error)
            if problem := fails(outcome):
                raise RunFailed(problem)
            return wire.answer(outcome)

        _provide(step, function, run)
        return function

    return decorate


class RunFailed(Exception):
    """Ends an orchestration as Failed, with the reason a person reads first."""


def _provide(step: Step[Any, Any], function: Callable[..., Any], run: index.Runner) -> None:
    if function.__name__ != step.name:
        raise TypeError(f"step {step.name} must be a function of that name, not {function.__name__}")
    index.provide(step.name, run)
