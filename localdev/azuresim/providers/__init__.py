"""One module a resource provider, each with `routes(world)`. A new module is found by being here."""

from __future__ import annotations

import importlib
import pkgutil

from localdev.azuresim.routing import Route
from localdev.azuresim.world import World


def routes(world: World) -> list[Route]:
    """Every provider's routes. Importing them also registers their steps on the world's scheduler."""
    modules = (
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    )
    return [route for module in modules for route in module.routes(world)]
