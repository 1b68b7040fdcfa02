"""Everything the app needs, on this machine: clock, Azure simulator with Azurite, and the local runner with the app."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localdev.azuresim import Control, Simulator
from localdev.clock import ENVIRONMENT_VARIABLE, Clock
from localdev.runner.keys import Keys
from shared.config import settings

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ("muster", "landing", "models", "scores", "modeldata")
# Whom the app takes the holders of its function keys for. The key `nobody` stands for no one in particular.
PEOPLE: dict[str, dict[str, Any]] = {
    "default": {"id": "55555555-0000-0000-0000-000000000001", "name": "operator@localdev", "roles": ["Model.Deploy"]},
    "approver": {"id": "55555555-0000-0000-0000-000000000002", "name": "approver@localdev", "roles": ["Model.Approve"]},
    "chief": {
        "id": "55555555-0000-0000-0000-000000000003", "name": "chief@localdev",
        "roles": ["Model.Deploy", "Model.Approve"],
    },
    "reader": {"id": "55555555-0000-0000-0000-000000000004", "name": "reader@localdev", "roles": []},
}  # fmt: skip


class World:
    """The app and its Azure under one roof. Leaving it stops every process; the state folder keeps what they knew.

    `clock` is shared by all of them. `workloads` is the folder of declarations the app is deployed with.
    """

    def __init__(
        self, state: Path, *, clock: Clock, workloads: Path = ROOT / "workloads", port: int = 0
    ) -> None:
        self.state = state.resolve()  # children run in folders of their own
        self.clock = clock
        self._port = port
        self._simulator = Simulator(clock=clock, state=self.state / "azure")
        self._workloads = workloads
        self._runner: subprocess.Popen[str] | None = None
        self.url = self.key = self._system_key = self._event_grid_key = ""
        self.keys: dict[str, str] = {}  # by the names in PEOPLE, and `nobody`

    def __enter__(self) -> Self:
        self._simulator.__enter__()
        self.environment = {
            **self._simulator.env,
            ENVIRONMENT_VARIABLE: str(self.clock.path),
            "MUSTER_LOCAL_WORK": str(self.state / "local"),
        }
        self._environment_before = dict(os.environ)
        os.environ.update(self.environment)
        settings.cache_clear()  # this process may have lived in another world before
        self.control_url = self._simulator.control_url
        self.control = Control(self.control_url)
        create_containers(self.environment["MUSTER_STORAGE_ACCOUNT_URL"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_app()
        stop_local_jobs()
        self._simulator.__exit__(kind, error, trace)
        os.environ.clear()
        os.environ.update(self._environment_before)
        settings.cache_clear()

    def start_app(self) -> None:
        """Run the app in a process of its own, as Azure would. Raises RuntimeError with its log if it does not start."""
        log = (self.state / "app.log").open("a")
        keys = self.state / "keys.json"
        _name_key_holders(keys)
        command = [sys.executable, "-m", "localdev.runner", "--app", str(ROOT), "--port", str(self._port),
                   "--hub", str(self.state / "hub.sqlite"), "--keys", str(keys)]  # fmt: skip
        environment = {
            **os.environ,
            **self.environment,
            "MUSTER_WORKLOADS": str(self._workloads),
            "TASKHUB_NAME": "muster",
        }
        self._runner = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        assert self._runner.stdout is not None
        for line in self._runner.stdout:
            if line.startswith("runner ready "):
                self.url = line.split()[2]
                break
        else:
            raise RuntimeError(f"the app did not start; see {log.name}")
        threading.Thread(target=_drain, args=(self._runner.stdout, log), daemon=True).start()
        record = json.loads(keys.read_text())
        self.keys = record["functionKeys"]
        self.key = self.keys["default"]
        self._system_key = record["systemKeys"]["durabletask_extension"]
        self._event_grid_key = record["systemKeys"]["eventgrid_extension"]

    def subscribe_events(self) -> None:
        """Have Event Grid deliver the workspace's events to the app, as infra/ would."""
        webhook = f"{self.url}/runtime/webhooks/EventGrid?functionName=ml_event&code={self._event_grid_key}"
        self.control.subscribe(webhook, name="muster")

    def terminate(self, instance_id: str) -> None:
        """End an instance by the host's own management API, which runs no clean-up: what an operator should not do."""
        url = f"{self.url}/runtime/webhooks/durabletask/instances/{instance_id}/terminate?reason=test"
        request = urllib.request.Request(f"{url}&code={self._system_key}", method="POST", data=b"")
        urllib.request.urlopen(request, timeout=60).close()

    def history_length(self, instance_id: str) -> int:
        """How many events an orchestration's history holds, read from the hub's file."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.state / 'hub.sqlite'}?mode=ro", uri=True)
        ) as hub:
            row = hub.execute(
                "SELECT count(*) FROM history h JOIN instance i ON h.instance = i.key WHERE i.id = ?",
                (instance_id,),
            ).fetchone()
        return int(row[0])

    def stop_app(self) -> None:
        """Stop the app as a deployment would: what is in flight is given back to the task hub."""
        if self._runner is None:
            return
        self._runner.send_signal(signal.SIGTERM)
        try:
            self._runner.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._runner.kill()
            self._runner.wait()
        self._runner = None

    def kill_app(self) -> None:
        """Pull the plug of the app."""
        if self._runner is not None:
            os.killpg(self._runner.pid, signal.SIGKILL)
            self._runner.wait()
            self._runner = None

    def api(
        self, path: str, *, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Call the app's API: its status and its JSON."""
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        for name, value in {"x-functions-key": self.key, **(headers or {})}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, data=data, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else text


def create_containers(account_url: str) -> None:
    """What infra/ would create."""
    service = blob_service(account_url)
    for name in CONTAINERS:
        if not service.get_container_client(name).exists():
            service.create_container(name)


def blob_service(account_url: str) -> Any:
    from azure.identity import ManagedIdentityCredential
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(
        account_url, ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"))
    )


def stop_local_jobs() -> None:
    """End the children of platform `local`, which outlive the app by design: this world ends with its owner."""
    from shared.platforms.local import PLATFORM

    for resource in PLATFORM.provisioner.list_owned().resources:
        PLATFORM.provisioner.begin_removal(resource)


def _name_key_holders(path: Path) -> None:
    """Keys for several people, so that one can ask for what another approves. Keys that are there stay."""
    Keys.load(path)
    record = json.loads(path.read_text())
    fresh = {name: secrets.token_urlsafe(40) for name in (*PEOPLE, "nobody")}
    record["functionKeys"] = {**fresh, **record["functionKeys"]}
    record["principals"] = PEOPLE
    path.write_text(json.dumps(record, indent=2))


def _drain(stream: Any, log: Any) -> None:
    for line in stream:
        log.write(line)
        log.flush()


def wait_for(what: str, look: Callable[[], Any], *, world: World, seconds: float = 60) -> Any:
    """The first true answer of `look`. Raises TimeoutError naming what did not come."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.2)):
        if answer := look():
            return answer
        pause.wait(0.2)
    raise TimeoutError(
        f"{what} did not come within {seconds:.0f} s; the app's log is {world.state / 'app.log'}"
    )
