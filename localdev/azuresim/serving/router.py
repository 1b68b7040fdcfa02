"""`{endpoint}.{region}.inference.ml.azure.com`: who asks, which deployment, and how its answer looks to the client.

Sources: learn machine-learning/how-to-troubleshoot-online-endpoints (HTTP status codes of managed and of Kubernetes
online endpoints), how-to-manage-quotas (sizes, time-outs), how-to-safely-rollout-online-endpoints (the header that names
a deployment), how-to-kubernetes-inference-routing-azureml-fe (the queue), how-to-authenticate-online-endpoint.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from localdev.azuresim import tokens
from localdev.azuresim.errors import ArmError
from localdev.azuresim.serving.deployment import Deployment
from localdev.azuresim.serving.models import Kind
from localdev.azuresim.serving.tally import Served, Tally
from localdev.clock import Clock

DEPLOYMENT_HEADER = "azureml-model-deployment"
MODEL_STATUS_HEADER = "ms-azureml-model-error-statuscode"
AUDIENCES = {"https://ml.azure.com"}
LARGEST_BYTES = 100 * 1024 * 1024
_LARGEST_MANAGED_BYTES = 10 * 1024 * 1024
_PATHS = ("/", "/score", "/swagger.json")
# Between two hops only, or none of the model's business.
_NOT_FORWARDED = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te"}
_NOT_FORWARDED |= {"authorization", "proxy-authorization", "proxy-connection", "expect", DEPLOYMENT_HEADER}
_NOT_RETURNED = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


class Refused(Exception):
    """The endpoint, not the model, says no. `model_status`: what the model said, if it was asked."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})


@dataclass
class Endpoint:
    name: str
    deployments: dict[str, Deployment] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    kind: Kind = "kubernetes"
    is_routed: bool = False
    tally: Tally = field(default_factory=Tally)
    chance: random.Random = field(default_factory=random.Random)

    def admit(self, authorization: str | None) -> None:
        """By a key, if it has keys, else by a token. Raises 401 or 403."""
        scheme, _, secret = (authorization or "").partition(" ")
        if self.keys:
            given = secret.strip().encode()
            if scheme.casefold() != "bearer" or not any(
                hmac.compare_digest(given, key.encode()) for key in self.keys
            ):
                raise Refused(401, "Unauthorized", "key_auth_access_denied")
            return
        try:
            principal = tokens.authenticate(authorization, AUDIENCES)
        except ArmError as error:
            raise Refused(401, "Unauthorized", error.message, error.headers) from error
        if not principal.identity.manages:
            raise Refused(403, "Forbidden", "The principal may not score on this endpoint.")

    def choose(self, named: str | None) -> Deployment:
        """The deployment a request names, or one by weight. Raises 404."""
        if named is not None:
            if found := self.deployments.get(named.casefold()):
                return found
            raise Refused(404, "NotFound", f"The deployment {named} does not exist.")
        able = [
            (self.deployments[name], weight)
            for name, weight in self.weights.items()
            if weight > 0 and name in self.deployments
        ]
        if not able:
            raise Refused(
                404, "NotFound", "The endpoint doesn't have any valid deployment with positive weight."
            )
        (chosen,) = self.chance.choices([each for each, _ in able], [weight for _, weight in able])
        return chosen


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class InferenceRouter:
    """Serves every endpoint of `endpoints`, which whoever owns it changes as it likes between two requests."""

    def __init__(self, endpoints: Mapping[str, Endpoint], clock: Clock) -> None:
        self._endpoints, self._clock = endpoints, clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def serve(self, request: web.Request) -> web.Response:
        began = time.monotonic()
        endpoint = self._endpoints.get(request.host.partition(".")[0].casefold())
        if endpoint is None or not endpoint.is_routed:
            return _refusal(Refused(404, "NotFound", "There is no such endpoint."), "")
        name, model_status = "", 0
        try:
            endpoint.admit(request.headers.get("Authorization"))
            body = await _body(request, endpoint.kind)
            deployment = endpoint.choose(request.headers.get(DEPLOYMENT_HEADER))
            name = deployment.name
            answer = await self._ask(request, body, deployment, endpoint.kind)
            model_status = answer.status
            response = _returned(answer, name, endpoint.kind)
        except Refused as refused:
            model_status = int(refused.headers.get(MODEL_STATUS_HEADER, 0))
            response = _refusal(refused, name)
        wall_ms = (time.monotonic() - began) * 1000
        endpoint.tally.add(Served(self._clock.time(), name, response.status, model_status, wall_ms))
        return response

    async def _ask(self, request: web.Request, body: bytes, deployment: Deployment, kind: Kind) -> _Answer:
        if not deployment.is_up:
            raise _not_up(kind)
        if kind == "managed" and deployment.pending >= 2 * deployment.capacity:
            raise Refused(429, "TooManyRequests", "Too many pending requests.", {"Retry-After": "1"})
        with deployment.counted():
            try:
                instance = await asyncio.wait_for(deployment.acquire(), _queue_wait_s(deployment, kind))
            except TimeoutError:
                raise _overloaded(kind) from None
            try:
                async with asyncio.timeout(deployment.served.timeout_s):
                    return await self._forward(request, body, instance.port)
            except TimeoutError:
                raise _too_slow(kind) from None
            except aiohttp.ClientError as error:
                raise _broken(kind, error) from error
            finally:
                deployment.release(instance)

    async def _forward(self, request: web.Request, body: bytes, port: int) -> _Answer:
        if self._session is None:
            # Azure's server has synchronous workers, which close each connection: there is none to keep.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        headers = {k: v for k, v in request.headers.items() if k.casefold() not in _NOT_FORWARDED}
        headers.setdefault("x-request-id", str(uuid.uuid4()))
        url = f"http://127.0.0.1:{port}{request.path_qs}"
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            returned = {k: v for k, v in answer.headers.items() if k.casefold() not in _NOT_RETURNED}
            return _Answer(answer.status, returned, await answer.read())


async def _body(request: web.Request, kind: Kind) -> bytes:
    """Raises 404 and 413."""
    if request.path not in _PATHS:
        raise Refused(404, "NotFound", f"The path {request.path} does not exist.")
    largest = _LARGEST_MANAGED_BYTES if kind == "managed" else LARGEST_BYTES
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b""
        largest = -1
    if len(body) > largest:
        raise Refused(413, "RequestEntityTooLarge", "The payload is larger than the endpoint takes.")
    return body


def _returned(answer: _Answer, deployment: str, kind: Kind) -> web.Response:
    """A managed endpoint makes 424 of all but success; azureml-fe makes 502 of what the model itself failed at."""
    headers = {**answer.headers, DEPLOYMENT_HEADER: deployment}
    status = answer.status
    if kind == "managed" and status != 200:
        headers |= {
            MODEL_STATUS_HEADER: str(status),
            "ms-azureml-model-error-reason": "model_error",
        }
        status = 424
    elif kind == "kubernetes" and status >= 500:
        status = 502
    return web.Response(status=status, headers=headers, body=answer.body)


def _refusal(refused: Refused, deployment: str) -> web.Response:
    named = {DEPLOYMENT_HEADER: deployment} if deployment else {}
    body = json.dumps({"error": {"code": refused.code, "message": refused.message}})
    return web.Response(
        status=refused.status,
        headers={"x-request-id": str(uuid.uuid4()), **named, **refused.headers},
        text=body,
        content_type="application/json",
    )


def _queue_wait_s(deployment: Deployment, kind: Kind) -> float:
    """What a managed endpoint lets in may wait for as long as a request may take: its queue is short."""
    return deployment.served.timeout_s if kind == "managed" else deployment.served.queue_wait_s


def _not_up(kind: Kind) -> Refused:
    if kind == "managed":
        return _model_error(503, "no healthy upstream")
    return Refused(503, "ServiceUnavailable", "No replica of the deployment is ready.")


def _overloaded(kind: Kind) -> Refused:
    if kind == "managed":
        return _too_slow(kind)
    return Refused(503, "ServiceUnavailable", "No replica of the deployment became free in time.")


def _too_slow(kind: Kind) -> Refused:
    if kind == "managed":
        return Refused(408, "RequestTimeout", "The model execution took longer than request_timeout_ms.")
    return Refused(504, "GatewayTimeout", "The request timed out.")


def _broken(kind: Kind, error: aiohttp.ClientError) -> Refused:
    if kind == "managed":
        return _model_error(502, "upstream connect error or disconnect")
    return Refused(502, "BadGateway", f"The replica did not answer: {type(error).__name__}.")


def _model_error(status: int, reason: str) -> Refused:
    return Refused(
        424,
        "ModelError",
        reason,
        {MODEL_STATUS_HEADER: str(status), "ms-azureml-model-error-reason": reason},
    )
