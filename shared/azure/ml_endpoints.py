"""Azure ML online endpoints: their requests, the bodies we send, and what a look at one says.

Field names and enums: Microsoft.MachineLearningServices 2024-10-01, mfe.json (OnlineEndpoint). There is no ETag and no
If-Match: who may write is told by an epoch in a tag, read before every write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from shared.azure import ml_client
from shared.azure.arm import Answer, request
from shared.azure.credentials import credential
from shared.azure.resources import tags_of
from shared.config import Settings
from shared.domain.errors import ConflictError, NotFoundError, PlatformError, SpecError, TransientError
from shared.domain.lease import TAG_APP, TAG_EPOCH
from shared.domain.serving import FENCED, EndpointPlan, ScoringAccess, Target, serving

BUSY_S = 60.0  # Azure takes no second change of an endpoint sooner (FAULTS F25)
SCORING_SCOPE = "https://ml.azure.com/.default"

_AUTH_MODES = {"key": "Key", "aad_token": "AADToken"}
_READ_ONLY = ("provisioningState", "scoringUri", "swaggerUri", "keys")
_MANAGED_HOST = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.inference\.ml\.azure\.(?:com|us|cn)", re.IGNORECASE)
# What answers for the machine itself, never for a model: loopback, link-local, Azure's own (168.63.129.16).
_NOT_A_SCORER = re.compile(r"localhost|127\.|0\.|169\.254\.|168\.63\.129\.16|\[|.*metadata", re.IGNORECASE)


def endpoint_id(name: str) -> str:
    return f"{ml_client.workspace().id}/onlineEndpoints/{name}"


@cache
def location() -> str:
    """The workspace's region: endpoints are there, wherever their machines are."""
    id_ = ml_client.workspace().id
    answer = request("GET", id_, api_version=ml_client.ML_API, target="read the workspace")
    return str(answer.body["location"])


def get_endpoint(name: str) -> Answer:
    """The endpoint; `is_missing` if ARM says it is not there."""
    return ml_client.looked(ml_client.client().online_endpoints.get, f"read endpoint {name}", name)


def own_endpoint(name: str, settings: Settings, *, epoch: int) -> Answer:
    """The endpoint, of which we may write under `epoch`.

    Raises NotFoundError if it is gone, ConflictError if it is not this app's or somebody holds it under a higher epoch.
    """
    seen = get_endpoint(name)
    if seen.is_missing:
        raise NotFoundError(
            f"endpoint {name} is not there", code="EndpointNotFound", target=endpoint_id(name)
        )
    check_ours(name, seen, settings)
    if epoch_of(seen.body) > epoch:
        raise ConflictError(
            f"endpoint {name} is held under epoch {epoch_of(seen.body)}; this run's is {epoch}: it may write no more",
            code=FENCED,
            target=endpoint_id(name),
        )
    return seen


def begin_put(name: str, body: Mapping[str, Any]) -> Answer:
    """Create it, or replace all of it but what Azure alone sets."""
    operation = ml_client.client().online_endpoints.begin_create_or_update
    return ml_client.begun(operation, f"write endpoint {name}", name, body)


def begin_raise(name: str, endpoint: Mapping[str, Any], epoch: int) -> Answer:
    """Write the epoch into the tag and nothing else: a map that was read a moment ago may be older than the map.

    As a plain request: azure-ai-ml 1.35.2 reads the body of the answer before anyone is asked, and a 202 has none.
    """
    body = {"tags": {**(endpoint.get("tags") or {}), TAG_EPOCH: str(epoch)}}
    return request(
        "PATCH", endpoint_id(name), api_version=ml_client.ML_API, target=f"take endpoint {name}", body=body
    )


def endpoint_body(plan: EndpointPlan, settings: Settings, compute: str = "") -> dict[str, Any]:
    """A new endpoint, without traffic. `compute` is the ARM id of the attached cluster; managed ones have none.

    Its machines act as the identity of machines: it may read models and write what was collected, no more.
    """
    properties: dict[str, Any] = {
        "authMode": _AUTH_MODES[plan.target.auth_mode],
        "description": "Made by Muster",
        "traffic": {},
    }
    if compute:
        properties["compute"] = compute
    return {
        "location": location(),
        "tags": plan.tags(settings.app),
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {settings.vm_identity_id: {}}},
        "properties": properties,
    }


def traffic_body(endpoint: Mapping[str, Any], *, epoch: int, traffic: Mapping[str, int]) -> dict[str, Any]:
    """The endpoint as it was read, with another traffic map under `epoch`: a PUT replaces everything."""
    properties = {name: value for name, value in endpoint["properties"].items() if name not in _READ_ONLY}
    properties["traffic"] = dict(traffic)
    body = {name: endpoint[name] for name in ("location", "kind", "sku") if endpoint.get(name)}
    if identity := endpoint.get("identity"):
        assigned = identity.get("userAssignedIdentities")
        body["identity"] = {"type": identity["type"]}
        if assigned:
            body["identity"]["userAssignedIdentities"] = {id_: {} for id_ in assigned}
    return body | {"tags": {**(endpoint.get("tags") or {}), TAG_EPOCH: str(epoch)}, "properties": properties}


def check_fits(name: str, endpoint: Mapping[str, Any], target: Target, compute: str) -> None:
    """Raises ConflictError if the endpoint is of another kind, on another cluster, or opened in another way."""
    properties = endpoint["properties"]
    found, wanted = str(properties.get("compute") or ""), compute
    if found.casefold() != wanted.casefold():
        said = found.rsplit("/", 1)[-1] or "Azure's own machines"
        asked = wanted.rsplit("/", 1)[-1] or "Azure's own machines"
        raise ConflictError(
            f"endpoint {name} is on {said}, and {asked} was asked for; an endpoint cannot move",
            code="EndpointElsewhere",
        )
    if str(properties.get("authMode", "")).casefold() != _AUTH_MODES[target.auth_mode].casefold():
        raise ConflictError(
            f"endpoint {name} has authMode {properties.get('authMode')}, and {target.auth_mode} was asked for",
            code="EndpointElsewhere",
        )


def check_ours(name: str, endpoint: Answer, settings: Settings) -> None:
    """Raises ConflictError for an endpoint that this app did not make."""
    if tags_of(endpoint.body).get(TAG_APP) != settings.app:
        raise ConflictError(
            f"endpoint {name} is there without the tag {TAG_APP}={settings.app}; it was left alone",
            code="NotOurs",
            target=endpoint.body.get("id"),
        )


def check_idle(name: str, endpoint: Mapping[str, Any]) -> None:
    """Raises TransientError while Azure works on the endpoint, ConflictError if it is being deleted."""
    state = state_of(endpoint)
    if state == "Deleting":
        raise ConflictError(f"endpoint {name} is being deleted", code="EndpointDeleting")
    if state in ("Creating", "Updating"):
        raise TransientError(
            f"endpoint {name} is {state}: Azure takes no other change of it meanwhile",
            code="EndpointBusy",
            target=endpoint_id(name),
            retry_after_s=BUSY_S,
        )


def is_settled(endpoint: Answer) -> bool:
    """Whether the last change is old enough that what was read is what is: reads lag writes by some seconds."""
    changed = str((endpoint.body.get("systemData") or {}).get("lastModifiedAt") or "")
    try:
        return endpoint.date - datetime.fromisoformat(changed) >= timedelta(seconds=BUSY_S)
    except (ValueError, TypeError):
        return False


def state_of(endpoint: Mapping[str, Any]) -> str:
    return str(endpoint["properties"].get("provisioningState") or "")


def traffic_of(endpoint: Mapping[str, Any]) -> dict[str, int]:
    """Who has traffic, and how much. A name with none is not there."""
    return serving(endpoint["properties"].get("traffic") or {})


def epoch_of(endpoint: Mapping[str, Any]) -> int:
    """The epoch that the endpoint's tag shows; 0 for none, or for one that is no number."""
    text = tags_of(endpoint).get(TAG_EPOCH, "")
    return int(text) if text.isdecimal() else 0


def access_of(name: str, endpoint: Mapping[str, Any]) -> ScoringAccess:
    """The address and the header that opens it: the endpoint's own key, or a token of the app's identity.

    A token is sent over TLS only. A key goes where ARM says the endpoint is, which on a cluster may be plain HTTP: that
    was its administrator's choice (`allowInsecureConnections`).
    """
    properties = endpoint["properties"]
    uri = str(properties.get("scoringUri") or "")
    managed = not properties.get("compute")
    check_scoring_uri(name, uri, managed=managed)
    if properties.get("authMode") == "Key":
        keys = ml_client.sent(
            ml_client.client().online_endpoints.list_keys, f"read keys of endpoint {name}", name
        )
        secret = str(keys.body["primaryKey"])
    elif not uri.startswith("https://"):
        raise PlatformError(
            f"endpoint {name} asks for a token and has no TLS: {uri}", code="InsecureEndpoint"
        )
    else:
        secret = str(credential().get_token(SCORING_SCOPE).token)
    return ScoringAccess(uri=uri, headers={"Authorization": f"Bearer {secret}"})


def check_scoring_uri(name: str, uri: str, *, managed: bool) -> None:
    """Raises TransientError while there is none, PlatformError for one that is no place for a model's key."""
    if not uri:
        raise TransientError(
            f"endpoint {name} has no scoring address yet", code="NoScoringUri", retry_after_s=BUSY_S
        )
    where = urlsplit(uri)
    host = where.hostname or ""
    fits = (
        where.scheme == "https" and _MANAGED_HOST.fullmatch(host)
        if managed
        else where.scheme in ("https", "http")
    )
    if not fits or not host or _NOT_A_SCORER.match(where.netloc.rpartition("@")[2]) or where.username:
        raise PlatformError(
            f"endpoint {name} has the scoring address {uri!r}; nothing was sent", code="BadScoringUri"
        )


def compute_id(target: Target) -> str:
    """The ARM id of the attached cluster that the target names."""
    if target.compute is None:
        raise SpecError("target.compute is missing: on aks it names the attached cluster")
    return f"{ml_client.workspace().id}/computes/{target.compute}"
