"""Event subscriptions through Azure Resource Manager, as extensions of the resource they listen to.

Paths, statuses and members: EventGrid.json 2022-06-15, EventSubscriptions_*. A subscription is accepted, then its
endpoint is asked for a handshake, and only then does it receive anything.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from localdev.azuresim import estate, paging
from localdev.azuresim.errors import ArmError, error_object, not_found
from localdev.azuresim.event_grid import subscriptions
from localdev.azuresim.event_grid.handshakes import Handshakes
from localdev.azuresim.event_grid.requested import PROPERTIES, invalid, requested
from localdev.azuresim.event_grid.retries import ANSWER_WINDOW_S
from localdev.azuresim.event_grid.subscriptions import SUBSCRIPTIONS
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = ("2020-06-01", "2021-12-01", "2022-06-15", "2025-02-15")
_BODY = {**members("id", "name", "type", "systemData"), "properties": PROPERTIES}
_NAME = re.compile(r"[A-Za-z0-9-]{3,64}")
_HANDSHAKE_S, _POLL_S = 1.0, 10.0
_PAGE = 100


class EventSubscriptions:
    def __init__(self, world: World, handshakes: Handshakes) -> None:
        self._world, self._handshakes = world, handshakes
        self._asking: dict[str, asyncio.Task[None]] = {}
        world.scheduler.register("event_grid.handshake", self._ask)
        world.scheduler.register("event_grid.validated", self._validated)

    async def stop(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def routes(self) -> list[Route]:
        scope = "/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{kind}/{resource}"
        collection = f"{scope}/providers/{SUBSCRIPTIONS}"
        one = f"{collection}/{{name}}"
        return [
            Route("GET", collection, f"{SUBSCRIPTIONS}/read", self.list, VERSIONS),
            Route("GET", one, f"{SUBSCRIPTIONS}/read", self.get, VERSIONS),
            Route("PUT", one, f"{SUBSCRIPTIONS}/write", self.put, VERSIONS),
            Route("DELETE", one, f"{SUBSCRIPTIONS}/delete", self.delete, VERSIONS),
            Route(
                "POST",
                f"{one}/getFullUrl",
                f"{SUBSCRIPTIONS}/getFullUrl/action",
                self.full_url,
                VERSIONS,
                is_action=True,
            ),
        ]

    def list(self, call: Call) -> Reply:
        scope = self._scope(call)
        found = subscriptions.all_of(self._world, scope)
        return Reply(200, paging.page(call, [view(each) for each in found], _PAGE))

    def get(self, call: Call) -> Reply:
        return Reply(200, view(self._existing(call)))

    def full_url(self, call: Call) -> Reply:
        return Reply(200, {"endpointUrl": subscriptions.endpoint(self._world, self._existing(call))})

    def put(self, call: Call) -> Reply:
        scope, body = self._scope(call), call.document()
        if not _NAME.fullmatch(call.params["name"]):
            raise invalid("Event subscription names are 3 to 64 letters, digits and hyphens.")
        check(body, _BODY, "EventSubscription")
        properties, endpoint = requested(dict(body.get("properties") or {}), scope)
        found = self._world.store.get(call.resource_id)
        subscription = found or Resource(call.resource_id, SUBSCRIPTIONS, estate.LOCATION, call.at, call.at)
        subscription.properties = {**properties, "provisioningState": "Updating" if found else "Creating"}
        subscription.state["endpoint"] = endpoint
        if not subscriptions.endpoint(self._world, subscription):
            raise ArmError(
                400,
                "Endpoint validation",
                "Destination endpoint not found. Resource details: resourceId: "
                f"{properties['destination']['properties'].get('resourceId')}.",
            )
        self._world.store.put(subscription)
        self._world.store.touch(subscription, call.at)
        operation = self._world.operations.begin_for(call, subscription, poll_after_s=_POLL_S)
        self._world.operations.then(
            operation, call.fault, _HANDSHAKE_S, "event_grid.handshake", subscription=subscription.id
        )
        return Reply(201, view(subscription), operation=operation)

    def delete(self, call: Call) -> Reply:
        self._scope(call)
        return Reply(200 if self._world.store.remove(call.resource_id) else 204)

    def _ask(self, at: float, operation: str, subscription: str) -> None:
        """Ask the endpoint; look again when it should have answered, should a killed simulator have forgotten."""
        found = self._world.store.get(subscription)
        if found is None or not self._world.operations.is_running(operation) or operation in self._asking:
            return
        asked = found

        async def handshake() -> None:
            problem = await self._handshakes.refusal(asked)
            self._asking.pop(operation, None)
            payload = {"operation": operation, "subscription": subscription, "problem": problem}
            self._world.scheduler.at(self._world.now(), "event_grid.validated", **payload)

        self._asking[operation] = asyncio.get_running_loop().create_task(handshake())
        again = {"operation": operation, "subscription": subscription}
        self._world.scheduler.at(at + ANSWER_WINDOW_S, "event_grid.handshake", **again)

    def _validated(self, at: float, operation: str, subscription: str, problem: str) -> None:
        found = self._world.store.get(subscription)
        if found is None:
            return
        if not problem:
            found.properties["provisioningState"] = "Succeeded"
            self._world.operations.succeed(operation, at)
            return
        if found.properties["provisioningState"] == "Creating":
            self._world.store.remove(subscription)
        else:
            found.properties["provisioningState"] = "Failed"
        endpoint = subscriptions.endpoint(self._world, found).partition("?")[0]
        text = (
            f"Webhook validation handshake failed for {endpoint}. {problem}. For troubleshooting tips, visit "
            "https://aka.ms/esvalidationcloudevent"
        )
        self._world.operations.fail(operation, at, error_object("Url validation", text))

    def _scope(self, call: Call) -> str:
        """The resource listened to. Raises ARM's 404 for one that is not there."""
        scope = call.path.rpartition("/providers/")[0]
        if call.params["namespace"].casefold() == "microsoft.storage":
            is_there = scope.casefold() == estate.storage_account_id().casefold()
        else:
            is_there = self._world.store.get(scope) is not None
        if not is_there:
            raise not_found(scope)
        return scope

    def _existing(self, call: Call) -> Resource:
        self._scope(call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return found


def view(subscription: Resource) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "name": subscription.name,
        "type": SUBSCRIPTIONS,
        "properties": dict(subscription.properties),
    }
