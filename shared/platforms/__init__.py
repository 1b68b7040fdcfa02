"""Every platform, found by its file: a module here that defines PLATFORM is one."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from shared.platforms.base import Platform


@cache
def platforms() -> dict[str, Platform]:
    """All platforms by name. Cheap: platform modules import no Azure SDK until one of their methods runs."""
    modules = (
        importlib.import_module(f"{__name__}.{m.name}")
        for m in pkgutil.iter_modules(__path__)
        if m.name != "base"
    )
    return {module.PLATFORM.name: module.PLATFORM for module in modules if hasattr(module, "PLATFORM")}


def platform(name: str) -> Platform:
    """The platform called `name`. Raises KeyError naming those there are."""
    try:
        return platforms()[name]
    except KeyError:
        raise KeyError(f"no platform {name!r}; there are: {', '.join(sorted(platforms()))}") from None


def with_machines() -> dict[str, Platform]:
    """Those that `compute.platform` may name: they make machines and run jobs on them."""
    return {name: each for name, each in platforms().items() if each.machines is not None}


def with_server() -> dict[str, Platform]:
    """Those that `target.platform` may name: they serve models."""
    return {name: each for name, each in platforms().items() if each.server is not None}
