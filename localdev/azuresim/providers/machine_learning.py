"""Microsoft.MachineLearningServices: the routes of every module of `localdev.azuresim.ml`, found by being there."""

from __future__ import annotations

import importlib
import pkgutil

from localdev.azuresim import ml
from localdev.azuresim.routing import Route
from localdev.azuresim.world import World


def routes(world: World) -> list[Route]:
    modules = (
        importlib.import_module(f"{ml.__name__}.{found.name}") for found in pkgutil.iter_modules(ml.__path__)
    )
    return [route for module in modules if hasattr(module, "routes") for route in module.routes(world)]
