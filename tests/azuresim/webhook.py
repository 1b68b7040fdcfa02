"""A subscriber's endpoint: takes what Event Grid sends, and answers what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.azuresim.azure_client import until


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Any

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.body if isinstance(self.body, list) else [self.body]

    @property
    def is_notification(self) -> bool:
        return self.headers.get("aeg-event-type") == "Notification"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # Event Grid comes with many connections at once


class Webhook:
    """`statuses`: answers to the next notifications, 200 when they are used up. `allows` answers OPTIONS."""

    def __init__(self, *statuses: int, validates: bool = True, allows: str = "eventgrid.azure.net") -> None:
        self.statuses = list(statuses)
        self.hang = threading.Event()
        self.hang.set()
        self._validates, self._allows = validates, allows
        self._lock = threading.Lock()
        self.received: list[Received] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?code=secret"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def notifications(self) -> list[Received]:
        with self._lock:
            return [each for each in self.received if each.is_notification]

    def events(self, count: int) -> list[dict[str, Any]]:
        """All events notified, once there are at least `count`."""

        def seen() -> list[dict[str, Any]]:
            return [event for each in self.notifications for event in each.events]

        return until(seen, lambda events: len(events) >= count)

    def _answer(self, received: Received) -> tuple[int, dict[str, str], Any]:
        with self._lock:
            self.received.append(received)
            status = self.statuses.pop(0) if received.is_notification and self.statuses else 200
        if received.method == "OPTIONS":
            return 200, {"WebHook-Allowed-Origin": self._allows}, None
        if received.headers.get("aeg-event-type") == "SubscriptionValidation" and self._validates:
            return 200, {}, {"validationResponse": received.body[0]["data"]["validationCode"]}
        self.hang.wait()
        return status, {}, None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = json.loads(raw) if raw else None
                status, extra, answer = hook._answer(Received(self.command, self.path, headers, body))
                content = json.dumps(answer).encode() if answer is not None else b""
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_OPTIONS = _serve

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        return Handler
