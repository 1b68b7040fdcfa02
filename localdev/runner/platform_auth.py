"""App Service authentication, played: a key stands for the token that a caller would bring.

Where it is on, what a client says of itself is taken away and the verified principal put in its place; where it is off,
headers pass as they came, as on Azure. Source: learn app-service/configure-authentication-user-identities.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDict, MultiMapping

SETTING = "WEBSITE_AUTH_ENABLED"
_OURS = ("x-ms-client-principal", "x-ms-token-")
_ROLE = "roles"


@dataclass(frozen=True)
class Principal:
    """A user or an application with its app roles."""

    id: str
    name: str
    roles: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Principal:
        """Raises KeyError or TypeError when it is none."""
        return cls(str(document["id"]), str(document["name"]), tuple(map(str, document.get("roles", ()))))

    def headers(self) -> dict[str, str]:
        claims = [{"typ": "name", "val": self.name}, *({"typ": _ROLE, "val": role} for role in self.roles)]
        document = {"auth_typ": "aad", "claims": claims, "name_typ": "name", "role_typ": _ROLE}
        return {
            "x-ms-client-principal": base64.b64encode(json.dumps(document).encode()).decode(),
            "x-ms-client-principal-id": self.id,
            "x-ms-client-principal-name": self.name,
            "x-ms-client-principal-idp": "aad",
        }


def vouched(headers: MultiMapping[str], principal: Principal | None) -> CIMultiDict[str]:
    """The headers as the app gets them: nothing that a client says of itself, and who the platform knows it to be."""
    kept = CIMultiDict((name, value) for name, value in headers.items() if not name.lower().startswith(_OURS))
    kept.update(principal.headers() if principal else {})
    return kept
