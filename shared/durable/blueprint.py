"""Decorators that make a plain function a durable step: wire JSON becomes models, expected failures become values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

import azure.durable_functions as df

from shared.domain.errors import AppError
from shared.domain.wire import Wire
from shared.durable import wire
from shared.durable.contracts import Step
from shared.durable.flow import Flow

logger = logging.getLogger(__name__)


def activity[I: Wire, O: Wire](
    blueprint: df.Blueprint, step: Step[I, O]
) -> Callable[[Callable[[I], O]], Callable[[I], O]]:
    """Register `function` as the activity `step`. The function itself stays callable, for tests."""

    def decorate(function: Callable[[I], O]) -> Callable[[I], O]:
        def run(payload: dict) -> dict:  # type: ignore[type-arg]  # Azure accepts plain annotations only
            try:
                return wire.answer(function(wire.from_wire(step.input, payload)))
            except AppError as error:
                logger.warning("step failed", extra={"step": step.name, "error": type(error).__name__})
                return wire.failure(error)

        _named(run, function, step.name)
        blueprint.activity_trigger(input_name="payload")(run)
        return function

    return decorate


def orchestrator[I: Wire, O: Wire](
    blueprint: df.Blueprint, step: Step[I, O], *, fails: Callable[[O], str | None] = lambda _: None
) -> Callable[[Callable[[Flow, I], Generator[Any, Any, O]]], Callable[[Flow, I], Generator[Any, Any, O]]]:
    """Register a generator function as the orchestrator `step`.

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

        _named(run, function, step.name)
        blueprint.orchestration_trigger(context_name="context")(run)
        return function

    return decorate


class RunFailed(Exception):
    """Ends an orchestration as Failed, with the reason a person reads first."""


def _named(wrapper: Callable[..., Any], function: Callable[..., Any], name: str) -> None:
    if function.__name__ != name:
        raise TypeError(f"step {name} must be a function of that name, not {function.__name__}")
    wrapper.__name__ = name
    wrapper.__doc__ = function.__doc__
