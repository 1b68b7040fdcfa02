"""Event subscriptions as resources: what they hold, which exist for a source, and where they deliver to.

Members: EventGrid.json 2022-06-15 (Azure/azure-rest-api-specs). A subscription's `state` holds its full endpoint URL,
which a GET does not show, and the deliveries it still owes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from localdev.azuresim.event_grid.events import EVENT_GRID
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

NAMESPACE = "Microsoft.EventGrid"
SUBSCRIPTIONS, TOPICS = f"{NAMESPACE}/eventSubscriptions", f"{NAMESPACE}/topics"
SITES = "Microsoft.Web/sites"
MOST_ATTEMPTS, LONGEST_MINUTES, MOST_IN_BATCH, LARGEST_BATCH_KB = 30, 1440, 5000, 1024
WEBHOOK, FUNCTION = "WebHook", "AzureFunction"
_MARK = f"/providers/{SUBSCRIPTIONS}/"


def subscription_id(scope: str, name: str) -> str:
    return f"{scope}{_MARK}{name}"


def scope_of(subscription: Resource) -> str:
    return subscription.id[: subscription.id.casefold().rfind(_MARK.casefold())]


def all_of(world: World, scope: str = "") -> list[Resource]:
    """By name; of one scope, or all."""
    found = world.store.of_type(SUBSCRIPTIONS)
    return [each for each in found if not scope or scope_of(each).casefold() == scope.casefold()]


def listening(world: World, source: str, named: str = "") -> Iterator[Resource]:
    """Subscriptions that receive what `source` publishes; with `named`, that one whatever its scope."""
    for each in all_of(world, "" if named else source):
        is_asked = not named or each.name.casefold() == named.casefold()
        if is_asked and each.provisioning_state in ("Succeeded", "Updating"):
            yield each


def schema_of(subscription: Resource) -> str:
    return str(subscription.properties.get("eventDeliverySchema") or EVENT_GRID)


def is_at_resource(subscription: Resource) -> bool:
    return bool(_destination(subscription)["endpointType"] != WEBHOOK)


def endpoint(world: World, subscription: Resource) -> str:
    """The URL to deliver to; "" if the function app is not there (any more)."""
    if not is_at_resource(subscription):
        return str(subscription.state["endpoint"])
    site_id, _, function = str(_destination(subscription)["properties"]["resourceId"]).partition(
        "/functions/"
    )
    site = world.store.get(site_id)
    if site is None:
        return ""
    query = f"functionName={quote(function)}&code={quote(site.state['key'])}"
    return f"{site.state['url']}/runtime/webhooks/EventGrid?{query}"


def batch_limits(subscription: Resource) -> tuple[int, int]:
    """Most events of a batch, and the bytes it should not exceed."""
    settings = _destination(subscription)["properties"]
    return int(settings["maxEventsPerBatch"]), int(settings["preferredBatchSizeInKilobytes"]) * 1024


def retry_policy(subscription: Resource) -> tuple[int, float]:
    """Most attempts, and the seconds after which an event is not delivered any more."""
    policy = subscription.properties["retryPolicy"]
    return int(policy["maxDeliveryAttempts"]), int(policy["eventTimeToLiveInMinutes"]) * 60.0


def dead_letter_container(subscription: Resource) -> str | None:
    """Name of the blob container, if there is a place for what cannot be delivered."""
    place = subscription.properties.get("deadLetterDestination")
    return str(place["properties"]["blobContainerName"]) if place else None


def _destination(subscription: Resource) -> dict[str, Any]:
    return dict(subscription.properties["destination"])
