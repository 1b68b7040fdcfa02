"""Access tokens: JSON Web Tokens without a signature, which Azurite's `--oauth basic` takes and real Azure refuses.

They live on wall time, because the SDKs that cache them and Azurite that checks them do.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.estate import IDENTITIES, TENANT, Identity

LIFETIME_S = 24 * 3600
ARM_AUDIENCES = {"https://management.azure.com", "https://management.core.windows.net"}
ML_AUDIENCES = {*ARM_AUDIENCES, "https://ml.azure.com"}


@dataclass(frozen=True)
class Principal:
    """Whom a request speaks for; `machine` is the id of the VM that got the token, if one did."""

    identity: Identity
    machine: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "name": self.identity.name,
            "oid": self.identity.object_id,
            "appid": self.identity.client_id,
            "machine": self.machine,
        }


def issue(principal: Principal, resource: str) -> tuple[str, int]:
    """A token for `resource` and the moment it expires (wall, epoch seconds)."""
    now = int(time.time())
    identity = principal.identity
    claims = {
        "aud": resource.rstrip("/"),
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now,
        "nbf": now - 5,
        "exp": now + LIFETIME_S,
        "tid": TENANT,
        "oid": identity.object_id,
        "sub": identity.object_id,
        "appid": identity.client_id,
        "idtyp": "app",
        "ver": "1.0",
        "xms_mirid": identity.id,
        "xms_az_rid": principal.machine,
    }
    return f"{_encode({'typ': 'JWT', 'alg': 'none'})}.{_encode(claims)}.", now + LIFETIME_S


def authenticate(header: str | None, audiences: Collection[str] = ARM_AUDIENCES) -> Principal:
    """The principal of an Authorization header, whose token must be for one of `audiences`. Raises ARM's 401."""
    if not header:
        raise _unauthorized(
            "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        )
    scheme, _, token = header.partition(" ")
    claims = _decode(token) if scheme.casefold() == "bearer" else None
    if claims is None:
        raise _unauthorized("InvalidAuthenticationToken", "The access token is invalid.")
    if str(claims.get("aud", "")).rstrip("/") not in audiences:
        raise _unauthorized(
            "InvalidAuthenticationTokenAudience",
            "The access token has been obtained for wrong audience or resource "
            f"'{claims.get('aud')}'. It should exactly match with one of the allowed audiences "
            f"'{','.join(sorted(audiences))}'.",
        )
    if float(claims.get("exp", 0)) < time.time():
        raise _unauthorized("ExpiredAuthenticationToken", "The access token expiry UTC time is in the past.")
    identity = next((each for each in IDENTITIES if each.object_id == claims.get("oid")), None)
    if identity is None:
        raise _unauthorized("InvalidAuthenticationToken", "The access token names an unknown principal.")
    return Principal(identity, str(claims.get("xms_az_rid", "")))


def _unauthorized(code: str, message: str) -> ArmError:
    challenge = (
        f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT}", error="invalid_token"'
    )
    return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})


def _encode(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def _decode(token: str) -> dict[str, Any] | None:
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return None
    return claims if isinstance(claims, dict) else None
