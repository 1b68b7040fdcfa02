"""`{region}.api.azureml.ms`: the services of Azure Machine Learning that are not behind Azure Resource Manager."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from localdev.azuresim import tokens
from localdev.azuresim.contract import Contract
from localdev.azuresim.errors import ArmError
from localdev.azuresim.estate import VM
from localdev.azuresim.ml import history, mlflow
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.world import World

logger = logging.getLogger(__name__)


class MlHost:
    """Answers like ARM's front door does: who asks, may they, the handler, the contract, the log."""

    def __init__(self, world: World, contract: Contract | None, after_change: Callable[[], None]) -> None:
        self._world, self._contract, self._after_change = world, contract, after_change
        self._routes = history.host_routes(world) + mlflow.host_routes(world)

    async def serve(self, request: web.Request) -> web.Response:
        raw = await request.read()
        stepped = self._world.scheduler.run_due()
        reply = self._answer(request, raw)
        if stepped or request.method not in ("GET", "HEAD"):
            self._after_change()
        code = reply.body["error"]["code"] if reply.status >= 400 else ""
        self._world.events.add(
            "ml_request",
            self._world.now(),
            host=request.host,
            method=request.method,
            path=request.path,
            status=reply.status,
            code=code,
        )
        return web.json_response(
            reply.body,
            status=reply.status,
            headers={"x-ms-request-id": str(uuid.uuid4()), **reply.headers},
            dumps=json.dumps,
        )

    def _answer(self, request: web.Request, raw: bytes) -> Reply:
        if request.method == "GET" and request.path.rstrip("/") == "/discovery":
            return Reply(200, history.discovery(request.host.partition(":")[0]))
        try:
            return self._checked(request, self._handle(request, raw))
        except ArmError as error:
            return Reply(error.status, history.refusal(error, self._world.now()), dict(error.headers))
        except Exception:
            logger.exception("%s %s", request.method, request.path)
            self._world.events.add("defect", self._world.now(), method=request.method, path=request.path)
            failed = ArmError(500, "InternalServerError", "The simulator failed; see its log.")
            return Reply(500, history.refusal(failed, self._world.now()))

    def _handle(self, request: web.Request, raw: bytes) -> Reply:
        authorization = request.headers.get("Authorization")
        tracked = request.path.startswith(f"{mlflow.PREFIX}/")
        if tracked and mlflow.run_of_token(self._world, authorization) is not None:
            principal, of_run = tokens.Principal(VM), True
        else:
            principal, of_run = tokens.authenticate(authorization, tokens.ML_AUDIENCES), False
        route, params = self._find(request)
        if not (principal.identity.manages or of_run):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{principal.identity.client_id}' does not have authorization to perform action "
                f"'{route.action}'.",
            )
        path = request.path.removeprefix("/history/v1.0").removeprefix(mlflow.PREFIX)
        query = {name.casefold(): value for name, value in request.query.items()}
        body = json.loads(raw) if raw.strip() else None
        call = Call(
            request.method,
            path,
            query,
            request.headers,
            body,
            principal,
            "",
            self._world.now(),
            params,
            route.action,
        )
        fault = self._world.faults.take(call.action, path, {"client": principal.identity.object_id})
        if fault and fault.kind == "status":
            raise ArmError(fault.status, fault.code, fault.message, headers=fault.headers)
        return route.handler(call)

    def _find(self, request: web.Request) -> tuple[Route, dict[str, str]]:
        for route in self._routes:
            params = route.match(request.path) if route.method == request.method else None
            if params is not None:
                return route, params
        raise ArmError(404, "NotFound", f"No HTTP resource was found that matches '{request.path}'.")

    def _checked(self, request: web.Request, reply: Reply) -> Reply:
        if self._contract is None:
            return reply
        findings = [
            finding
            for name, body in _documents(request, reply.body)
            for finding in self._contract.check_definition(history.SPECIFICATION, name, body)
        ]
        if not findings:
            return reply
        self._world.events.add(
            "contract_violation",
            self._world.now(),
            method=request.method,
            path=request.path,
            status=reply.status,
            findings=findings,
        )
        raise ArmError(500, "ContractViolation", "; ".join(findings))


def _documents(request: web.Request, body: Any) -> list[tuple[str, Any]]:
    """The parts of an answer that the specification knows, each with its definition."""
    if request.path.startswith(f"{mlflow.PREFIX}/"):
        return []  # MLflow's, not Microsoft's
    name = history.definition_of(request.path)
    return [(name, body)] if name else [("Run", body["runMetadata"])]
