"""The HTTP boundary: what the SDKs send through `requests` is answered in this process, with no socket between.

The SDKs' own pipelines, serialisation and error handling run as they are; only the last step, the adapter that would
open a connection, is replaced. A request is one visit of the strand that makes it: see Machine.exchange.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.error import HTTPError, URLError
from urllib.request import Request

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import ProtocolError

from tests.crash.storage import Answered

Exchange = Callable[[requests.PreparedRequest], Answered]
Sleep = Callable[[float], None]


@contextmanager
def answering(exchange: Exchange, sleep: Sleep) -> Iterator[None]:
    """Within the block every request of this process is answered by `exchange`, and the SDKs' waits by `sleep`."""
    from azure.core.pipeline.transport import RequestsTransport

    from node import tracking
    from shared.azure import scoring_client

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        return adapter.build_response(request, _raw(request, exchange(request)))

    before, slept = HTTPAdapter.send, RequestsTransport.sleep
    HTTPAdapter.send = send  # type: ignore[method-assign,assignment]
    RequestsTransport.sleep = lambda _, duration: sleep(duration)
    try:
        with (
            mock.patch.object(scoring_client, "_pool", lambda *_: _Pool(exchange)),
            mock.patch.object(tracking, "urlopen", _urlopen(exchange)),
            mock.patch.object(tracking, "time", SimpleNamespace(sleep=sleep, time_ns=time.time_ns)),
        ):
            yield
    finally:
        HTTPAdapter.send = before  # type: ignore[method-assign]
        RequestsTransport.sleep = slept


class _Pool:
    """What our own client of scoring addresses sends with, which is urllib3's and not that of the SDKs."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def request(self, method: str, uri: str, *, body: bytes, headers: Any, **_: Any) -> HTTPResponse:
        request = requests.Request(method, uri, data=body, headers=headers).prepare()
        try:
            return _raw(request, self._exchange(request))
        except requests.exceptions.ConnectionError as error:
            raise ProtocolError(str(error)) from error

    def clear(self) -> None: ...


def _urlopen(exchange: Exchange) -> Any:
    """What a job reports its metrics with: the standard library's, with its errors."""

    def open_(asked: Request, *, timeout: float) -> HTTPResponse:
        request = requests.Request(
            asked.get_method(), asked.full_url, data=asked.data, headers=dict(asked.header_items())
        ).prepare()
        try:
            answered = exchange(request)
        except requests.exceptions.ConnectionError as error:
            raise URLError(str(error)) from error
        if answered.status >= 400:
            raise HTTPError(asked.full_url, answered.status, "refused", Message(), None)
        return _raw(request, answered)

    return open_


def _raw(request: requests.PreparedRequest, answered: Answered) -> HTTPResponse:
    return HTTPResponse(
        body=io.BytesIO(answered.body),
        headers=HTTPHeaderDict({"Content-Length": str(len(answered.body)), **answered.headers}),
        status=answered.status,
        preload_content=False,
        request_method=request.method,
    )


def body_of(request: requests.PreparedRequest) -> bytes:
    body: Any = request.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else bytes(body.read())


def no_answer(request: requests.PreparedRequest) -> requests.exceptions.ConnectionError:
    """What a client sees of a connection that broke before the answer came."""
    return requests.exceptions.ConnectionError("connection aborted", request=request)
