"""Online endpoints behind the scenes, for the control API: how they really are, and what befalls them.

GET /endpoints, /endpoints/{name}; DELETE /endpoints/{name}, /endpoints/{name}/deployments/{deployment} (somebody else
did); POST /clusters/{name} {reachable, extension, nodes}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from localdev.azuresim import estate
from localdev.azuresim.ml.endpoint_spec import DEPLOYMENTS, ENDPOINTS
from localdev.azuresim.ml.kubernetes import CLUSTERS
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_ACCEPTED = ("traffic", "traffic_applied")
_SETTABLE = ("reachable", "extension", "nodes")


def control_routes(world: World, after_change: Callable[[], None]) -> list[web.RouteDef]:
    control = EndpointControl(world, after_change)
    return [
        web.get("/endpoints", control.list),
        web.get("/endpoints/{endpoint}", control.get),
        web.delete("/endpoints/{endpoint}", control.vanish),
        web.delete("/endpoints/{endpoint}/deployments/{deployment}", control.vanish),
        web.post("/clusters/{cluster}", control.change_cluster),
    ]


class EndpointControl:
    def __init__(self, world: World, after_change: Callable[[], None]) -> None:
        self._world, self._after_change = world, after_change

    async def list(self, request: web.Request) -> web.Response:
        self._catch_up()
        return web.json_response(
            {"value": [self._shown(each) for each in self._world.store.of_type(ENDPOINTS)]}
        )

    async def get(self, request: web.Request) -> web.Response:
        self._catch_up()
        found = self._find(request)
        return web.json_response(self._shown(found)) if found else _nothing()

    async def vanish(self, request: web.Request) -> web.Response:
        self._catch_up()
        found = self._find(request)
        if found is None:
            return _nothing()
        kind = "deployment" if found.type == DEPLOYMENTS else "endpoint"
        self._world.scheduler.at(self._world.now(), f"{kind}.vanish", **{kind: found.id})
        self._catch_up()
        return web.json_response({"id": found.id})

    async def change_cluster(self, request: web.Request) -> web.Response:
        found = self._world.store.get(estate.cluster_id(request.match_info["cluster"]))
        if found is None or found.type != CLUSTERS:
            return _nothing()
        asked = await request.json()
        found.state |= {name: value for name, value in asked.items() if name in _SETTABLE}
        self._after_change()
        return web.json_response({name: found.state[name] for name in _SETTABLE})

    def _find(self, request: web.Request) -> Resource | None:
        place = f"{estate.workspace_id()}/onlineEndpoints/{request.match_info['endpoint']}"
        if deployment := request.match_info.get("deployment"):
            place = f"{place}/deployments/{deployment}"
        return self._world.store.get(place)

    def _shown(self, endpoint: Resource) -> dict[str, Any]:
        """As it is, whatever a GET still shows of it; with every traffic map it was given, oldest first."""
        own = [each for each in self._world.events.since() if each.get("resource_id") == endpoint.id]
        since = max((each["seq"] for each in own if each.get("status") == "Creating"), default=0)
        return {
            "name": endpoint.name,
            "state": endpoint.provisioning_state,
            "traffic": endpoint.state["applied"],
            "tags": endpoint.tags,
            "deployments": [
                self._deployment(endpoint, each)
                for each in self._world.store.of_type(DEPLOYMENTS, endpoint.id)
            ],
            "traffic_events": [each for each in own if each["type"] in _ACCEPTED and each["seq"] > since],
        }

    def _deployment(self, endpoint: Resource, deployment: Resource) -> dict[str, Any]:
        return {
            "name": deployment.name,
            "state": deployment.provisioning_state,
            "code": (deployment.state.get("error") or {}).get("code", ""),
            "model": "/".join(str(deployment.properties["model"]).split("/")[-3::2]),
            "tags": deployment.tags,
            "instances": deployment.state["instances"],
            "weight": endpoint.state["applied"].get(deployment.name, 0),
        }

    def _catch_up(self) -> None:
        if self._world.scheduler.run_due():
            self._after_change()


def _nothing() -> web.Response:
    return web.json_response({"error": "there is nothing of that name"}, status=404)
