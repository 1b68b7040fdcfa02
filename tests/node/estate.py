"""What a rented machine sees: a storage account at its real address, and an identity endpoint. Azurite does the storing.

One loopback port plays the proxy (CONNECT to storage) and the instance metadata service (through HTTP_PROXY).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from azure.storage.blob import BlobServiceClient

ROOT = Path(__file__).parents[2]
ACCOUNT = "musterdev"
ACCOUNT_URL = f"https://{ACCOUNT}.blob.core.windows.net"
CLIENT_ID = "00000000-0000-0000-0000-00000000c1d0"
REFUSED_CLIENT_ID = "00000000-0000-0000-0000-0000000000ff"
_KEY = base64.b64encode(b"a key of the test's own Azurite, thirty-two+ bytes").decode()
_AZURITE = ROOT / "localdev/azurite/node_modules/azurite/dist/src/blob/main.js"


@dataclass
class Estate:
    env: dict[str, str]
    blobs: BlobServiceClient
    folder: Path
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextlib.contextmanager
def estate(folder: Path) -> Iterator[Estate]:
    """Azurite, proxy and identity, up until the block ends."""
    authority = trustme.CA()
    leaf = authority.issue_cert("*.blob.core.windows.net")
    ca, cert, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(str(key))
    with _azurite(folder, cert, key) as port, _proxy(port) as proxy:
        env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "HTTPS_PROXY": proxy,
            "HTTP_PROXY": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(ca),
            "SSL_CERT_FILE": str(ca),
        }
        client = BlobServiceClient(
            ACCOUNT_URL, credential=_KEY, connection_verify=str(ca), proxies={"https": proxy, "http": proxy}
        )
        made = Estate(env, client, folder)
        try:
            yield made
        finally:
            for agent in made.agents:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(agent.pid, signal.SIGKILL)
                agent.wait()
            client.close()


def die_with_parent() -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


@contextlib.contextmanager
def _azurite(folder: Path, cert: Path, key: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        "node",
        str(_AZURITE),
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
        "--inMemoryPersistence",
    ]
    command += ["--skipApiVersionCheck", "--disableTelemetry", "--silent", "--oauth", "basic"]
    command += ["--cert", str(cert), "--key", str(key)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{_KEY}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        _until_listening(port, process)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"azurite ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError("azurite does not listen")


@contextlib.contextmanager
def _proxy(blob_port: int) -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 64

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, BrokenPipeError):
                method, target, *_ = self.rfile.readline().decode("latin-1").split(" ")
                headers = dict[str, str]()
                while (line := self.rfile.readline().decode("latin-1").strip()) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                self.answer(method, target, headers)

        def answer(self, method: str, target: str, headers: dict[str, str]) -> None:
            if method == "CONNECT" and target == f"{ACCOUNT}.blob.core.windows.net:443":
                with socket.create_connection(("127.0.0.1", blob_port)) as upstream:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    _tunnel(self.connection, upstream)
            elif target.startswith("http://169.254.169.254/metadata/identity/oauth2/token?"):
                self.identity(target, headers)
            else:
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        def identity(self, target: str, headers: dict[str, str]) -> None:
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
            known = headers.get("metadata") == "true" and query.get("client_id") == CLIENT_ID
            status = "200 OK" if known else "400 Bad Request"
            document: Any = _token(query["resource"]) if known else {"error": "invalid_request"}
            body = json.dumps(document).encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.wfile.write(f"{head}Connection: close\r\n\r\n".encode() + body)

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _tunnel(left: socket.socket, right: socket.socket) -> None:
    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=pump, args=(right, left), daemon=True)
    back.start()
    pump(left, right)
    back.join()


def _token(resource: str) -> dict[str, str]:
    """What the metadata service answers. Unsigned: real storage would refuse it, Azurite's `--oauth basic` reads it."""
    now = int(time.time())
    claims = {
        "aud": resource.rstrip("/"),
        "iss": "https://sts.windows.net/22222222-2222-2222-2222-222222222222/",
        "nbf": now - 300,
        "iat": now - 300,
        "exp": now + 3600,
    }
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    token = ".".join([*coded, "c2lnbmF0dXJl"])
    return {
        "access_token": token,
        "expires_on": str(now + 3600),
        "expires_in": "3600",
        "resource": resource,
        "token_type": "Bearer",
    }
