"""What callers of an endpoint show: its keys, or tokens for it.

Shapes: mfe.json 2022-02-01-preview (EndpointAuthKeys, EndpointAuthToken, RegenerateEndpointKeysRequest).
"""

from __future__ import annotations

import secrets
from typing import Any

from localdev.azuresim.ml import writes
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.ml.endpoint_spec import K8S, endpoint_of, kind_of
from localdev.azuresim.routing import Call, Reply
from localdev.azuresim.serving.models import Kind
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

KEYS_S = 3.0
TOKEN_LIFETIME_S, TOKEN_REFRESH_S = 8 * 3600.0, 4 * 3600.0
_NAMES = {"primary": "primaryKey", "secondary": "secondaryKey"}


def new_keys() -> dict[str, str]:
    return {name: _new_key() for name in _NAMES.values()}


def accepted(endpoint: Resource) -> list[str]:
    """What a caller may show; tokens of Entra ID are the router's own affair."""
    if endpoint.properties["authMode"] == "Key":
        return list(endpoint.state["keys"].values())
    return [str(token) for token in endpoint.state.get("tokens", ())]


def route(world: World, endpoint: Resource) -> None:
    """Bring the applied map, and who may call, into force."""
    if world.serving:
        kind: Kind = "kubernetes" if kind_of(endpoint) == K8S else "managed"
        world.serving.route(endpoint.name, endpoint.state["applied"], accepted(endpoint), kind=kind)


class Keys:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("endpoint.keys", self._regenerated)

    def list(self, call: Call) -> Reply:
        endpoint = endpoint_of(self._world, call)
        self._check_mode(endpoint, "Key")
        return Reply(200, dict(endpoint.state["keys"]))

    def token(self, call: Call) -> Reply:
        endpoint = endpoint_of(self._world, call)
        self._check_mode(endpoint, "AMLToken")
        issued = endpoint.state.setdefault("tokens", [])
        issued.append(_new_key())
        route(self._world, endpoint)
        body = {
            "accessToken": issued[-1],
            "tokenType": "Bearer",
            "expiryTimeUtc": int(call.at + TOKEN_LIFETIME_S),
            "refreshAfterTimeUtc": int(call.at + TOKEN_REFRESH_S),
        }
        return Reply(200, body)

    def regenerate(self, call: Call) -> Reply:
        endpoint = endpoint_of(self._world, call)
        self._check_mode(endpoint, "Key")
        if writes.is_busy(endpoint):
            raise writes.conflict(endpoint)
        name = _NAMES.get(str(call.document().get("keyType")).casefold())
        if name is None:
            raise user_error(400, "The keyType must be Primary or Secondary.")
        operation = writes.begin(self._world, call, endpoint)
        given = str(call.document().get("keyValue") or "")
        # azure-ai-ml sends the key it has and wants another.
        key = given if given and given != endpoint.state["keys"][name] else _new_key()
        place: dict[str, Any] = {"endpoint": endpoint.id, "name": name, "key": key}
        self._world.operations.then(operation, call.fault, KEYS_S, "endpoint.keys", **place)
        return Reply(202, operation=operation)

    def _regenerated(self, at: float, endpoint: str, name: str, key: str, operation: str) -> None:
        found = self._world.store.get(endpoint)
        if found and self._world.operations.is_running(operation):
            found.state["keys"][name] = key
            route(self._world, found)
            self._world.operations.succeed(operation, at)

    def _check_mode(self, endpoint: Resource, mode: str) -> None:
        own = endpoint.properties["authMode"]
        if own != mode:
            raise user_error(400, f"The endpoint '{endpoint.name}' authenticates by {own}, not by {mode}.")


def _new_key() -> str:
    return secrets.token_urlsafe(24)
