"""What tests may do to Event Grid: publish as a service of Azure would, and subscribe without Azure Resource Manager.

POST /event-grid/events, POST and GET /event-grid/subscriptions, POST /event-grid/function-apps; see the client's
methods in localdev.azuresim.control for what they take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from localdev.azuresim import estate
from localdev.azuresim.errors import ArmError
from localdev.azuresim.event_grid import subscriptions
from localdev.azuresim.event_grid.deliveries import Deliveries
from localdev.azuresim.event_grid.events import CLOUD_EVENTS, EVENT_GRID, spelled, system_event
from localdev.azuresim.event_grid.handshakes import Handshakes
from localdev.azuresim.event_grid.requested import requested
from localdev.azuresim.event_grid.webhooks import is_loopback
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

SCHEMAS = {"": "", "eventgrid": EVENT_GRID, "cloudevents": CLOUD_EVENTS}
ORDERS = ("", "overtaken")
_SITES = (
    f"/subscriptions/{estate.SUBSCRIPTION}/resourceGroups/{estate.HOME_GROUP}/providers/{subscriptions.SITES}"
)


class EventGridControl:
    def __init__(
        self, world: World, deliveries: Deliveries, handshakes: Handshakes, after_change: Callable[[], None]
    ) -> None:
        self._world, self._deliveries, self._handshakes = world, deliveries, handshakes
        self._after_change = after_change

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/event-grid/events", self._answering(self._publish)),
            web.post("/event-grid/subscriptions", self._answering(self._subscribe)),
            web.get("/event-grid/subscriptions", self._answering(self._owed)),
            web.post("/event-grid/function-apps", self._answering(self._function_app)),
        ]

    def _answering(self, do: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.Response:
            try:
                body = await do(request)
            except (ArmError, KeyError, TypeError, ValueError) as error:
                return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
            self._after_change()
            return web.json_response(body)

        return handler

    async def _publish(self, request: web.Request) -> dict[str, Any]:
        asked = await request.json()
        type_, at = str(asked["type"]), self._world.now()
        source = asked.get("source") or _own_source(type_)
        topic = asked.get("topic") or source
        if asked.get("order", "") not in ORDERS:
            raise ValueError(f"order {asked['order']!r} is none of {ORDERS}")
        event = system_event(
            type_,
            topic,
            str(asked.get("subject", "")),
            spelled(asked.get("data"), asked.get("casing", "")),
            at,
        )
        if asked.get("id"):
            event = replace(event, id=str(asked["id"]))
        self._deliveries.publish(
            event,
            source,
            at + float(asked.get("delay_s", 0)),
            named=asked.get("to", ""),
            schema=SCHEMAS[asked.get("schema", "")],
            copies=int(asked.get("copies", 1)),
            held=asked.get("order") == "overtaken",
        )
        self._world.scheduler.run_due()
        return {"id": event.id}

    async def _subscribe(self, request: web.Request) -> dict[str, Any]:
        asked = await request.json()
        scope = asked.get("scope") or estate.workspace_id()
        name, at = str(asked.get("name") or "test"), self._world.now()
        properties, endpoint = requested(
            {
                "destination": {
                    "endpointType": subscriptions.WEBHOOK,
                    "properties": {"endpointUrl": asked["endpoint_url"], **asked.get("batch", {})},
                },
                "eventDeliverySchema": SCHEMAS[asked.get("schema", "")] or EVENT_GRID,
                "filter": {"includedEventTypes": asked.get("types") or None, **asked.get("filter", {})},
                "retryPolicy": asked.get("retry") or None,
                "deadLetterDestination": _dead_letter(asked.get("dead_letter_container", "")),
            },
            scope,
        )
        id_ = subscriptions.subscription_id(scope, name)
        made = Resource(id_, subscriptions.SUBSCRIPTIONS, estate.LOCATION, at, at, properties=properties)
        made.properties["provisioningState"], made.state["endpoint"] = "Succeeded", endpoint
        if asked.get("handshake", True) and (problem := await self._handshakes.refusal(made)):
            raise ValueError(f"webhook validation handshake failed: {problem}")
        self._world.store.put(made)
        return {"id": id_}

    async def _owed(self, request: web.Request) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"owed": self._deliveries.owed()}

    async def _function_app(self, request: web.Request) -> dict[str, Any]:
        """{name, url, key}: where a function app of the estate really is, for AzureFunction destinations."""
        asked = await request.json()
        url, at = str(asked["url"]).rstrip("/"), self._world.now()
        if not is_loopback(url):
            raise ValueError(f"{url} is not on loopback")
        site = Resource(f"{_SITES}/{asked['name']}", subscriptions.SITES, estate.LOCATION, at, at)
        site.state = {"url": url, "key": str(asked.get("key", ""))}
        self._world.store.put(site)
        return {"id": site.id}


def _own_source(type_: str) -> str:
    return estate.storage_account_id() if type_.startswith("Microsoft.Storage.") else estate.workspace_id()


def _dead_letter(container: str) -> dict[str, Any] | None:
    if not container:
        return None
    place = {"resourceId": estate.storage_account_id(), "blobContainerName": container}
    return {"endpointType": "StorageBlob", "properties": place}
