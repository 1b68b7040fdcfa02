"""Azure Resource Manager: the one pipeline every ARM request goes through, and requests that have no SDK among ours.

The pipeline is written down instead of taken from the SDK's default, which would
- sleep in process: on any Retry-After, uncapped, also before repeating a POST (RetryPolicy);
- register a missing resource provider on the subscription and wait for it (ARMAutoResourceProviderRegistrationPolicy).
Waiting belongs to the orchestrator's durable timer, registering to whoever sets the subscription up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from shared.azure.classify import classified, date_of, error_from_response, retry_after_s
from shared.azure.credentials import credential
from shared.config import settings
from shared.domain.lease import Lease

logger = logging.getLogger(__name__)

ENDPOINT = "https://management.azure.com"
SCOPE = f"{ENDPOINT}/.default"

# One version for each kind of request, each with a complete official Swagger; the SDK's defaults move with its wheels.
COMPUTE_API = "2024-07-01"
SKUS_API = "2021-07-01"
DISKS_API = "2024-03-02"
NETWORK_API = "2024-03-01"
SCHEDULES_API = "2018-09-15"
RESOURCES_API = "2021-04-01"

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 40  # an activity may take 60 s


@dataclass(frozen=True)
class Answer:
    """An answer of ARM: a success, or a 404 where the reader asked whether it is there. `body` is {} without one."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def is_missing(self) -> bool:
        return self.status == 404

    @property
    def date(self) -> datetime:
        """ARM's time of the answer."""
        return date_of(self.headers)

    def poll_after_s(self, default: float) -> float:
        """Not before this many seconds may anyone look again: ARM's own word, or `default`."""
        told = retry_after_s(self.headers)
        return default if told is None else told


@cache
def policies() -> list[Any]:
    """The pipeline: no retry policy, no redirects, no registration of resource providers."""
    from azure.core.pipeline import policies as core
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy, ARMHttpLoggingPolicy

    return [
        core.RequestIdPolicy(),
        core.UserAgentPolicy(base_user_agent="muster"),
        core.ProxyPolicy(),
        ARMChallengeAuthenticationPolicy(credential(), SCOPE),
        ARMHttpLoggingPolicy(),
    ]


@cache
def transport() -> Any:
    from azure.core.pipeline.transport import RequestsTransport

    return RequestsTransport(connection_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)


@cache
def _client() -> Any:
    from azure.mgmt.core import ARMPipelineClient

    return ARMPipelineClient(base_url=ENDPOINT, policies=policies(), transport=transport())


def request(
    method: str,
    path: str,
    *,
    api_version: str,
    target: str,
    body: Any = None,
    may_be_missing: bool = False,
) -> Answer:
    """Send one request. `path` is an ARM id or a whole nextLink. Raises one of our errors, naming `target`."""
    from azure.core.rest import HttpRequest

    url = path if path.startswith(ENDPOINT) else f"{ENDPOINT}{path}"
    params = {} if "api-version=" in url else {"api-version": api_version}
    with classified(target):
        response = _client().send_request(HttpRequest(method, url, params=params, json=body))
        content = response.read()
    if response.status_code == 404 and may_be_missing:
        return Answer(404, response.headers, {})
    if response.status_code >= 400:
        raise error_from_response(
            response.status_code, response.headers, _json(response) if content else None, target
        )
    return Answer(response.status_code, response.headers, _json(response) if content else {})


def pages(path: str, *, api_version: str, target: str) -> Iterator[Answer]:
    """Every page of a list, one request each."""
    link: str | None = path
    while link:
        answer = request("GET", link, api_version=api_version, target=target)
        yield answer
        link = answer.body.get("nextLink")


def now() -> datetime:
    """ARM's time: the clock that deadlines are judged by."""
    return request(
        "GET", group_id(), api_version=RESOURCES_API, target="ask ARM for its time", may_be_missing=True
    ).date


def group_id() -> str:
    """The ARM id of the one resource group that machines live in."""
    return f"/subscriptions/{settings().subscription_id}/resourceGroups/{settings().resource_group}"


def resource_id(type_: str, name: str) -> str:
    """resource_id("Microsoft.Compute/disks", "d1") -> ".../providers/Microsoft.Compute/disks/d1"."""
    return f"{group_id()}/providers/{type_}/{name}"


def _json(response: Any) -> Any:
    try:
        return response.json()
    except ValueError:
        return {}


def log_fields(lease: Lease, sent: Answer) -> dict[str, object]:
    """What every line about a lease's machine says: whose, which, and Azure's own id of the request."""
    return {
        "run": lease.owner,
        "lease": lease.id,
        "epoch": lease.epoch,
        "correlation_id": sent.headers.get("x-ms-correlation-request-id", ""),
    }
