"""The HTTP front of the host: what is listened to, for whom, and which part answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web

from localdev.runner.admin import Admin
from localdev.runner.event_grid import PATH as EVENT_GRID_PATH
from localdev.runner.event_grid import EventGridWebhook
from localdev.runner.http_trigger import MAX_BODY_BYTES, HttpTriggers
from localdev.runner.management import Management

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HOME = "Your function app runs here.\n"


def build_application(
    triggers: HttpTriggers, events: EventGridWebhook, management: Management, admin: Admin
) -> web.Application:
    application = web.Application(middlewares=[guard_loopback], client_max_size=MAX_BODY_BYTES)
    router = application.router
    management.add_routes(router)
    admin.add_routes(router)
    for path in (EVENT_GRID_PATH, EVENT_GRID_PATH.lower()):
        router.add_route("*", path, events.handle)

    async def function_or_home(request: web.Request) -> web.StreamResponse:
        try:
            return await triggers.handle(request)
        except web.HTTPNotFound:
            if request.path == "/" and request.method in ("GET", "HEAD"):
                return web.Response(text=_HOME)
            raise

    router.add_route("*", "/{path:.*}", function_or_home)
    return application


@web.middleware
async def guard_loopback(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a foreign Host (a web page that pointed its own name at this machine) and pages of other origins."""
    if not is_loopback(request.host):
        return web.Response(status=403, text=f"host {request.host!r} is not this machine\n")
    origin = request.headers.get("Origin")
    if origin is not None and not is_loopback(origin.partition("://")[2]):
        return web.Response(status=403, text=f"origin {origin!r} is not this machine\n")
    return await handler(request)


def is_loopback(host: str) -> bool:
    """`127.0.0.1:7071`, `[::1]`, `localhost:80` -> True"""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
