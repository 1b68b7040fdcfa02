"""Images of environments: built when first used, cached from then on.

Source: learn.microsoft.com machine-learning/concept-environments ("Environment building, caching, and reuse"): images
with conda dependencies or a build context are built into the workspace's registry, once for each definition.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from localdev.azuresim.store import Resource

IMAGE_BUILT_S = 360.0
_DEFINITION = ("image", "build", "condaFile", "osType")


def ready_at(workspace: Resource, environment: Resource | None, at: float) -> float:
    """When the image of an environment is there; a build that is needed begins now."""
    if environment is None or not (
        environment.properties.get("condaFile") or environment.properties.get("build")
    ):
        return at
    return max(at, float(_built(workspace).setdefault(_digest(environment), at + IMAGE_BUILT_S)))


def failed(workspace: Resource, environment: Resource | None) -> None:
    """Its build came to nothing: the next use builds it anew."""
    if environment is not None:
        _built(workspace).pop(_digest(environment), None)


def _built(workspace: Resource) -> dict[str, Any]:
    found: dict[str, Any] = workspace.state.setdefault("images", {})
    return found


def _digest(environment: Resource) -> str:
    definition = {name: environment.properties.get(name) for name in _DEFINITION}
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
