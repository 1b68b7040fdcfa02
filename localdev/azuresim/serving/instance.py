"""One instance of a deployment: a machine of its own, with the files, the variables and the server of the deployment.

What the entry script sees is what Azure ML's images show it: AZUREML_MODEL_DIR, AML_APP_ROOT, AZUREML_ENTRY_SCRIPT, the
deployment's variables, and an identity endpoint. Sources: learn machine-learning/how-to-inference-server-http,
how-to-deploy-online-endpoints, how-to-access-resources-from-endpoints-managed-identities.
"""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localdev.azuresim.machines import SYSTEM_PATH, Machines
from localdev.azuresim.serving.models import BlobFolder, Phase, ServedModel

INFERENCE = Path(__file__).parents[3] / ".build" / "inference" / "bin"
_HERE = Path(__file__).parent
_FETCHER = _HERE.parent / "ml" / "job_shell.py"
_NOT_MOVED = 70  # job_shell.py
_MIB = 1024 * 1024
_TAIL_BYTES = 256 * 1024

Place = Callable[[BlobFolder], dict[str, str]]  # how a fetcher gets at blobs: job_shell.Place


class Instance:
    """`look` is cheap and may be called at every turn; `port` is where it listens while it is running."""

    def __init__(self, machines: Machines, served: ServedModel, place: Place) -> None:
        self.id = f"pod-{uuid.uuid4()}"
        self.in_flight = 0
        self._machines, self._served = machines, served
        machine = machines.boot(self.id)
        self._root = machine.root / "instance"
        self._log, self._status = self._root / "log.txt", self._root / "status.json"
        self._stop = self._root / "stop"
        self._root.mkdir(parents=True)
        fetcher = self._write_plans(place)
        self._execution = machine.run(f"exec {fetcher}\n", [], [], None)
        self._seen = -1
        self._told: dict[str, Any] = {"phase": "starting", "reason": "", "restarts": 0, "port": 0}

    @property
    def port(self) -> int:
        return int(self._told["port"]) if self._told["phase"] == "running" else 0

    @property
    def restarts(self) -> int:
        return int(self._told["restarts"])

    def look(self) -> Phase:
        try:
            stamp = self._status.stat().st_mtime_ns
            if stamp != self._seen:
                self._seen, self._told = stamp, json.loads(self._status.read_text())
        except OSError:
            pass  # nothing was told yet
        if self.is_over and self._told["phase"] != "given_up":
            self._told = {**self._told, "phase": "given_up", "reason": self._told["reason"] or "crash"}
        return _phase(self._told)

    def log(self) -> str:
        """The end of what its servers wrote; if its files did not come, why."""
        if self._execution.exit_code == _NOT_MOVED:
            return _tail(self._root / "error")
        return _tail(self._log)

    @property
    def is_over(self) -> bool:
        return self._execution.state != "Running"

    def terminate(self) -> None:
        """Ask its server to end; look for `is_over`."""
        self._stop.touch()

    def destroy(self) -> None:
        self._machines.destroy(self.id)

    def _write_plans(self, place: Place) -> str:
        """The command that fetches the files and then becomes the pod."""
        served, root = self._served, self._root
        downloads: list[dict[str, Any]] = []

        def folder(source: Path | BlobFolder, name: str) -> Path:
            if isinstance(source, Path):
                return source
            downloads.append(
                {"place": place(source), "to": str(root / name), "file": False, "required": True}
            )
            return root / name

        model = folder(served.model, "azureml-models")
        code = folder(served.code, "code") if served.code is not None else model
        pod = {
            "command": [str(INFERENCE / "python"), str(_HERE / "server.py"), str(code / served.entry)],
            "folder": str(code),
            "log": str(self._log),
            "status": str(self._status),
            "ready": str(root / "ready.json"),
            "stop": str(self._stop),
            "memory_bytes": served.memory_mb * _MIB,
        }
        job = {
            "command": "exec " + _command(_HERE / "pod.py", _write(root / "pod.json", pod)),
            "folder": str(root),
            "folders": [],
            "environment": self._variables(code, model),
            "downloads": downloads,
            "uploads": [],
            "log": str(root / "pod.txt"),
        }
        return _command(_FETCHER, _write(root / "job.json", job))

    def _variables(self, code: Path, model: Path) -> dict[str, str]:
        identity = self._machines.identity_variables(self.id) if self._served.client_id else {}
        return {
            "PATH": f"{INFERENCE}:{SYSTEM_PATH}",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",  # stands in for the limit on processors that a container has
            "AZUREML_MODEL_DIR": str(model),
            "AML_APP_ROOT": str(code),
            "AZUREML_ENTRY_SCRIPT": self._served.entry,
            **identity,
            **self._served.environment,
        }


def _phase(told: dict[str, Any]) -> Phase:
    """A first failure looks like any start; the second in a row is a loop, as the kubelet counts."""
    if told["phase"] == "running":
        return "running"
    if told["reason"] == "memory":
        return "out_of_memory"
    if told["phase"] == "given_up" or told["restarts"] > 0:
        return "crash_loop"
    return "starting"


def _command(program: Path, document: Path) -> str:
    return " ".join(map(shlex.quote, (sys.executable, "-I", "-S", str(program), str(document))))


def _write(document: Path, content: dict[str, Any]) -> Path:
    document.touch(mode=0o600)
    document.write_text(json.dumps(content))
    return document


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as text:
            text.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            return text.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
