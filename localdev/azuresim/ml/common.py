"""What all of Microsoft.MachineLearningServices has in common: versions, the workspace, lists in pages, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from localdev.azuresim import estate
from localdev.azuresim.errors import ArmError, not_found
from localdev.azuresim.events import iso
from localdev.azuresim.routing import Call
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

NAMESPACE = "Microsoft.MachineLearningServices"
WORKSPACES = f"{NAMESPACE}/workspaces"
# The route of a workspace; what is in one is below it.
WORKSPACE = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{WORKSPACES}/{{workspace}}"
VERSIONS = (
    *("2022-02-01-preview", "2022-05-01", "2022-10-01", "2022-10-01-preview", "2023-02-01-preview"),
    *("2023-04-01", "2023-04-01-preview", "2023-06-01-preview", "2023-08-01-preview", "2023-10-01"),
    *("2024-01-01-preview", "2024-04-01", "2024-04-01-preview", "2024-10-01", "2024-10-01-preview"),
    "2025-01-01-preview",
)
# The older ones show less of an asset than is shown here.
ASSET_VERSIONS = tuple(version for version in VERSIONS if version > "2022-10-01")
_ENDPOINT = "https://management.azure.com"
_PAGE = 30  # the SDK's own `count` of datastores


def workspace_of(world: World, call: Call) -> Resource:
    """The workspace a request is about or below. Raises ARM's 404."""
    id_ = "/".join(call.path.split("/")[:9])
    found = world.store.get(id_)
    if found is None:
        raise not_found(id_)
    return found


def system_data(resource: Resource) -> dict[str, Any]:
    """Who made it and when. `state` may name the author: {"author": "..."}; without, the app did."""
    author = str(resource.state.get("author", estate.APP.name))
    return {
        "createdAt": iso(resource.created),
        "createdBy": author,
        "createdByType": "Application",
        "lastModifiedAt": iso(resource.changed),
        "lastModifiedBy": author,
        "lastModifiedByType": "Application",
    }


def view(resource: Resource) -> dict[str, Any]:
    """A proxy resource of a workspace as its GET shows it."""
    return {
        "id": resource.id,
        "name": resource.name,
        "type": resource.type,
        "properties": dict(resource.properties),
        "systemData": system_data(resource),
    }


def properties_of(call: Call) -> dict[str, Any]:
    """The `properties` of a body, what is null left out. Raises the 400 of a body without."""
    properties = call.document().get("properties")
    if not isinstance(properties, dict):
        raise user_error(400, "The request is invalid: the body has no properties.")
    return {name: value for name, value in properties.items() if value is not None}


def boolean(call: Call, name: str) -> bool:
    return call.query.get(name, "").casefold() == "true"


def page(call: Call, items: Sequence[dict[str, Any]], *, limit: str = "") -> dict[str, Any]:
    """One page from `$skip` on, which a nextLink carries; the parameter `limit` bounds the whole list.

    Source: mfe.json, PaginationParameter ("Continuation for pagination") and $top ("Maximum number of records to
    return").
    """
    start = _number(call, "$skip", 0)
    wanted = items[: _number(call, limit, len(items))] if limit else items
    body: dict[str, Any] = {"value": list(wanted[start : start + _PAGE])}
    if start + _PAGE < len(wanted):
        query = {**call.query, "$skip": str(start + _PAGE)}
        body["nextLink"] = f"{_ENDPOINT}{quote(call.path)}?{urlencode(query, safe='$')}"
    return body


def user_error(status: int, message: str, *details: tuple[str, str]) -> ArmError:
    """A refusal of the workspace's own services; `details` are pairs of code and message."""
    return ArmError(
        status, "UserError", message, details=[{"code": code, "message": text} for code, text in details]
    )


def missing(what: str, code: str = "NotFound") -> ArmError:
    return user_error(404, "The specified resource was not found.", (code, what))


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not text.isdigit():
        raise user_error(400, f"The value '{text}' of the query parameter '{name}' is invalid.")
    return int(text)
