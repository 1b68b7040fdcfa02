"""Requests to subscribers: on loopback only, without proxies, never following a redirect."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from localdev.azuresim.event_grid.retries import TIMED_OUT_STATUS

# The window in which to answer is of virtual time; a process that answers needs wall time whatever a clock leaps.
LEAST_WALL_S = 5.0
_AT_ONCE = 64
_LOOK_S = 0.05
_LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """`status` 0: there was nobody to answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Webhooks:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """The endpoint's answer; a 408 of our own if `is_over` before it came. Never raises."""
        if not is_loopback(url):
            return Answer(0, {}, b"not a loopback address")
        async with self._slots:
            request = asyncio.ensure_future(self._exchange(method, url, headers, body))
            began = time.monotonic()
            try:
                while not request.done():
                    await asyncio.wait({request}, timeout=_LOOK_S)
                    if not request.done() and time.monotonic() - began > LEAST_WALL_S and is_over():
                        return Answer(TIMED_OUT_STATUS, {}, b"")
                return request.result()
            finally:
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        try:
            async with self._session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                content = await answer.content.read(_LONGEST_ANSWER)
                return Answer(answer.status, dict(answer.headers), content)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, {}, str(error).encode())


def is_loopback(url: str) -> bool:
    """http://127.0.0.1:7071/x, http://localhost/x -> True"""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
