"""The way into one endpoint on the user's own machine: by weight, or to the deployment that a request names.

Run by path with the standard library alone: `python local_router.py FOLDER`. It reads FOLDER/endpoint.json ({"key",
"traffic"}) whenever that changes, FOLDER/deployments/NAME/server.json ({"timeout_s", "max_concurrent"}) and the ports in
.../instances/N/port; it writes its own port to FOLDER/router/port, and what it counted to FOLDER/metrics.jsonl.
"""

from __future__ import annotations

import hmac
import http.client
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DEPLOYMENT_HEADER = "azureml-model-deployment"
FLUSH_S = 1.0
HEARTBEAT_S = 5.0  # a line without requests: silence that was seen
LARGEST_BYTES = 10 * 1024 * 1024
LONGEST_LOG_BYTES = 16 * 1024 * 1024
_PASSED = ("content-type", "x-ms-client-request-id", "x-request-id")


class Endpoint:
    """What the files say now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[str, Any] = {"key": "", "traffic": {}}
        self._stamp = 0
        self._turns = itertools.count()
        self._rooms: dict[str, threading.BoundedSemaphore] = {}
        self._lock = threading.Lock()

    def told(self) -> dict[str, Any]:
        path = self._folder / "endpoint.json"
        with self._lock:
            stamp = path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._told, self._stamp = json.loads(path.read_text()), stamp
            return self._told

    def chosen(self, named: str | None) -> str | None:
        """The deployment to ask; None if there is none of that name, or none has traffic."""
        if named is not None:
            is_plain = "/" not in named and not named.startswith(".")
            return named if is_plain and (self._place(named) / "server.json").is_file() else None
        traffic = self.told()["traffic"]
        weights = {name: weight for name, weight in traffic.items() if weight > 0}
        return random.choices(list(weights), list(weights.values()))[0] if weights else None

    def settings(self, deployment: str) -> dict[str, Any]:
        settings: dict[str, Any] = json.loads((self._place(deployment) / "server.json").read_text())
        return settings

    def ports(self, deployment: str) -> list[int]:
        return [int(path.read_text()) for path in sorted(self._place(deployment).glob("instances/*/port"))]

    def turn(self) -> int:
        return next(self._turns)

    def room(self, deployment: str, most: int) -> threading.BoundedSemaphore:
        with self._lock:
            return self._rooms.setdefault(deployment, threading.BoundedSemaphore(max(1, most)))

    def _place(self, deployment: str) -> Path:
        return self._folder / "deployments" / deployment


type Answer = tuple[float, str, float]  # when, the first digit of its status, milliseconds


class Tally:
    """Every answer, by deployment. A line a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        self._written = 0.0

    def count(self, deployment: str, status: int, milliseconds: float) -> None:
        answer = (round(time.time(), 3), str(status)[0], round(milliseconds, 2))
        with self._lock:
            self._answers.setdefault(deployment, []).append(answer)

    def flush(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, {}
        now = time.time()
        if not answers and now - self._written < HEARTBEAT_S:
            return
        self._written = now
        if self._path.exists() and self._path.stat().st_size > LONGEST_LOG_BYTES:
            self._path.replace(self._path.with_suffix(".old.jsonl"))
        with self._path.open("a") as file:
            file.write(json.dumps({"at": now, "answers": answers}) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    endpoint: Endpoint
    tally: Tally

    def do_POST(self) -> None:
        began = time.perf_counter()
        body = self._body()
        if body is None or self._is_refused():
            return
        named = self.headers.get(DEPLOYMENT_HEADER)
        deployment = self.endpoint.chosen(named)
        if deployment is None:
            self._refuse(404, f"no deployment {named}" if named else "no deployment has traffic")
            return
        status, headers, answer = self._asked(deployment, body)
        self.tally.count(deployment, status, (time.perf_counter() - began) * 1000)
        self._answer(status, {**headers, DEPLOYMENT_HEADER: deployment}, answer)

    def do_GET(self) -> None:
        self._refuse(405, "POST is answered here")

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(411, "the length of the body is missing")
            return None
        left, body = int(length), b""
        if left > LARGEST_BYTES:
            while left > 0 and (chunk := self.rfile.read(min(left, 65536))):
                left -= len(chunk)
            self._refuse(413, f"more than {LARGEST_BYTES} bytes")
            return None
        body = self.rfile.read(left)
        return body if len(body) == left else None

    def _is_refused(self) -> bool:
        if self.path.partition("?")[0] != "/score":
            self._refuse(404, "there is only /score here")
            return True
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.endpoint.told()['key']}".encode()):
            self._refuse(401, "the key is missing or not this endpoint's")
            return True
        return False

    def _asked(self, deployment: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        settings = self.endpoint.settings(deployment)
        until = time.monotonic() + settings["timeout_s"]
        room = self.endpoint.room(deployment, settings["max_concurrent"])
        ports = self.endpoint.ports(deployment)
        if not ports or not room.acquire(timeout=settings["timeout_s"]):
            return 503, {}, _message("no instance is free" if ports else "no instance is up")
        try:
            port = ports[self.endpoint.turn() % len(ports)]
            return self._passed(port, body, max(0.001, until - time.monotonic()))
        except TimeoutError:
            return 504, {}, _message("the request timed out")
        except (OSError, http.client.HTTPException) as error:
            return 502, {}, _message(f"the instance did not answer: {type(error).__name__}")
        finally:
            room.release()

    def _passed(self, port: int, body: bytes, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            headers = {name: self.headers[name] for name in _PASSED if self.headers.get(name)}
            connection.request("POST", "/score", body, headers)
            answer = connection.getresponse()
            returned = {name: value for name, value in answer.getheaders() if name.lower().startswith("x-")}
            return answer.status, returned, answer.read()
        finally:
            connection.close()

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {}, _message(message))

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are counted, not written down."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        super(ThreadingHTTPServer, self).server_bind()


def main(folder: Path) -> int:
    Handler.endpoint, Handler.tally = Endpoint(folder), Tally(folder / "metrics.jsonl")
    with _bound(folder / "router" / "port") as server:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fresh = folder / "router" / ".port"
        fresh.write_text(str(server.server_address[1]))
        os.replace(fresh, folder / "router" / "port")
        while not stopping.wait(FLUSH_S):
            Handler.tally.flush()
        Handler.tally.flush()
    return 0


def _bound(port_file: Path) -> Server:
    """On the port that it had before, if that is free: clients know it."""
    port = int(port_file.read_text()) if port_file.exists() else 0
    try:
        return Server(("127.0.0.1", port), Handler)
    except OSError:
        return Server(("127.0.0.1", 0), Handler)


def _message(text: str) -> bytes:
    return json.dumps({"error": {"message": text}}).encode()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
