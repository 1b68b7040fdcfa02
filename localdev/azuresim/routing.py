"""Which handler answers which request, and what ARM says when there is none.

Texts of refusals: public error logs and learn.microsoft.com azure-resource-manager/troubleshooting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.errors import ArmError
from localdev.azuresim.faults import Fault
from localdev.azuresim.operations import Operation
from localdev.azuresim.tokens import Principal

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-\w+)?")


@dataclass
class Reply:
    """`operation`: the long operation this began. `poll_after_s`: advice, in virtual seconds, of when to look again."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    operation: Operation | None = None
    poll_after_s: float | None = None


@dataclass
class Call:
    """One request that found its route. `resource_id` is what it is about, in the case the client wrote it."""

    method: str
    path: str
    query: Mapping[str, str]  # names in lower case
    headers: Mapping[str, str]
    body: Any
    principal: Principal
    api_version: str
    at: float
    params: Mapping[str, str] = field(default_factory=dict)
    action: str = ""
    resource_id: str = ""
    fault: Fault | None = None

    def document(self) -> dict[str, Any]:
        """The body as an object. Raises ARM's 400 if it is anything else."""
        if not isinstance(self.body, dict):
            raise ArmError(
                400,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized: 'A JSON object is expected.'.",
            )
        return self.body


Handler = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """`path` has `{names}`; `action` is ARM's operation name, by which faults and roles know it.

    No `versions`: any will do. `is_action`: the last segment is a verb, not part of the resource's id.
    """

    method: str
    path: str
    action: str
    handler: Handler
    versions: tuple[str, ...]
    is_action: bool = False

    def match(self, path: str) -> dict[str, str] | None:
        own, given = self.path.split("/"), path.rstrip("/").split("/")
        if len(own) != len(given):
            return None
        found = {}
        for mine, theirs in zip(own, given, strict=True):
            if mine.startswith("{"):
                found[mine[1:-1]] = theirs
            elif mine.casefold() != theirs.casefold():
                return None
        return found


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = list(routes)

    def find(self, method: str, path: str, query: Mapping[str, str]) -> tuple[Route, dict[str, str]]:
        """Raises ARM's refusal of what is not there, or not in this api-version."""
        version = query.get("api-version", "")
        if not version:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if not _VERSION.fullmatch(version):
            raise ArmError(
                400,
                "InvalidApiVersionParameter",
                f"The api-version '{version}' is invalid. The supported versions are '{self._all_versions()}'.",
            )
        matches = [(route, params) for route in self._routes if (params := route.match(path)) is not None]
        if not matches:
            raise self._unknown_route(path, version)
        for route, params in matches:
            if route.method == method:
                if route.versions and version not in route.versions:
                    raise _unknown_version(route, path, version)
                return route, params
        allowed = ", ".join(sorted({route.method for route, _ in matches}))
        raise ArmError(
            405,
            "MethodNotAllowed",
            f"The http method '{method}' is not supported for '{path}'.",
            headers={"Allow": allowed},
        )

    def _all_versions(self) -> str:
        return ",".join(sorted({version for route in self._routes for version in route.versions}))

    def _unknown_route(self, path: str, version: str) -> ArmError:
        namespace, type_ = provider_and_type(path)
        known = {provider_and_type(route.path)[0].casefold() for route in self._routes}
        if not namespace:
            return ArmError(404, "NotFound", f"No HTTP resource was found that matches '{path}'.")
        if namespace.casefold() not in known:
            return ArmError(
                404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid."
            )
        return ArmError(
            404,
            "InvalidResourceType",
            f"The resource type '{type_}' could not be found in the namespace '{namespace}' for api version "
            f"'{version}'. The supported api-versions are ''.",
        )


def provider_and_type(path: str) -> tuple[str, str]:
    """("Microsoft.Compute", "virtualMachines/runCommands") of a path; ("", "") if it names no provider."""
    _, found, tail = path.rpartition("/providers/")
    parts = tail.strip("/").split("/")
    return (parts[0], "/".join(parts[1::2])) if found else ("", "")


def _unknown_version(route: Route, path: str, version: str) -> ArmError:
    namespace, type_ = provider_and_type(path)
    supported = ", ".join(route.versions)
    if not namespace:
        return ArmError(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{version}' is invalid. The supported versions are '{supported}'.",
        )
    return ArmError(
        400,
        "NoRegisteredProviderFound",
        f"No registered resource provider found for location '{catalog.REGIONS[0]}' and API version '{version}' for "
        f"type '{type_}'. The supported api-versions are '{supported}'. The supported locations are "
        f"'{', '.join(catalog.REGIONS)}'.",
    )
