"""What all of Microsoft.Network has in common: its versions, its long operations and its words for a bad body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call
from localdev.azuresim.shapes import check
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = (
    *("2023-11-01", "2024-01-01", "2024-03-01", "2024-05-01", "2024-07-01", "2024-10-01"),
    *("2025-01-01", "2025-03-01", "2025-05-01", "2026-01-01", "2026-03-01"),
)
WRITE_S, DELETE_S = 2.0, 4.0
PAGE = 100
_POLL_S = 2.0


def begin(world: World, call: Call, resource: Resource, step: str, after_s: float) -> Operation:
    operation = world.operations.begin_for(call, resource, poll_after_s=_POLL_S)
    world.operations.then(operation, call.fault, after_s, step, resource=resource.id)
    return operation


def check_members(body: Mapping[str, Any], shape: Any, owner: str) -> None:
    """As `shapes.check`, in the words of Microsoft.Network."""
    try:
        check(body, shape, owner.rpartition("/")[2])
    except ArmError as error:
        detail = {"code": "InvalidJson", "message": error.message}
        raise ArmError(400, "InvalidRequestFormat", "Cannot parse the request.", details=[detail]) from error
