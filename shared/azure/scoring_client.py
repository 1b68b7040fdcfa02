"""Requests to a model's scoring address, over our own pipeline.

azure-ai-ml's `invoke` is not used: what it was told once of a deployment, it sends with every later request of the
process, to whatever endpoint (azure-ai-ml 1.35.2, EndpointInvokeFields.DEFAULT_HEADER). Here a header lives as long as
its request. Proxies and certificate authorities are those of the environment, as the SDKs take them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

DEPLOYMENT_HEADER = "azureml-model-deployment"
MODEL_STATUS_HEADER = "ms-azureml-model-error-statuscode"
MAX_ANSWER = 1 << 20  # bytes read of an answer
NO_ANSWER = 0


@dataclass(frozen=True)
class ScoringAnswer:
    """What came back. `status` is 0 where nothing did, and `error` says why; `latency_s` is until the last byte.

    `model_status` is the model's own status where the endpoint put another in its place: Azure answers 424 for it.
    """

    status: int
    latency_s: float
    body: bytes = b""
    error: str = ""
    model_status: int | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class ScoringClient:
    """One endpoint's address and the headers that open it. May be used by several threads at once.

    `connections` are kept open, so that a load test measures the model and not the handshakes. A redirect is an answer
    like any other: the key goes nowhere else.
    """

    uri: str
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float = 30.0
    connections: int = 4
    _pool: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pool", _pool(self.uri, self.connections))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def score(self, body: bytes, *, deployment: str | None = None) -> ScoringAnswer:
        """Post the body once, to `deployment` or to whichever the traffic map chooses. A bad answer is one too."""
        from urllib3.exceptions import HTTPError

        headers = {**self.headers, "Content-Type": "application/json"}
        if deployment is not None:
            headers[DEPLOYMENT_HEADER] = deployment
        start = time.perf_counter()
        try:
            response = self._pool.request(
                "POST", self.uri, body=body, headers=headers, redirect=False, retries=False,
                timeout=self._timeout(), preload_content=False,
            )  # fmt: skip
            content = response.read(MAX_ANSWER, decode_content=True)
            if response.read(1):  # more than anyone asked for: the connection is of no use any more
                response.close()
            response.release_conn()
        except HTTPError as error:
            return ScoringAnswer(
                NO_ANSWER, time.perf_counter() - start, error=f"{type(error).__name__}: {error}"
            )
        return ScoringAnswer(
            response.status,
            time.perf_counter() - start,
            content,
            model_status=_number(response.headers.get(MODEL_STATUS_HEADER)),
        )

    def _timeout(self) -> Any:
        from urllib3 import Timeout

        return Timeout(total=self.timeout_s)


def _pool(uri: str, connections: int) -> Any:
    import urllib3

    options: dict[str, Any] = {"maxsize": connections, "block": False}
    authority = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if authority:
        options["ca_cert_dir" if os.path.isdir(authority) else "ca_certs"] = authority
    where = urlsplit(uri)
    proxy = getproxies().get(where.scheme)
    if proxy and not proxy_bypass(where.netloc):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
