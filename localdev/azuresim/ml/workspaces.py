"""Workspaces, read only: the estate has one. Shape: workspaceRP.json 2024-10-01-preview."""

from __future__ import annotations

from typing import Any

from localdev.azuresim import paging
from localdev.azuresim.ml.common import VERSIONS, WORKSPACE, WORKSPACES, system_data, workspace_of
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_PAGE = 100


def routes(world: World) -> list[Route]:
    workspaces = Workspaces(world)
    below_group = WORKSPACE.rpartition("/")[0]
    below_subscription = f"/subscriptions/{{subscription}}/providers/{WORKSPACES}"
    action = f"{WORKSPACES}/read"
    return [
        Route("GET", below_subscription, action, workspaces.list, VERSIONS),
        Route("GET", below_group, action, workspaces.list, VERSIONS),
        Route("GET", WORKSPACE, action, workspaces.get, VERSIONS),
    ]


class Workspaces:
    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, call: Call) -> Reply:
        return Reply(200, _view(workspace_of(self._world, call)))

    def list(self, call: Call) -> Reply:
        found = self._world.store.of_type(WORKSPACES, call.path.partition("/providers/")[0])
        return Reply(200, paging.page(call, [_view(each) for each in found], _PAGE))


def _view(resource: Resource) -> dict[str, Any]:
    return {**resource.envelope(), "systemData": system_data(resource)}
