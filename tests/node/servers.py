"""Scoring servers as real processes: Azure ML's inference server where it is installed, and the plain WSGI one."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pytest

from node import package
from node.serving.service import open_service
from node.serving.wsgi import application
from tests.node.estate import ROOT, die_with_parent
from tests.node.jobs import INPUTS, KEYS, OUTPUT

INFERENCE = ROOT / ".build/inference/bin/python"
GOOD = {"input_data": {"columns": ["hour", "distance"], "data": [[7, 500.5], [23, 90]]}}
needs_inference = pytest.mark.skipif(not INFERENCE.exists(), reason="no .build/inference: run `make setup`")
_PATIENCE = 600  # looks


@dataclass
class Server:
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def post(self, body: Any, **headers: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", "/score", data, headers)

    def send(
        self, method: str, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(
                method, path, data, {"Content-Type": "application/json", **dict(headers or {})}
            )
            answer = connection.getresponse()
            text = answer.read()
            parsed = json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
            return answer.status, parsed, {name.lower(): value for name, value in answer.getheaders()}

    def said(self) -> str:
        return self.log.read_text(errors="replace")


class InProcess:
    """The plain WSGI application without a server: same interface, no port."""

    def __init__(self, model: Path, digest: str, code: Path | None = None, entry: str = "") -> None:
        environment = {"AZUREML_MODEL_DIR": str(model), "MUSTER_MODEL_SHA256": digest}
        self._application = application(open_service(environment, code, entry))

    def post(self, body: Any, **headers: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", "/score", data, headers)

    def send(
        self, method: str, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data + b"the next request on this connection"),
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()},
        }  # fmt: skip
        told: dict[str, str] = {}
        body = b"".join(self._application(environ, lambda status, given: told.update(given, status=status)))
        returned = {name.lower(): value for name, value in told.items()}
        return int(told["status"].split()[0]), json.loads(body), returned


def store_model(folder: Path, model: Any, **card: Any) -> str:
    """A model's folder as a deployment gets it. Gives the model's digest."""
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return store_bytes(folder, buffer.getvalue(), **card)


def store_bytes(folder: Path, data: bytes, **card: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()
    document = {
        "name": "flights-delay",
        "version": "1",
        "flavor": "sklearn",
        "file": "model.joblib",
        "sha256": digest,
        "size": len(data),
        "inputs": INPUTS,
        "output": OUTPUT,
        "keys": KEYS,
        **card,
    }
    (folder / document["file"]).write_bytes(data)
    (folder / "MODEL.json").write_text(json.dumps(document))
    return digest


def unpacked(folder: Path, user_code: Mapping[str, Path] | None = None, entry: str = "") -> Path:
    """The deployment's code, from the very archive that a deployment gets."""
    with zipfile.ZipFile(io.BytesIO(package.build_serving(user_code, entry).data)) as archive:
        archive.extractall(folder)
    return folder


@contextlib.contextmanager
def served(flavor: str, code: Path, model: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """A server that has loaded the model and answers. Raises AssertionError with its log if it ends before."""
    with begun(flavor, code, model, environment) as server:
        _until_healthy(server)
        yield server


@contextlib.contextmanager
def begun(flavor: str, code: Path, model: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    log = model.parent / f"{flavor}-{os.urandom(4).hex()}.log"
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(model.parent),
        "LANG": "C.UTF-8",
        "AZUREML_MODEL_DIR": str(model),
        **environment,
    }
    begin = _inference if flavor == "inference" else _wsgi
    with log.open("wb") as output:
        process, port = begin(code, env, output)
    try:
        yield Server(port, log, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _inference(code: Path, env: dict[str, str], output: Any) -> tuple[subprocess.Popen[bytes], int]:
    """Azure ML's own command binds every address; its WSGI application on a socket of ours binds loopback only."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [
            str(INFERENCE), "-m", "gunicorn", "-b", f"fd://{listening.fileno()}", "-w", "1", "--timeout", "60",
            "azureml_inference_server_http.server.entry:app",
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            cwd=code,
            env={**env, "AML_APP_ROOT": str(code), "AZUREML_ENTRY_SCRIPT": package.SCORING_ENTRY},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
            preexec_fn=die_with_parent,
        )
        return process, int(listening.getsockname()[1])


def _wsgi(code: Path, env: dict[str, str], output: Any) -> tuple[subprocess.Popen[bytes], int]:
    port_file = code / f"port-{os.urandom(4).hex()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "node.serving.wsgi", str(port_file)],
        cwd=code,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    pause = threading.Event()
    for _ in range(_PATIENCE):
        if port_file.exists():
            return process, int(port_file.read_text())
        if process.poll() is not None:
            return process, 0
        pause.wait(0.05)
    raise AssertionError("the server does not listen")


def _until_healthy(server: Server) -> None:
    pause = threading.Event()
    for _ in range(_PATIENCE):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.send("GET", "/")[0] == 200:
                return
        assert server.process.poll() is None, server.said()[-3000:]
        pause.wait(0.05)
    raise AssertionError(f"not healthy: {server.said()[-3000:]}")
