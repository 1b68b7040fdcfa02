"""A proxy in front of the proxy that can lose answers: the request arrives, its answer never does."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class LossyProxy:
    """Forwards TCP to `upstream`. After `lose_next_answer` the next bytes that come back end their connection instead."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").rpartition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loses = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def lose_next_answer(self) -> None:
        self._loses.set()

    @property
    def has_lost(self) -> bool:
        return not self._loses.is_set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(65536):
                if is_answer and self._loses.is_set():
                    self._loses.clear()
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
