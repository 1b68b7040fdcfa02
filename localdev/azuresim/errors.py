"""Refusals in ARM's own form. Texts are Azure's where they are known; the others say what is wrong and name the thing.

Source: azure-resource-manager-rpc v1.0/common-api-details.md (form), public error logs (texts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class ArmError(Exception):
    """One refused request. `headers` go out with the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str = "",
        details: Iterable[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.target, self.details, self.headers = target, list(details), dict(headers or {})

    def error(self) -> dict[str, Any]:
        return error_object(self.code, self.message, target=self.target, details=self.details)


def error_object(
    code: str, message: str, *, target: str = "", details: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if target:
        error["target"] = target
    if details := list(details):
        error["details"] = details
    return error


def not_found(resource_id: str) -> ArmError:
    group, type_and_name = _place(resource_id)
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{type_and_name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def parent_not_found(resource_id: str, type_: str, action: str) -> ArmError:
    """`resource_id` is the missing parent; `type_` the child's type."""
    return ArmError(
        404,
        "ParentResourceNotFound",
        f"Failed to perform '{action}' on resource(s) of type '{type_.partition('/')[2]}', because the parent "
        f"resource '{resource_id}' could not be found.",
    )


def conflict() -> ArmError:
    return ArmError(
        409,
        "Conflict",
        "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
        "https://aka.ms/activitylog to get more details on the conflicting requests.",
    )


def precondition_failed(detail: str) -> ArmError:
    return ArmError(
        412,
        "PreconditionFailed",
        f"The condition specified using HTTP conditional header(s) is not met: {detail}",
    )


def invalid_parameter(message: str, target: str) -> ArmError:
    return ArmError(400, "InvalidParameter", message, target=target)


def bad_member(member: str, owner: str, path: str) -> ArmError:
    """What Azure's JSON reader says to a member it does not know."""
    return ArmError(
        400,
        "BadRequest",
        f"Could not find member '{member}' on object of type '{owner}'. Path '{path}', line 1, position 1.",
        target=path,
    )


def not_simulated(what: str, target: str) -> ArmError:
    """Azure can do it, this simulator cannot: say so rather than shrug."""
    return ArmError(400, "NotImplementedBySimulator", f"{what} is not simulated", target=target)


def _place(resource_id: str) -> tuple[str, str]:
    """Resource group and "Provider/type/name" of an id."""
    parts = resource_id.strip("/").split("/")
    group = parts[3] if len(parts) > 3 else ""
    tail = parts[parts.index("providers") + 1 :] if "providers" in parts else parts[-2:]
    types, names = [tail[0], *tail[1::2]], tail[2::2]
    return group, "/".join([*types, *names])
