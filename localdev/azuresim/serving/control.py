"""GET /serving/{endpoint}: behind the scenes of an endpoint's data plane, for the control API."""

from __future__ import annotations

from aiohttp import web

from localdev.azuresim.world import World


def routes(world: World) -> list[web.RouteDef]:
    async def describe(request: web.Request) -> web.Response:
        serving = world.serving
        found = serving.describe(request.match_info["endpoint"]) if serving else None
        if found is None:
            return web.json_response({"error": "nothing is served by that name"}, status=404)
        return web.json_response(found)

    return [web.get("/serving/{endpoint}", describe)]
