"""HTTP triggers: from a request to the trigger's value, and from the return value to a response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http.cookies import Morsel
from typing import Any

from aiohttp import web
from azure_functions_runtime.bindings.datumdef import Datum
from multidict import CIMultiDict, MultiMapping

from localdev.runner.invoker import Invoker, Result
from localdev.runner.keys import Keys
from localdev.runner.loader import Function, http_methods
from localdev.runner.platform_auth import vouched
from localdev.runner.routing import Route, RouteTable, RouteTemplate

MAX_BODY_BYTES = 100 * 1024 * 1024  # Azure's limit for a request to an HTTP trigger


class HttpTriggers:
    """All HTTP functions of an app under one route prefix.

    No route and a wrong method are both 404: the Functions host makes the method part of the route
    (Azure/azure-functions-host issue 10098).
    """

    def __init__(self, functions: list[Function], prefix: str, invoker: Invoker, keys: Keys) -> None:
        self._invoker, self._keys = invoker, keys
        self._table = RouteTable(
            Route(RouteTemplate(f"{prefix}/{route_of(function)}"), http_methods(function), function)
            for function in functions
            if function.trigger_type == "httpTrigger"
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        found = self._table.find(request.method, request.rel_url.raw_path)
        if found is None:
            raise web.HTTPNotFound(text="")
        function, parameters = found
        key = given_key(request)
        if not self._keys.allows_function(auth_level(function), function.name, key):
            raise web.HTTPUnauthorized(text="")
        if self._keys.principals:
            request = request.clone(headers=vouched(request.headers, self._keys.principal_of(key)))
        trigger = http_datum(request, await request.read(), parameters)
        result = await self._invoker.invoke(function, trigger, "HTTP request")
        return http_response(function, result)


def route_of(function: Function) -> str:
    return str(function.trigger.get("route") or function.name).strip("/")


def auth_level(function: Function) -> str:
    level = function.trigger.get("authLevel") or "function"
    return str(getattr(level, "value", level)).lower()


def given_key(request: web.Request) -> str | None:
    return request.headers.get("x-functions-key") or request.query.get("code")


def http_datum(request: web.Request, body: bytes, parameters: Mapping[str, str]) -> Datum:
    """Repeated headers and query values are joined by commas, as the host joins them; the body is raw bytes."""
    return Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(str(request.url), "string"),
            "headers": _strings(_joined(request.headers)),
            "query": _strings(_joined(request.query)),
            "params": _strings(parameters),
            "body": Datum(body, "bytes"),
        },
        "http",
    )


def http_response(function: Function, result: Result) -> web.Response:
    """A failed invocation is an empty 500, as on Azure: the reason is in the log, not on the wire."""
    if not result.ok:
        return web.Response(status=500)
    named = [str(b["name"]) for b in function.bindings if b["type"] == "http" and b["name"] in result.outputs]
    datum = result.outputs[named[0]] if named else result.value
    if datum is None or datum.type is None:
        return web.Response(status=204)
    if datum.type == "http":
        return _from_http_datum(datum.value)
    if datum.type == "bytes":
        return web.Response(body=datum.value, content_type="application/octet-stream")
    kind = "application/json" if datum.type == "json" else "text/plain"
    return web.Response(text=str(datum.value), content_type=kind)


def _from_http_datum(value: Mapping[str, Any]) -> web.Response:
    headers = CIMultiDict((name, str(text.value)) for name, text in value["headers"].items())
    for name in ("Content-Length", "Transfer-Encoding"):
        headers.popall(name, None)
    response = web.Response(status=int(value["status_code"].value), headers=headers, body=value["body"].value)
    for morsel in _morsels(value.get("cookies") or ()):
        response.headers.add("Set-Cookie", morsel.OutputString())
    return response


def _morsels(cookies: Iterable[Mapping[str, Morsel[str]]]) -> Iterable[Morsel[str]]:
    for cookie in cookies:
        yield from cookie.values()


def _joined(items: MultiMapping[str]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in items.items():
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _strings(items: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in items.items()}
