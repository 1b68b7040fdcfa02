"""Which members a request body may have. A member nobody knows is refused by its name, as Azure's JSON readers do.

A shape is a mapping of member names to shapes; ANY takes whatever comes; a list of one shape is an array of it; a
string marks a member that Azure knows and this simulator does not play.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localdev.azuresim.errors import bad_member, invalid_parameter, not_simulated

ANY: Mapping[str, Any] = {"*": None}
REFERENCE = {"id": ANY}
NOT_SIMULATED = "not simulated"
# What a GET shows and a PUT of the same document sends back; read and dropped.
READ_ONLY = ("id", "name", "type", "etag", "systemData", "managedBy")

Shape = Any


def check(body: Any, shape: Shape, owner: str, path: str = "") -> None:
    """Raises ARM's 400 for the first member that `shape` does not have."""
    if shape == NOT_SIMULATED:
        if body not in (None, [], {}):
            raise not_simulated(path, path)
        return
    if shape is ANY or body is None:
        return
    if isinstance(shape, list):
        if not isinstance(body, list):
            raise invalid_parameter(f"The value of parameter {path} is invalid: an array is expected.", path)
        for index, item in enumerate(body):
            check(item, shape[0], owner, f"{path}[{index}]")
        return
    if not isinstance(body, dict):
        raise invalid_parameter(f"The value of parameter {path} is invalid: an object is expected.", path)
    for name, value in body.items():
        where = f"{path}.{name}" if path else name
        if name not in shape:
            raise bad_member(name, owner, where)
        check(value, shape[name], owner, where)


def members(*names: str) -> dict[str, Any]:
    """members("a", "b") -> a shape with the members a and b, of any content."""
    return dict.fromkeys(names, ANY)
