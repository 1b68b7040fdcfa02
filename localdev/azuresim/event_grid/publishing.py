"""`{topic}.{region}-1.eventgrid.azure.net/api/events`: what publishers post to.

Sources: learn event-grid/post-to-custom-topic (statuses, form of errors, sizes), authenticate-with-access-keys-shared-
access-signatures; azure-eventgrid 4.22 (paths, headers, media types, form of signatures).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from localdev.azuresim import tokens
from localdev.azuresim.errors import ArmError
from localdev.azuresim.event_grid import topics
from localdev.azuresim.event_grid.deliveries import Deliveries
from localdev.azuresim.event_grid.events import (
    CLOUD_EVENTS,
    EVENT_GRID,
    GridEvent,
    NotAnEvent,
    from_cloud_event,
    from_event_grid,
)
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

logger = logging.getLogger(__name__)

AUDIENCES = {"https://eventgrid.azure.net"}
_VERSIONS = ("2018-01-01",)
_LARGEST_BYTES = 1024 * 1024
_SCHEMAS = {CLOUD_EVENTS: "CloudEventV10", EVENT_GRID: "EventGridEvent"}


class Publishing:
    def __init__(self, world: World, deliveries: Deliveries, after_change: Callable[[], None]) -> None:
        self._world, self._deliveries, self._after_change = world, deliveries, after_change

    async def serve(self, request: web.Request) -> web.Response:
        raw = await request.read()
        count, error = 0, None
        try:
            count = self._take(request, raw)
        except ArmError as refused:
            error = refused
        except Exception:
            logger.exception("%s %s", request.method, request.path)
            self._world.events.add("defect", self._world.now(), method=request.method, path=request.path)
            error = ArmError(500, "InternalServerError", "The simulator failed; see its log.")
        self._world.events.add(
            "publish_request",
            self._world.now(),
            host=request.host,
            status=error.status if error else 200,
            count=count,
        )
        self._after_change()
        headers = {"x-ms-request-id": str(uuid.uuid4())}
        if error:
            return web.json_response({"error": error.error()}, status=error.status, headers=headers)
        return web.Response(status=200, headers=headers)

    def _take(self, request: web.Request, raw: bytes) -> int:
        """Accept all of a request's events or none; how many there were."""
        topic = topics.of_host(self._world, request.host.partition(":")[0])
        if topic is None or request.path.rstrip("/") != "/api/events" or request.method != "POST":
            raise ArmError(404, "NotFound", "The specified path does not exist.")
        if request.query.get("api-version") not in _VERSIONS:
            raise _bad("The api-version is missing or not supported.")
        authorize(topic, request)
        if len(raw) > _LARGEST_BYTES:
            raise ArmError(413, "RequestEntityTooLarge", "The maximum size (1048576) has been exceeded.")
        events = list(_read(topic, request, raw))
        for event in events:
            self._deliveries.publish(event, topic.id, self._world.now())
        return len(events)


def authorize(topic: Resource, request: web.Request) -> None:
    """By a key, a signature made with one, or a token for Event Grid. Raises 401 or 403."""
    key, signature = request.headers.get("aeg-sas-key"), request.headers.get("aeg-sas-token")
    if key is None and signature is None:
        principal = tokens.authenticate(request.headers.get("Authorization"), AUDIENCES)
        if not principal.identity.manages:
            raise ArmError(403, "Forbidden", "The principal may not send events to this topic.")
        return
    if topic.properties["disableLocalAuth"]:
        raise _no_such_key("Local authentication is disabled for this topic.")
    keys = [str(topic.state[name]) for name in ("key1", "key2")]
    if key is not None and any(hmac.compare_digest(key.encode(), own.encode()) for own in keys):
        return
    if signature is not None and any(_is_signed(signature, own) for own in keys):
        return
    raise _no_such_key("The request authorization key is not authorized for this topic.")


def _is_signed(text: str, key: str) -> bool:
    """`r={resource}&e={expiry}&s={signature}`, alive by wall time, on which the SDK's caller wrote it."""
    unsigned, _, signature = text.rpartition("&s=")
    made = base64.b64encode(hmac.new(base64.b64decode(key), unsigned.encode(), hashlib.sha256).digest())
    try:
        expiry = datetime.fromisoformat(unquote(unsigned.rpartition("&e=")[2]))
    except ValueError:
        return False
    alive = expiry.replace(tzinfo=expiry.tzinfo or UTC).timestamp() > time.time()
    return alive and hmac.compare_digest(unquote(signature).encode(), made)


def _read(topic: Resource, request: web.Request, raw: bytes) -> Iterator[GridEvent]:
    schema, kind = topic.properties["inputSchema"], request.content_type
    is_cloud = schema == CLOUD_EVENTS
    try:
        body: Any = json.loads(raw)
        if is_cloud != kind.startswith("application/cloudevents"):
            raise NotAnEvent(f"the content is {kind}")
        if kind == "application/cloudevents+json":
            body = [body]
        if not isinstance(body, list):
            raise NotAnEvent("an array of events is expected")
        for each in body:
            yield from_cloud_event(each) if is_cloud else from_event_grid(each, topic.id)
    except (NotAnEvent, ValueError, RecursionError) as error:
        raise _bad(
            f"This resource is configured to receive event in '{_SCHEMAS[schema]}' schema. The JSON received does "
            f"not conform to the expected schema: {error}."
        ) from error


def _bad(message: str) -> ArmError:
    return ArmError(400, "BadRequest", message, details=[{"code": "InputJsonInvalid", "message": message}])


def _no_such_key(message: str) -> ArmError:
    return ArmError(401, "Unauthorized", message)
