"""What all of Microsoft.MachineLearningServices has in common: versions, the workspace, dates of authorship, refusals."""

from __future__ import annotations

from typing import Any

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


def user_error(status: int, message: str, code: str = "UserError") -> ArmError:
    """A refusal of the workspace's own services, which speak of user errors."""
    return ArmError(status, code, message)
