"""The Event Grid webhook: `/runtime/webhooks/EventGrid?functionName=F`, as the Event Grid extension answers it.

Source: Azure/azure-functions-eventgrid-extension, EventGridExtensionConfigProvider.cs. Handshakes are held to more than
there: only Event Grid itself is agreed with, and nothing here ever calls an address that a request names.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from azure_functions_runtime.bindings.datumdef import Datum

from localdev.runner.http_trigger import given_key
from localdev.runner.invoker import Invoker
from localdev.runner.keys import EVENT_GRID, Keys
from localdev.runner.loader import Function
from localdev.runner.log import logger

PATH = "/runtime/webhooks/EventGrid"
ORIGIN = "eventgrid.azure.net"
_VALIDATION_EVENT = "Microsoft.EventGrid.SubscriptionValidationEvent"


class EventGridWebhook:
    """Handshakes, then one invocation per event. Any failure answers 500, so that Event Grid sends the batch again."""

    def __init__(self, functions: list[Function], invoker: Invoker, keys: Keys) -> None:
        self._invoker, self._keys = invoker, keys
        self._functions = {f.name: f for f in functions if f.trigger_type == "eventGridTrigger"}

    async def handle(self, request: web.Request) -> web.Response:
        if not self._keys.allows_system(EVENT_GRID, given_key(request)):
            raise web.HTTPUnauthorized(text="")
        name = request.query.get("functionName", "")
        function = self._functions.get(name)
        if function is None:
            logger.info(
                "cannot find function: '%s', available function names: [%s]", name, ", ".join(self._functions)
            )
            raise web.HTTPNotFound(text=f"cannot find function: '{name}'")
        if request.method == "OPTIONS":
            return _allow_cloud_events(request)
        if request.method != "POST":
            raise web.HTTPNotFound(text="")
        match request.headers.get("aeg-event-type", "").lower():
            case "subscriptionvalidation":
                return _validate(await _parsed(request), name)
            case "notification":
                return await self._notify(function, await _parsed(request))
            case "unsubscribe":
                return web.Response(status=202)
            case _:
                raise web.HTTPBadRequest(text="")

    async def _notify(self, function: Function, body: Any) -> web.Response:
        events = body if isinstance(body, list) else [body]
        results = await asyncio.gather(
            *(self._invoker.invoke(function, event_datum(event), "EventGrid event") for event in events)
        )
        for result in results:
            if result.failure is not None:
                return web.Response(status=500, text=result.failure.text)
        return web.Response(status=202)


def event_datum(event: Any) -> Datum:
    return Datum(json.dumps(event), "json")


async def _parsed(request: web.Request) -> Any:
    """One event, or a list of them. Anything else is a 400."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"the request content is not JSON: {error}") from error
    if not isinstance(body, list | dict) or (
        isinstance(body, list) and not all(isinstance(e, dict) for e in body)
    ):
        raise web.HTTPBadRequest(text="the request content must be one event or a list of events")
    return body


def _validate(body: Any, name: str) -> web.Response:
    """The Event Grid schema sends a list of one event, CloudEvents one object whose data may be encoded twice."""
    try:
        (event,) = body if isinstance(body, list) else [body]
        data = event["data"]
        data = json.loads(data) if isinstance(data, str) else data
        code, url = data["validationCode"], data.get("validationUrl")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise web.HTTPBadRequest(
            text=f"the validation event has no data.validationCode: {error!r}"
        ) from error
    type_ = event.get("eventType") or event.get("type")
    if type_ != _VALIDATION_EVENT or not isinstance(code, str) or not _is_event_grid(url):
        logger.warning("refuse a handshake that is not Event Grid's, for function: %s", name)
        raise web.HTTPBadRequest(text="the validation event is not of Event Grid")
    logger.info("perform handshake with eventGrid for function: %s", name)
    return web.json_response({"validationResponse": code})


def _is_event_grid(url: object) -> bool:
    """None, or an address of Event Grid, as the validationUrl of a handshake. It is looked at and never called."""
    if url is None:
        return True
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "https" and parts.username is None and host.endswith(f".{ORIGIN}")


def _allow_cloud_events(request: web.Request) -> web.Response:
    """CloudEvents webhook abuse protection: Event Grid may deliver, nobody else. A WebHook-Request-Callback is left
    alone: the answer here is the permission."""
    origin = request.headers.get("WebHook-Request-Origin")
    if origin is None:
        raise web.HTTPBadRequest(text="WebHook-Request-Origin is missing")
    if origin.lower() != ORIGIN:
        logger.warning("refuse a handshake of the origin %r", origin)
        raise web.HTTPForbidden(text="this origin may not deliver here")
    headers = {"WebHook-Allowed-Origin": ORIGIN, "Allow": "POST, OPTIONS"}
    if rate := request.headers.get("WebHook-Request-Rate"):
        headers["WebHook-Allowed-Rate"] = rate if rate.isdigit() else "*"
    return web.Response(status=200, headers=headers)
