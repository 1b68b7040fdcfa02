"""Event Grid put together, for the simulator that owns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from localdev.azuresim.event_grid.arm import EventSubscriptions
from localdev.azuresim.event_grid.control import EventGridControl
from localdev.azuresim.event_grid.deliveries import Deliveries
from localdev.azuresim.event_grid.events import system_event
from localdev.azuresim.event_grid.handshakes import Handshakes
from localdev.azuresim.event_grid.publishing import Publishing
from localdev.azuresim.event_grid.topics import Topics
from localdev.azuresim.event_grid.webhooks import Webhooks
from localdev.azuresim.routing import Route
from localdev.azuresim.world import World


class EventGrid:
    """Made on the event loop it works on; `close` ends its connections."""

    def __init__(self, world: World) -> None:
        self._world, self._webhooks = world, Webhooks()
        self._deliveries = Deliveries(world, self._webhooks)
        self._handshakes = Handshakes(world, self._webhooks)
        self._subscriptions, self._topics = EventSubscriptions(world, self._handshakes), Topics(world)
        world.scheduler.register("event_grid.service_event", self._service_event)

    async def close(self) -> None:
        await self._subscriptions.stop()
        await self._deliveries.stop()
        await self._webhooks.close()

    def routes(self) -> list[Route]:
        """Azure Resource Manager's."""
        return [*self._subscriptions.routes(), *self._topics.routes()]

    def publishing(self, after_change: Callable[[], None]) -> Publishing:
        """What answers at the hosts of custom topics."""
        return Publishing(self._world, self._deliveries, after_change)

    def control_routes(self, after_change: Callable[[], None]) -> list[web.RouteDef]:
        return EventGridControl(self._world, self._deliveries, self._handshakes, after_change).routes()

    def _service_event(self, at: float, event_type: str, topic: str, subject: str, data: Any) -> None:
        """A service of Azure tells of its resource `topic`."""
        self._deliveries.publish(system_event(event_type, topic, subject, data, at), topic, at)
