"""Azure Resource Manager's front door: who asks, for what, may they, how often, and the form of every answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from localdev.azuresim import facts, tokens
from localdev.azuresim.contract import Contract
from localdev.azuresim.errors import ArmError
from localdev.azuresim.faults import Fault
from localdev.azuresim.routing import Call, Reply, Route, Router, provider_and_type
from localdev.azuresim.throttle import Advice, Throttle, retry_after
from localdev.azuresim.tokens import Principal
from localdev.azuresim.world import World

logger = logging.getLogger(__name__)

ENDPOINT = "https://management.azure.com"
_MAX_BODY = 4 * 1024 * 1024  # learn: azure-resource-manager/management/request-limits, "request size"


class Arm:
    """`after_change` is called when something changed and before the answer leaves: what was promised is then kept."""

    def __init__(
        self, world: World, router: Router, contract: Contract | None, after_change: Callable[[], None]
    ) -> None:
        self._world, self._router, self._contract = world, router, contract
        self._throttle, self._advice = Throttle(), Advice(world.clock)
        self._after_change = after_change

    async def serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        trace = _Trace(request)
        stepped = self._world.scheduler.run_due()
        reply = self._answer(request, raw, trace)
        if stepped or trace.method not in ("GET", "HEAD"):
            self._after_change()
        if trace.fault and trace.fault.kind == "lost_response":
            self._log(trace, reply, lost=True)
            if request.transport:
                request.transport.abort()
            raise asyncio.CancelledError
        self._log(trace, reply)
        return self._http(reply, trace)

    def _answer(self, request: web.Request, raw: bytes, trace: _Trace) -> Reply:
        try:
            return self._checked(self._handle(request, raw, trace), trace)
        except ArmError as error:
            return self._checked(_refusal(error), trace)
        except Exception:
            logger.exception("%s %s", trace.method, trace.path)
            self._world.events.add("defect", self._world.now(), method=trace.method, path=trace.path)
            return _refusal(ArmError(500, "InternalServerError", "The simulator failed; see its log."))

    def _handle(self, request: web.Request, raw: bytes, trace: _Trace) -> Reply:
        trace.principal = tokens.authenticate(request.headers.get("Authorization"))
        route, params = self._router.find(trace.method, trace.path, trace.query)
        call = self._call(request, raw, trace, route, params)
        trace.action, trace.resource_id = call.action, call.resource_id
        self._notice_early(trace, call.at)
        trace.headers |= self._throttle.admit(
            trace.method, params.get("subscription", ""), call.principal.identity.object_id, call.at
        )
        facts.check_scope(self._world, call)
        self._authorize(call)
        trace.headers |= self._admit_compute(call)
        self._check_request(trace, call)
        call.fault = trace.fault = self._world.faults.take(
            call.action, call.resource_id, facts.of_call(self._world, call)
        )
        if call.fault and call.fault.kind == "status":
            fault = call.fault
            raise ArmError(
                fault.status,
                fault.code,
                fault.message,
                target=fault.target,
                details=fault.details,
                headers=fault.headers,
            )
        reply = route.handler(call)
        trace.fault = call.fault  # the handler may have known of a closer one
        return reply

    def _call(
        self, request: web.Request, raw: bytes, trace: _Trace, route: Route, params: dict[str, str]
    ) -> Call:
        assert trace.principal is not None
        path = trace.path.rstrip("/")
        trace.body = _parse(raw)
        return Call(
            trace.method,
            path,
            trace.query,
            request.headers,
            trace.body,
            trace.principal,
            trace.query["api-version"],
            self._world.now(),
            params,
            route.action,
            path.rpartition("/")[0] if route.is_action else path,
        )

    def _authorize(self, call: Call) -> None:
        identity = call.principal.identity
        if identity.manages:
            return
        raise ArmError(
            403,
            "AuthorizationFailed",
            f"The client '{identity.client_id}' with object id '{identity.object_id}' does not have authorization to "
            f"perform action '{call.action}' over scope '{call.resource_id}' or the scope is invalid. If access was "
            "recently granted, please refresh your credentials.",
        )

    def _admit_compute(self, call: Call) -> dict[str, str]:
        if not call.action.startswith("Microsoft.Compute/") or "subscription" not in call.params:
            return {}
        is_update = call.method != "GET" and "vm" in call.params
        machine = facts.machine_id(call) if is_update else ""
        location = facts.location_of(self._world, call)
        return self._throttle.admit_compute(call.params["subscription"], location, machine, call.at)

    def _notice_early(self, trace: _Trace, at: float) -> None:
        assert trace.principal is not None
        client = trace.principal.identity.object_id
        for target in (f"{trace.method} {trace.path}", trace.path if trace.method == "GET" else ""):
            early_s = self._advice.seconds_early(client, target, time.monotonic()) if target else 0.0
            if early_s:
                self._world.events.add(
                    "early_poll",
                    at,
                    method=trace.method,
                    path=trace.path,
                    principal=trace.principal.to_json(),
                    seconds_early=round(early_s, 3),
                )
                return

    def _check_request(self, trace: _Trace, call: Call) -> None:
        if not self._is_covered(trace):
            return
        assert self._contract is not None
        # A body that is not wanted may be empty; ARM does not tell the two apart.
        if findings := self._contract.check_request(call.method, call.path, trace.specified_query, call.body):
            raise ArmError(
                400,
                "InvalidRequestContent",
                f"The request content was invalid and could not be deserialized: '{'; '.join(findings)}'.",
                details=[{"code": "ContractViolation", "message": finding} for finding in findings],
            )

    def _checked(self, reply: Reply, trace: _Trace) -> Reply:
        self._advise(reply, trace)
        if not self._is_covered(trace) or (trace.fault and trace.fault.kind == "status"):
            return reply
        assert self._contract is not None
        findings = self._contract.check_response(
            trace.method, trace.path, trace.specified_query, reply.status, reply.body
        )
        if not findings:
            return reply
        self._world.events.add(
            "contract_violation",
            self._world.now(),
            method=trace.method,
            path=trace.path,
            status=reply.status,
            findings=findings,
        )
        return _refusal(ArmError(500, "ContractViolation", "; ".join(findings)))

    def _is_covered(self, trace: _Trace) -> bool:
        """Of Microsoft.Resources only parts are written down; of other providers, the rest is a finding."""
        if self._contract is None:
            return False
        namespace, _ = provider_and_type(trace.path)
        if namespace:
            return self._contract.covers(namespace)
        return self._contract.specifies(trace.method, trace.path, trace.query.get("api-version", ""))

    def _advise(self, reply: Reply, trace: _Trace) -> None:
        """Put the operation's headers on the answer, and remember when the client may come again."""
        client = trace.principal.identity.object_id if trace.principal else ""
        if reply.operation is not None:
            version = reply.operation.api_version
            url = f"{ENDPOINT}{reply.operation.path()}"
            result = f"{ENDPOINT}{reply.operation.result_path()}"
            if trace.method != "GET":
                reply.headers["Azure-AsyncOperation"] = f"{url}?api-version={version}"
            if reply.status == 202:
                reply.headers["Location"] = f"{result}?api-version={version}"
            targets = [
                reply.operation.path(),
                reply.operation.result_path(),
                reply.operation.resource_id,
                f"{reply.operation.resource_id}/instanceView",
            ]
            if not reply.operation.is_running:
                self._advice.take_back(client, targets)
                reply.poll_after_s = None
            else:
                reply.poll_after_s = reply.poll_after_s or reply.operation.poll_after_s
        else:
            targets = [f"{trace.method} {trace.path}"]
        asked = retry_after(reply.headers)
        wait_s = reply.poll_after_s if reply.poll_after_s is not None else asked
        if wait_s:
            for name in [name for name in reply.headers if name.casefold() == "retry-after"]:
                del reply.headers[name]
            reply.headers |= self._advice.headers(wait_s)
            self._advice.give(client, targets, wait_s, time.monotonic())

    def _log(self, trace: _Trace, reply: Reply, *, lost: bool = False) -> None:
        error = reply.body.get("error", {}) if reply.status >= 400 and isinstance(reply.body, dict) else {}
        self._world.events.add(
            "request",
            self._world.now(),
            method=trace.method,
            path=trace.path,
            query=dict(trace.query),
            action=trace.action,
            resource_id=trace.resource_id,
            principal=trace.principal.to_json() if trace.principal else None,
            status=reply.status,
            code=error.get("code", ""),
            request_id=trace.request_id,
            client_request_id=trace.client_request_id,
            user_agent=trace.user_agent,
            operation_id=reply.operation.id if reply.operation else None,
            fault=trace.fault.kind if trace.fault else None,
            lost=lost,
        )

    def _http(self, reply: Reply, trace: _Trace) -> web.Response:
        headers = {
            "Date": format_datetime(datetime.fromtimestamp(int(self._world.now()), UTC), usegmt=True),
            "Cache-Control": "no-cache",
            "Pragma": "no-cache",
            "Expires": "-1",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "x-ms-request-id": trace.request_id,
            "x-ms-correlation-request-id": trace.correlation_id,
            "x-ms-routing-request-id": f"WESTEUROPE:{trace.request_id}",
            **trace.headers,
            **reply.headers,
        }
        if trace.returns_client_id:
            headers["x-ms-client-request-id"] = trace.client_request_id
        if reply.body is None:
            return web.Response(status=reply.status, headers=headers)
        return web.Response(
            status=reply.status,
            headers=headers,
            body=json.dumps(reply.body).encode(),
            content_type="application/json",
            charset="utf-8",
        )


class _Trace:
    """What is known of a request while it is served; all of it goes into the log."""

    def __init__(self, request: web.Request) -> None:
        self.method, self.path = request.method, request.path
        # A nextLink is the service's own: what it adds to the query is in no specification.
        self.specified_query = {name: value for name, value in request.query.items() if name != "$skiptoken"}
        self.query = {name.casefold(): value for name, value in request.query.items()}
        self.request_id = str(uuid.uuid4())
        self.correlation_id = request.headers.get("x-ms-correlation-request-id") or str(uuid.uuid4())
        self.client_request_id = request.headers.get("x-ms-client-request-id", "")
        self.returns_client_id = request.headers.get("x-ms-return-client-request-id", "").casefold() == "true"
        self.user_agent = request.headers.get("User-Agent", "")
        self.principal: Principal | None = None
        self.action, self.resource_id = "", ""
        self.body: Any = None
        self.fault: Fault | None = None
        self.headers: dict[str, str] = {}


def _parse(raw: bytes) -> Any:
    if not raw.strip():
        return None
    if len(raw) > _MAX_BODY:
        raise ArmError(
            413, "RequestContentTooLarge", f"The request content size exceeds the maximum of {_MAX_BODY}."
        )
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: '{error}'.",
        ) from error


def _refusal(error: ArmError) -> Reply:
    return Reply(error.status, {"error": error.error()}, dict(error.headers))
