"""The service as a plain WSGI application, and a server for it on loopback: `python -m node.serving.wsgi PORT_FILE`.

For the user's own machine, where Azure ML's inference server is not installed. The same routes: `GET /` says whether it
is up, `POST /score` scores. PORT_FILE gets the port once it listens. Exit code 3 if the model cannot be served.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from node.errors import NodeError
from node.serving import script
from node.serving.service import Answer, Service, Stream

type Environment = Mapping[str, Any]
type StartResponse = Callable[[str, list[tuple[str, str]]], Any]
type Application = Callable[[Environment, StartResponse], Iterable[bytes]]


def application(service: Service) -> Application:
    def answer(environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        answer = _answered(service, environ)
        body = json.dumps(answer.body, allow_nan=False).encode()
        status = HTTPStatus(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [body]

    return answer


def _answered(service: Service, environ: Environment) -> Answer:
    method, path = str(environ["REQUEST_METHOD"]), str(environ.get("PATH_INFO", "/"))
    if path == "/score":
        return service.answer(method, _Headers(environ), _Body(environ))
    if path == "/" and method == "GET":
        return Answer(200, {"status": "healthy"})
    return Answer(404, {"message": f"there is no {path[:100]} here"})


class _Headers(Mapping[str, str]):
    """Request headers by their names in any case."""

    def __init__(self, environ: Environment) -> None:
        self._found = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()]

    def __iter__(self) -> Any:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _Body:
    """As much of the connection as is this request's: a server's own stream may have no end."""

    def __init__(self, environ: Environment) -> None:
        self._stream: Stream = environ["wsgi.input"]
        length = str(environ.get("CONTENT_LENGTH") or "0")
        self._left = int(length) if length.isdecimal() else 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left = self._left - len(data) if data else 0
        return data


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # WSGIServer's asks a name server who 127.0.0.1 is
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = 30

    def log_message(self, format: str, *arguments: Any) -> None:
        sys.stdout.write(f"{self.log_date_time_string()} {format % arguments}\n")


def main(port_file: Path) -> int:
    try:
        script.init()
    except NodeError:
        return 3
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.set_app(application(script.service()))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        fresh = port_file.with_suffix(".new")
        fresh.write_text(str(server.server_port))
        os.replace(fresh, port_file)
        server.serve_forever(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
