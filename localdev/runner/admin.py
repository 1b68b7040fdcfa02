"""The host's admin API: run a function now, list functions, ask how the host is. Needs the master key."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import web
from azure_functions_runtime.bindings.datumdef import Datum

from localdev.runner.event_grid import event_datum
from localdev.runner.http_trigger import given_key, http_datum
from localdev.runner.invoker import Invoker
from localdev.runner.keys import Keys
from localdev.runner.loader import Function, http_methods
from localdev.runner.timers import TimerScheduler

VERSION = "4.1.0-local"


class Admin:
    def __init__(
        self, functions: list[Function], invoker: Invoker, keys: Keys, timers: TimerScheduler, host_id: str
    ) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._invoker, self._keys, self._timers, self._host_id = invoker, keys, timers, host_id
        self._started = time.monotonic()
        self._background: set[asyncio.Task[Any]] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/admin/host/status", self.status)
        router.add_route("*", "/admin/host/ping", self.ping)
        router.add_get("/admin/functions", self.list_functions)
        router.add_get("/admin/functions/{name}", self.describe)
        router.add_post("/admin/functions/{name}", self.run)

    async def ping(self, request: web.Request) -> web.Response:
        return web.Response(status=200)

    async def status(self, request: web.Request) -> web.Response:
        self._authorize(request)
        uptime_ms = round((time.monotonic() - self._started) * 1000)
        return web.json_response(
            {
                "id": self._host_id,
                "state": "Running",
                "version": VERSION,
                "versionDetails": VERSION,
                "processUptime": uptime_ms,
                "invocationsRunning": self._invoker.running,
            }
        )

    async def list_functions(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response([_describe(function) for function in self._functions.values()])

    async def describe(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response(_describe(self._find(request)))

    async def run(self, request: web.Request) -> web.Response:
        """Body `{"input": "..."}`. 202 at once; the outcome is in the log, as on Azure."""
        self._authorize(request)
        function = self._find(request)
        trigger = await self._trigger(function, request)
        task = asyncio.create_task(
            self._invoker.invoke(function, trigger, "This function was programmatically called")
        )
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return web.Response(status=202)

    async def _trigger(self, function: Function, request: web.Request) -> Datum:
        text = await _input(request)
        match function.trigger_type:
            case "timerTrigger":
                timer = self._timers.find(function.name)
                return Datum(timer.payload() if timer else "{}", "json")
            case "eventGridTrigger":
                return event_datum(_json_or_400(text))
            case "httpTrigger":
                method = next(iter(sorted(http_methods(function))), "POST")
                return http_datum(request.clone(method=method), text.encode(), {})
            case "activityTrigger":
                return Datum(text or "null", "json")
            case kind if kind in ("orchestrationTrigger", "entityTrigger"):
                raise web.HTTPBadRequest(
                    text=f"{function.name} is a durable function: start it through the hub"
                )
            case _:
                return Datum(text, "string")

    def _find(self, request: web.Request) -> Function:
        function = self._functions.get(request.match_info["name"].lower())
        if function is None:
            raise web.HTTPNotFound(text="")
        return function

    def _authorize(self, request: web.Request) -> None:
        if not self._keys.allows_admin(given_key(request)):
            raise web.HTTPUnauthorized(text="")


async def _input(request: web.Request) -> str:
    body = await request.text()
    if not body:
        return ""
    document = _json_or_400(body)
    value = document.get("input", "") if isinstance(document, dict) else ""
    return value if isinstance(value, str) else json.dumps(value)


def _json_or_400(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error


def _describe(function: Function) -> dict[str, Any]:
    bindings = [
        {key: _plain(value) for key, value in b.items()} for b in (function.trigger, *function.bindings)
    ]
    return {"name": function.name, "language": "python", "config": {"bindings": bindings}}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(getattr(value, "value", value)) if not isinstance(value, bool | int | type(None)) else value
