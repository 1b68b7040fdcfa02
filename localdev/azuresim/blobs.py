"""How the simulated services themselves reach the simulated account: containers, existence of blobs, signatures.

Source of the signature: learn.microsoft.com rest/api/storageservices/create-service-sas, "Version 2020-12-06 and
later". Signatures live on wall time, as Azurite that checks them does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

from localdev.azuresim import estate, tokens
from localdev.azuresim.azurite import ACCOUNT_KEY
from localdev.azuresim.certificates import STORAGE_HOSTS

_HOST = STORAGE_HOSTS["blob"]
_VERSION = "2021-10-04"
_TIMEOUT_S = 30
_MAY_BE_SIGNED = "racwdl"  # the order in which permissions have to be written


class Blobs:
    """Requests go straight to Azurite's port and block for the millisecond they take."""

    def __init__(self, port: int, authority: Path) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(authority))

    def ensure_container(self, name: str) -> None:
        """Raises OSError if the account does not make it."""
        status, text = self._send("PUT", f"/{name}?restype=container")
        if status not in (201, 409):
            raise OSError(f"container {name}: {status} {text}")

    def holds(self, container: str, prefix: str) -> bool:
        """Is there a blob whose name begins so, in a container that is there?"""
        query = urlencode({"restype": "container", "comp": "list", "maxresults": 1, "prefix": prefix})
        status, text = self._send("GET", f"/{container}?{query}")
        return status == 200 and re.search(r"<Blob>", text) is not None

    def put(self, container: str, blob: str, content: bytes) -> bool:
        """Write a block blob; False if the account refuses, for example because there is no such container."""
        status, _ = self._send("PUT", f"/{container}/{quote(blob)}", content, {"x-ms-blob-type": "BlockBlob"})
        return status == 201

    def url(self, container: str, blob: str = "") -> str:
        """As Azure ML writes it, with the port."""
        return f"https://{_HOST}:443/{container}" + (f"/{quote(blob)}" if blob else "")

    def _send(
        self, method: str, path: str, content: bytes = b"", more: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        token, _ = tokens.issue(tokens.Principal(estate.HOST), "https://storage.azure.com")
        headers = {
            "Host": _HOST,
            "Authorization": f"Bearer {token}",
            "x-ms-version": _VERSION,
            "Content-Length": str(len(content)),
            **(more or {}),
        }
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=_TIMEOUT_S, context=self._context
        )
        try:
            connection.request(method, path, content or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()


def container_signature(container: str, permissions: str, lifetime: timedelta) -> str:
    """A shared access signature of one container, as a query. `permissions`: letters of `racwdl`."""
    ordered = "".join(each for each in _MAY_BE_SIGNED if each in permissions)
    now = datetime.now(UTC)
    start, expiry = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (now - timedelta(minutes=10), now + lifetime))
    resource = f"/blob/{estate.STORAGE_ACCOUNT}/{container}"
    # permissions, start, expiry, resource, identifier, IP, protocol, version, kind, snapshot, encryption scope, and
    # five response headers
    lines = [ordered, start, expiry, resource, "", "", "https", _VERSION, "c", "", "", *[""] * 5]
    key = base64.b64decode(ACCOUNT_KEY)
    signature = base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
    fields = {"sv": _VERSION, "st": start, "se": expiry, "sr": "c", "sp": ordered, "spr": "https"}
    return urlencode({**fields, "sig": signature})
