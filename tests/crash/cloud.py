"""The simulated Azure without its sockets: the simulator's own ARM, asked in this process, and machines that run agents.

Its answers are those of `python -m localdev.azuresim`: the same handlers, throttles, faults, life cycles and bill.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import requests
from aiohttp import web
from multidict import CIMultiDict, MultiDict

from localdev.azuresim import estate, providers, tokens
from localdev.azuresim.arm import Arm
from localdev.azuresim.events import Events
from localdev.azuresim.executor import Parameter
from localdev.azuresim.faults import Faults
from localdev.azuresim.ml.cluster import COMPUTES
from localdev.azuresim.ml_host import MlHost
from localdev.azuresim.routing import Router
from localdev.azuresim.tokens import Principal
from localdev.azuresim.world import World, new_world
from tests.crash.clock import VirtualClock
from tests.crash.serving import Serving
from tests.crash.storage import Answered, BlobStorage
from tests.crash.strands import Strand
from tests.crash.wire import body_of

CONTAINERS = ("muster", "landing", "models", "scores")
ARM, ML, STORAGE, IDENTITY = (
    "management.azure.com", ".api.azureml.ms", ".blob.core.windows.net", "identity.invalid"
)  # fmt: skip
SCORING, EVENT_GRID = ".inference.ml.azure.com", ".eventgrid.azure.net"
PARAMETER = "MUSTER_NODE"


class AnswerLost(Exception):
    """The request took effect and its answer never came."""


class AgentProcess(Protocol):
    """A script under way, as the simulator's executor shows it."""

    state: str
    exit_code: int | None
    ended: float | None
    stdout: str
    stderr: str

    def kill(self) -> None: ...

    def destroy(self) -> None: ...


StartAgent = Callable[
    [str, dict[str, Any], Mapping[str, str]], AgentProcess
]  # vmId, job's reference, environment


class Cloud:
    """ARM, Blob Storage and identity at one place and time. `start_agent` runs what a run command would start."""

    def __init__(self, clock: VirtualClock, start_agent: StartAgent, folder: Path) -> None:
        self.clock = clock
        machines: Any = _Machines(start_agent, folder)
        blobs: Any = _Places(lambda: self.storage)
        self.world: World = new_world(clock, Events(), Faults(), machines)
        self.world.blobs = blobs
        self.serving = Serving(clock, lambda: self.storage)
        self.world.serving = cast(Any, self.serving)
        self.told: list[dict[str, Any]] = []  # our own events, as Event Grid took them
        self._arm = Arm(self.world, Router(providers.routes(self.world)), None, lambda: None)
        self._ml = MlHost(self.world, None, lambda: None)
        self.world.scheduler.register("event_grid.service_event", _nobody_listens)
        estate.furnish(self.world.store, clock.time())
        self.storage = BlobStorage(clock.time)
        self.storage.containers = {name: {} for name in CONTAINERS}

    def answer(self, request: requests.PreparedRequest, strand: Strand | None) -> Answered:
        """Let `request` take effect. Raises AnswerLost if it did and a fault keeps that from its sender."""
        url = urlsplit(str(request.url))
        host = url.hostname or ""
        if host == ARM or host.endswith(ML):
            return self._ask(self._arm if host == ARM else self._ml, request, url)
        if host.endswith(STORAGE):
            headers: Any = request.headers
            is_signed = "sig=" in url.query
            assert is_signed or headers.get("Authorization", "").startswith("Bearer "), (
                "a request without a token"
            )
            assert request.method is not None
            return self.storage.answer(request.method, url.path, url.query, headers, body_of(request))
        if host.endswith(SCORING):
            return self.serving.answer(request, url)
        if host.endswith(EVENT_GRID):
            self.told += json.loads(body_of(request))
            return Answered(200, {})
        if host == IDENTITY:
            return self._token(dict(parse_qsl(url.query)), strand)
        raise AssertionError(f"{request.method} {request.url} is not simulated")

    def lose(self, vm_id: str) -> None:
        """Take away the machine, or the node of a cluster, that is called so inside Azure."""
        now, at = self.clock.time(), self.world.scheduler.at
        for vm in self.world.store.of_type("Microsoft.Compute/virtualMachines"):
            if vm.properties["vmId"] == vm_id:
                at(now, "vm.vanish", vm=vm.id, vm_id=vm_id, boots=vm.state["boots"])
        for cluster in self.world.store.of_type(COMPUTES):
            for node in cluster.state.get("nodes", ()):
                if node["vm"] == vm_id:
                    at(now, "node.lost", cluster=cluster.id, node=node["id"], preempted=True)

    def next_step(self) -> float | None:
        """When ARM does something by itself next."""
        due = self.world.scheduler.dump()
        return float(due[0][0]) if due else None

    def _ask(self, service: Arm | MlHost, request: requests.PreparedRequest, url: SplitResult) -> Answered:
        asked: Any = _Request(request, url)
        try:
            response = _run(service.serve(asked))
        except asyncio.CancelledError:
            raise AnswerLost(f"{request.method} {url.path}") from None
        body: Any = response.body if isinstance(response, web.Response) else None
        kind = {"Content-Type": response.content_type} if body else {}
        return Answered(response.status, {**dict(response.headers), **kind}, bytes(body or b""))

    def _token(self, query: dict[str, str], strand: Strand | None) -> Answered:
        """The token of whoever asks: the app, or the machine whose agent this strand is."""
        on_machine = strand is not None and strand.name.startswith("agent ")
        principal = Principal(estate.VM, strand.name) if on_machine and strand else Principal(estate.APP)
        token, expires = tokens.issue(principal, query["resource"])
        said = {
            "access_token": token,
            "expires_on": str(expires),
            "resource": query["resource"],
            "token_type": "Bearer",
        }
        return Answered(200, {"Content-Type": "application/json"}, json.dumps(said).encode())


def _run(coroutine: Any) -> Any:
    """A coroutine that awaits nothing but what is there already."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the simulator waited for something")


def _nobody_listens(at: float, **event: Any) -> None:
    """The workspace tells Event Grid of its runs; here nothing subscribes."""


class _Request:
    """As much of aiohttp's request as the simulator's front doors read."""

    transport = None

    def __init__(self, request: requests.PreparedRequest, url: SplitResult) -> None:
        self.method, self.host, self.path = request.method, url.netloc, unquote(url.path)
        self.query = MultiDict(parse_qsl(url.query, keep_blank_values=True))
        self.headers = CIMultiDict(request.headers)
        self._body = body_of(request)

    async def read(self) -> bytes:
        return self._body


class _Places:
    """Where a job's files would go: the agent has none, it keeps what it does in the account itself."""

    def __init__(self, storage: Callable[[], BlobStorage]) -> None:
        self._storage = storage

    def holds(self, container: str, prefix: str) -> bool:
        return bool(self._storage().names(container, prefix))

    def ensure_container(self, name: str) -> None:
        self._storage().containers.setdefault(name, {})

    def url(self, container: str, blob: str = "") -> str:
        return f"https://musterdev{STORAGE}/{container}/{blob}"


class _Machines:
    """The operating systems of machines: each runs at most what run commands and jobs start, in this process."""

    def __init__(self, start_agent: StartAgent, folder: Path) -> None:
        self._start_agent, self._folder = start_agent, folder
        self._running: dict[str, list[AgentProcess]] = {}

    def boot(self, vm_id: str) -> _Machine:
        running = self._running.setdefault(vm_id, [])
        return _Machine(self._start_agent, vm_id, running, self._folder / vm_id)

    def get(self, vm_id: str) -> _Machine | None:
        return self.boot(vm_id) if vm_id in self._running else None

    def stop(self, vm_id: str) -> None:
        for process in self._running.get(vm_id, []):
            process.destroy()

    def destroy(self, vm_id: str) -> None:
        self.stop(vm_id)
        self._running.pop(vm_id, None)

    def identity_variables(self, vm_id: str) -> dict[str, str]:
        return {}


class _Machine:
    def __init__(self, start_agent: StartAgent, vm_id: str, running: list[AgentProcess], root: Path) -> None:
        self._start_agent, self._vm_id, self._running, self.root = start_agent, vm_id, running, root

    def run(
        self, script: str, parameters: list[Parameter], protected: list[Parameter], timeout_s: float | None
    ) -> AgentProcess:
        """What bootstrap.sh comes to: the agent, told of the job by the one parameter."""
        environment = {} if (parameters or protected) else _environment(script)
        given = dict([*parameters, *protected]) or environment
        told = json.loads(base64.b64decode(given[PARAMETER]))
        reference = {**told["job"], "account_url": told["account_url"], "client_id": told["client_id"]}
        process = self._start_agent(self._vm_id, reference, environment)
        self._running.append(process)
        return process


def _environment(script: str) -> dict[str, str]:
    """What a cluster's job is started with: the script's last word is the document that has it."""
    found: dict[str, str] = json.loads(Path(shlex.split(script)[-1]).read_text())["environment"]
    return found
