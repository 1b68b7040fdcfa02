"""Who calls the HTTP API, and what they may do.

On Azure, App Service authentication verifies the token and tells who it is in x-ms-client-principal headers, which it
takes away from what clients send. Where it is off those headers are the client's own words and say nothing: then the
caller is whoever has the function key, and nobody can be told apart from anybody else.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from typing import Any

import azure.functions as func

from shared.domain.deploy import FUNCTION_KEY
from shared.domain.errors import AppError

DEPLOY, APPROVE = "Model.Deploy", "Model.Approve"  # app roles of the app's registration in Entra ID
_ROLE_CLAIMS = ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")


class Forbidden(AppError):
    """The caller is known, or is nobody in particular, and may not do this."""


@dataclass(frozen=True)
class Principal:
    """`id` is the object's id in its directory, "" for one who showed a function key alone. Names change, ids do not."""

    id: str = ""
    name: str = FUNCTION_KEY
    roles: frozenset[str] = frozenset()

    @property
    def is_named(self) -> bool:
        return bool(self.id)

    def __str__(self) -> str:
        return self.name


def is_platform_auth_on() -> bool:
    """App Service sets it, and nothing that comes with a request can."""
    return os.environ.get("WEBSITE_AUTH_ENABLED", "").casefold() == "true"


def principal_of(req: func.HttpRequest) -> Principal:
    """The caller, as the platform vouches for it."""
    id_ = req.headers.get("x-ms-client-principal-id") or ""
    if not is_platform_auth_on() or not id_:
        return Principal()
    name = req.headers.get("x-ms-client-principal-name") or id_
    return Principal(
        id=_plain(id_), name=_plain(name), roles=_roles(req.headers.get("x-ms-client-principal") or "")
    )


def require(principal: Principal, *roles: str, to: str) -> None:
    """Raises Forbidden unless the principal has one of `roles`.

    Where platform authentication is off there are no roles: the function key is the permission.
    """
    if not is_platform_auth_on() or principal.roles.intersection(roles):
        return
    raise Forbidden(f"{principal} may not {to}: it takes the app role {' or '.join(roles)}")


def _roles(encoded: str) -> frozenset[str]:
    """The roles in x-ms-client-principal: base64 of {"claims": [{"typ", "val"}], "role_typ"}."""
    try:
        document = json.loads(base64.b64decode(encoded, validate=True))
        claims: list[dict[str, Any]] = document["claims"]
        kinds = {*_ROLE_CLAIMS, str(document.get("role_typ"))}
        return frozenset(str(claim["val"]) for claim in claims if claim.get("typ") in kinds)
    except (binascii.Error, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return frozenset()


def _plain(text: str) -> str:
    return "".join(c for c in text[:200] if c.isprintable()).strip()
