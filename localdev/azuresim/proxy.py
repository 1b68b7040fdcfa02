"""The way out: an HTTP proxy that leads Azure's host names to the simulator and everything else nowhere.

CONNECT tunnels raw bytes to a loopback port per host; a request with an absolute URI is answered only for the metadata
service. A client may name itself by the user and password of its proxy URL: that is how machines are told apart.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from localdev.azuresim.metadata import HOST_NAME as METADATA_HOST

_HEAD_LIMIT = 64 * 1024
_CHUNK = 64 * 1024

Metadata = Callable[[str, str, str, Mapping[str, str], Mapping[str, str], bytes], web.Response]
Refused = Callable[[str, str, str], None]  # host and port, machine, reason


@dataclass
class _Head:
    method: str
    target: str
    headers: dict[str, str]  # names in lower case

    def credentials(self) -> tuple[str, str]:
        scheme, _, text = self.headers.get("proxy-authorization", "").partition(" ")
        if scheme.casefold() != "basic":
            return "", ""
        user, _, password = base64.b64decode(text).decode().partition(":")
        return user, password


class Proxy:
    """`targets` maps "host:port" to a loopback port, "*.rest:port" every host one label below `rest`.

    `is_machine` checks a user and password.
    """

    def __init__(
        self,
        targets: Mapping[str, int],
        metadata: Metadata,
        is_machine: Callable[[str, str], bool],
        refused: Refused,
    ) -> None:
        self._targets, self._metadata = targets, metadata
        self._is_machine, self._refused = is_machine, refused
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._serve(reader, writer):
                pass
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; True if the connection may carry another."""
        head = _parse((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        if head is None:
            await _answer(writer, 400, b"not an HTTP proxy request")
            return False
        user, password = head.credentials()
        if user and not self._is_machine(user, password):
            self._refused(head.target, user, "unknown machine")
            await _answer(writer, 407, b"unknown machine", {"Proxy-Authenticate": 'Basic realm="azuresim"'})
            return False
        if head.method == "CONNECT":
            await self._tunnel(head, user, reader, writer)
            return False
        return await self._forward(head, user, reader, writer)

    async def _tunnel(
        self, head: _Head, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        target = head.target.casefold()
        port = self._targets.get(target) or self._targets.get(f"*.{target.partition('.')[2]}")
        if port is None:
            self._refused(head.target, user, "host not simulated")
            await _answer(writer, 502, f"{head.target} is not simulated here".encode())
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        acknowledge = functools.partial(_acknowledge, writer.get_extra_info("socket"))
        acknowledge()
        await asyncio.gather(_copy(reader, far_writer, acknowledge), _copy(far_reader, writer))

    async def _forward(
        self, head: _Head, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        url = urlsplit(head.target)
        body = await reader.readexactly(int(head.headers.get("content-length", "0")))
        if url.hostname != METADATA_HOST or not user:
            reason = (
                "host not simulated"
                if url.hostname != METADATA_HOST
                else "only machines have a metadata service"
            )
            self._refused(url.netloc or head.target, user, reason)
            await _answer(writer, 502, reason.encode())
            return True
        reply = self._metadata(user, head.method, url.path, dict(parse_qsl(url.query)), head.headers, body)
        content = reply.body if isinstance(reply.body, bytes) else b""
        await _answer(writer, reply.status, content, {"Content-Type": reply.content_type, **_extra(reply)})
        return True


def _extra(reply: web.Response) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.casefold() == "retry-after"}


def _parse(text: str) -> _Head | None:
    first, *lines = text.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        return None
    pairs = (line.partition(":") for line in lines if ":" in line)
    return _Head(words[0], words[1], {name.strip().casefold(): value.strip() for name, _, value in pairs})


async def _answer(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    lines = [f"HTTP/1.1 {status} azuresim", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()


def _acknowledge(near: socket.socket) -> None:
    """Acknowledge what came at once, and what comes next. The kernel forgets it, so it is said again and again.

    urllib3 turns Nagle's algorithm on for proxies: a body waits for the acknowledgement of its headers, which Linux
    otherwise delays by 40 ms.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, after_read: Callable[[], None] = lambda: None
) -> None:
    try:
        while data := await reader.read(_CHUNK):
            after_read()
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        with contextlib.suppress(ConnectionError, RuntimeError):
            writer.close()
