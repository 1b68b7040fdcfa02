"""Custom topics through Azure Resource Manager. Paths, statuses and members: EventGrid.json 2022-06-15, Topics_*."""

from __future__ import annotations

import base64
import re
import secrets
from typing import Any

from localdev.azuresim import estate, paging
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError, not_found
from localdev.azuresim.event_grid import subscriptions
from localdev.azuresim.event_grid.arm import VERSIONS
from localdev.azuresim.event_grid.events import CLOUD_EVENTS, EVENT_GRID
from localdev.azuresim.event_grid.requested import invalid
from localdev.azuresim.event_grid.subscriptions import TOPICS
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import NOT_SIMULATED, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_BODY = {
    **members("id", "name", "type", "systemData", "location", "tags"),
    "identity": NOT_SIMULATED,
    "properties": {
        **members("provisioningState", "endpoint", "metricResourceId", "inputSchema", "publicNetworkAccess"),
        **members("disableLocalAuth"),
        **dict.fromkeys(
            ("inputSchemaMapping", "inboundIpRules", "privateEndpointConnections"), NOT_SIMULATED
        ),
    },
}
_NAME = re.compile(r"[A-Za-z0-9-]{3,50}")
_PAGE = 100


class Topics:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        group = "/subscriptions/{subscription}/resourceGroups/{group}"
        collection = f"{group}/providers/{TOPICS}"
        one = f"{collection}/{{topic}}"
        below_subscription = f"/subscriptions/{{subscription}}/providers/{TOPICS}"
        return [
            Route("GET", below_subscription, f"{TOPICS}/read", self.list, VERSIONS),
            Route("GET", collection, f"{TOPICS}/read", self.list, VERSIONS),
            Route("GET", one, f"{TOPICS}/read", self.get, VERSIONS),
            Route("PUT", one, f"{TOPICS}/write", self.put, VERSIONS),
            Route("DELETE", one, f"{TOPICS}/delete", self.delete, VERSIONS),
            Route(
                "POST", f"{one}/listKeys", f"{TOPICS}/listKeys/action", self.keys, VERSIONS, is_action=True
            ),
        ]

    def list(self, call: Call) -> Reply:
        found = self._world.store.of_type(TOPICS, call.path.partition("/providers/")[0])
        return Reply(200, paging.page(call, [each.envelope() for each in found], _PAGE))

    def get(self, call: Call) -> Reply:
        return Reply(200, self._existing(call).envelope())

    def keys(self, call: Call) -> Reply:
        state = self._existing(call).state
        return Reply(200, {name: state[name] for name in ("key1", "key2")})

    def put(self, call: Call) -> Reply:
        body = call.document()
        check(body, _BODY, "Topic")
        if not _NAME.fullmatch(call.params["topic"]):
            raise invalid("Topic names are 3 to 50 letters, digits and hyphens.")
        location = required_location(body, TOPICS)
        check_tags(body.get("tags"))
        found = self._world.store.get(call.resource_id)
        topic = found or Resource(call.resource_id, TOPICS, location, call.at, call.at)
        self._check_unique(topic)
        topic.tags = dict(body.get("tags") or {})
        topic.properties = _properties(topic, dict(body.get("properties") or {}))
        if not found:
            topic.state = {
                name: base64.b64encode(secrets.token_bytes(32)).decode() for name in ("key1", "key2")
            }
        self._world.store.put(topic)
        self._world.store.touch(topic, call.at)
        return Reply(201, topic.envelope())

    def delete(self, call: Call) -> Reply:
        found = self._world.store.remove(call.resource_id)
        if found is not None:
            for each in subscriptions.all_of(self._world, found.id):
                self._world.store.remove(each.id)
        return Reply(204)

    def _check_unique(self, topic: Resource) -> None:
        """A topic's name is a part of its host's name."""
        taken = of_host(self._world, host(topic))
        if taken is not None and taken.id.casefold() != topic.id.casefold():
            raise ArmError(
                409,
                "ResourceAlreadyExists",
                f"A topic named {topic.name} exists in {topic.location} already.",
            )

    def _existing(self, call: Call) -> Resource:
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return found


def host(topic: Resource) -> str:
    return f"{topic.name}.{topic.location}-1.eventgrid.azure.net".lower()


def of_host(world: World, name: str) -> Resource | None:
    return next((each for each in world.store.of_type(TOPICS) if host(each) == name.lower()), None)


def _properties(topic: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    schema = asked.get("inputSchema") or topic.properties.get("inputSchema") or EVENT_GRID
    if schema not in (EVENT_GRID, CLOUD_EVENTS):
        raise invalid(f"The inputSchema '{schema}' is not simulated.")
    if schema != topic.properties.get("inputSchema", schema):
        raise invalid("The inputSchema of a topic cannot be changed.")
    return {
        "provisioningState": "Succeeded",
        "endpoint": f"https://{host(topic)}/api/events",
        "inputSchema": schema,
        "metricResourceId": f"{estate.SUBSCRIPTION}-{topic.name}",
        "publicNetworkAccess": asked.get("publicNetworkAccess") or "Enabled",
        "disableLocalAuth": bool(asked.get("disableLocalAuth")),
    }
