"""The app's steps as Azure indexes them: a name now, the code behind it when it is first called.

Azure imports the app in every worker it starts and asks which functions there are. Flex Consumption scales HTTP
functions, durable functions and every timer on workers of their own, so no worker ever runs all of them: each loads the
code, models and validators of what it is called for. Whatever is imported here is paid for by all of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import azure.durable_functions as df

type Runner = Callable[[Any], Any]

homes: dict[str, str] = {}  # each step's name -> the module that defines it
_runners: dict[str, Runner] = {}


def activities(module: str, *names: str) -> df.Blueprint:
    """The activities `names`, which `module` defines with the decorator of shared.durable.blueprint."""
    blueprint = df.Blueprint()
    for name in names:
        homes[name] = module
        blueprint.activity_trigger(input_name="payload")(_activity(name))
    return blueprint


def orchestrators(module: str, *names: str) -> df.Blueprint:
    """The orchestrators `names`, which `module` defines with the decorator of shared.durable.blueprint."""
    blueprint = df.Blueprint()
    for name in names:
        homes[name] = module
        blueprint.orchestration_trigger(context_name="context")(_orchestrator(name))
    return blueprint


def provide(name: str, run: Runner) -> None:
    """Called by a module that is being loaded, for each step it defines."""
    _runners[name] = run


def runner(name: str) -> Runner:
    """What runs the step `name`; loads its home first. Raises LookupError if the home does not define it."""
    importlib.import_module(homes[name])
    if name not in _runners:
        raise LookupError(f"{homes[name]} defines no step {name}")
    return _runners[name]


def _activity(name: str) -> Runner:
    def run(payload: dict) -> dict:  # type: ignore[type-arg]  # Azure accepts plain annotations only
        answer: dict[str, Any] = runner(name)(payload)
        return answer

    run.__name__ = name
    return run


def _orchestrator(name: str) -> Runner:
    def run(context):  # type: ignore[no-untyped-def]
        return (yield from runner(name)(context))

    run.__name__ = name
    return run
