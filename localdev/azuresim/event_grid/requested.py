"""What a request for an event subscription comes to: defaults filled in, and refused what Event Grid would refuse.

Members, defaults and limits: EventGrid.json 2022-06-15 and learn event-grid/manage-event-delivery.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.event_grid import subscriptions
from localdev.azuresim.event_grid.events import CLOUD_EVENTS, EVENT_GRID
from localdev.azuresim.event_grid.filters import OPERATORS
from localdev.azuresim.event_grid.subscriptions import (
    FUNCTION,
    LARGEST_BATCH_KB,
    LONGEST_MINUTES,
    MOST_ATTEMPTS,
    MOST_IN_BATCH,
    WEBHOOK,
)
from localdev.azuresim.event_grid.webhooks import is_loopback
from localdev.azuresim.shapes import NOT_SIMULATED, check, members

_MOST_FILTERS = 25
_WEBHOOK_PROPERTIES = {
    **members("endpointUrl", "endpointBaseUrl", "maxEventsPerBatch", "preferredBatchSizeInKilobytes"),
    **dict.fromkeys(
        (
            "azureActiveDirectoryTenantId",
            "azureActiveDirectoryApplicationIdOrUri",
            "deliveryAttributeMappings",
        ),
        NOT_SIMULATED,
    ),
}
_FUNCTION_PROPERTIES = {
    **members("resourceId", "maxEventsPerBatch", "preferredBatchSizeInKilobytes"),
    "deliveryAttributeMappings": NOT_SIMULATED,
}
_FILTER = {
    **members("subjectBeginsWith", "subjectEndsWith", "includedEventTypes", "isSubjectCaseSensitive"),
    "enableAdvancedFilteringOnArrays": NOT_SIMULATED,
    "advancedFilters": [members("operatorType", "key", "value", "values")],
}
PROPERTIES = {
    **members("topic", "provisioningState", "eventDeliverySchema", "labels"),
    "destination": members("endpointType", "properties"),
    "filter": _FILTER,
    "retryPolicy": members("maxDeliveryAttempts", "eventTimeToLiveInMinutes"),
    "deadLetterDestination": {
        "endpointType": members("*"),
        "properties": members("resourceId", "blobContainerName"),
    },
    **dict.fromkeys(
        ("expirationTimeUtc", "deliveryWithResourceIdentity", "deadLetterWithResourceIdentity"), NOT_SIMULATED
    ),
}


def requested(asked: dict[str, Any], scope: str) -> tuple[dict[str, Any], str]:
    """Properties of a subscription to `scope` and its full endpoint URL ("" at a function). Raises ArmError."""
    asked = {name: value for name, value in asked.items() if value is not None}
    destination, endpoint = _destination(asked.get("destination"))
    schema = str(asked.get("eventDeliverySchema") or EVENT_GRID)
    if schema not in (EVENT_GRID, CLOUD_EVENTS):
        raise invalid(f"The eventDeliverySchema '{schema}' is not simulated.")
    policy = asked.get("retryPolicy") or {}
    made = {
        "topic": scope,
        "destination": destination,
        "filter": _filter(asked.get("filter") or {}),
        "labels": list(asked.get("labels") or []),
        "eventDeliverySchema": schema,
        "retryPolicy": {
            "maxDeliveryAttempts": _within(policy, "maxDeliveryAttempts", MOST_ATTEMPTS, MOST_ATTEMPTS),
            "eventTimeToLiveInMinutes": _within(
                policy, "eventTimeToLiveInMinutes", LONGEST_MINUTES, LONGEST_MINUTES
            ),
        },
    }
    if place := asked.get("deadLetterDestination"):
        made["deadLetterDestination"] = _dead_letters(place)
    return made, endpoint


def invalid(message: str) -> ArmError:
    return ArmError(400, "InvalidRequest", message)


def _destination(asked: Any) -> tuple[dict[str, Any], str]:
    if not isinstance(asked, dict) or not isinstance(asked.get("properties"), dict):
        raise invalid("Event subscription destination must be specified.")
    kind, given = asked.get("endpointType"), asked["properties"]
    shown: dict[str, Any] = {
        "maxEventsPerBatch": _within(given, "maxEventsPerBatch", 1, MOST_IN_BATCH),
        "preferredBatchSizeInKilobytes": _within(
            given, "preferredBatchSizeInKilobytes", 64, LARGEST_BATCH_KB
        ),
    }
    if kind == WEBHOOK:
        check(given, _WEBHOOK_PROPERTIES, "WebHookEventSubscriptionDestinationProperties")
        url = str(given.get("endpointUrl") or "")
        if not is_loopback(url):
            raise invalid(
                f"The endpoint '{url}' is refused: this simulator delivers to http on loopback only."
            )
        return {"endpointType": kind, "properties": {"endpointBaseUrl": url.partition("?")[0], **shown}}, url
    if kind == FUNCTION:
        check(given, _FUNCTION_PROPERTIES, "AzureFunctionEventSubscriptionDestinationProperties")
        id_ = str(given.get("resourceId") or "")
        if "/functions/" not in id_ or subscriptions.SITES.casefold() not in id_.casefold():
            raise invalid(f"The resourceId '{id_}' is not the id of a function.")
        return {"endpointType": kind, "properties": {"resourceId": id_, **shown}}, ""
    raise invalid(f"The destination type '{kind}' is not simulated; known: {WEBHOOK}, {FUNCTION}.")


def _filter(asked: dict[str, Any]) -> dict[str, Any]:
    advanced = list(asked.get("advancedFilters") or [])
    if len(advanced) > _MOST_FILTERS:
        raise invalid(f"An event subscription may have at most {_MOST_FILTERS} advanced filters.")
    for each in advanced:
        if each.get("operatorType") not in OPERATORS or not each.get("key"):
            raise invalid(f"The advanced filter {each} is not valid.")
    shown = {
        "subjectBeginsWith": str(asked.get("subjectBeginsWith") or ""),
        "subjectEndsWith": str(asked.get("subjectEndsWith") or ""),
        "isSubjectCaseSensitive": bool(asked.get("isSubjectCaseSensitive")),
    }
    optional = {"includedEventTypes": asked.get("includedEventTypes"), "advancedFilters": advanced or None}
    return {**shown, **{name: value for name, value in optional.items() if value is not None}}


def _dead_letters(asked: dict[str, Any]) -> dict[str, Any]:
    properties = asked.get("properties") or {}
    if asked.get("endpointType") != "StorageBlob" or not properties.get("blobContainerName"):
        raise invalid("A deadLetterDestination is of the type StorageBlob and names a container.")
    return {
        "endpointType": "StorageBlob",
        "properties": {name: properties.get(name) for name in ("resourceId", "blobContainerName")},
    }


def _within(asked: dict[str, Any], name: str, default: int, most: int) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or not 1 <= value <= most:
        raise invalid(f"The value of {name} must be between 1 and {most}.")
    return value
