"""The simulator as a whole: its parts started in order on an event loop of their own, and stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from localdev.azuresim import certificates, estate, providers
from localdev.azuresim.arm import Arm
from localdev.azuresim.azurite import Azurite
from localdev.azuresim.blobs import Blobs
from localdev.azuresim.certificates import (
    ARM_HOST,
    EVENT_GRID_HOSTS,
    INFERENCE_HOSTS,
    ML_HOSTS,
    STORAGE_HOSTS,
)
from localdev.azuresim.contract import Contract
from localdev.azuresim.control import ControlApi
from localdev.azuresim.event_grid.service import EventGrid
from localdev.azuresim.events import Events
from localdev.azuresim.faults import Faults
from localdev.azuresim.machines import Machines, trust
from localdev.azuresim.metadata import HostIdentity, InstanceMetadata
from localdev.azuresim.ml import endpoint_control
from localdev.azuresim.ml_host import MlHost
from localdev.azuresim.proxy import Proxy
from localdev.azuresim.routing import Router
from localdev.azuresim.serving import Serving
from localdev.azuresim.serving import control as serving_control
from localdev.azuresim.serving.router import LARGEST_BYTES
from localdev.azuresim.state import SavedWorld
from localdev.azuresim.world import World, new_world
from localdev.clock import ENVIRONMENT_VARIABLE, Clock

SPECS_VARIABLE, CONTROL_VARIABLE = "AZURE_SPECS_DIR", "AZURESIM_CONTROL_URL"
DEFAULT_SPEED = 10.0
_PREFIX = "azuresim-"
_TURN_S = 0.02  # wall; how late a step may be when nobody asks for anything


class Simulator:
    """Azure on this machine, from `with` to the end of it.

    `clock`: shared with whoever lives in the same time; without one, a clock of its own at `speed` times wall speed.
    `faults`: entries, or a file of them. `specs`: a folder of Microsoft's specifications to check every request and
    answer against (default: AZURE_SPECS_DIR). `state`: a folder that makes the world outlive the process.
    `storage`: without it there is no Azurite, and no blob host answers.
    Raises what kept it from starting: AzuriteFailed, FaultError, OSError.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        faults: Iterable[Mapping[str, Any]] | Path | None = None,
        specs: Path | None = None,
        state: Path | None = None,
        speed: float = DEFAULT_SPEED,
        storage: bool = True,
    ) -> None:
        self._clock, self._state, self._speed, self._storage = clock, state, speed, storage
        self._faults = _read_faults(faults)
        specs = specs or (Path(os.environ[SPECS_VARIABLE]) if os.environ.get(SPECS_VARIABLE) else None)
        self._contract = Contract(specs) if specs else None
        self._thread = threading.Thread(target=self._run, name="azuresim", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._world: World | None = None
        self.env: dict[str, str] = {}
        self.control_url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def act[T](self, deed: Callable[[World], T]) -> T:
        """Do something to the world from another thread: it happens on the world's own loop, between two requests."""
        assert self._loop is not None and self._world is not None
        world = self._world

        async def act() -> T:
            return deed(world)

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits for us
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            _sweep_leftovers()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-")))
            await self._start(stack, folder)
            self._ready.set()
            await self._stop.wait()

    async def _start(self, stack: contextlib.AsyncExitStack, folder: Path) -> None:
        state = self._state
        if state:
            state.mkdir(parents=True, exist_ok=True)
        clock = self._clock or Clock.create(folder / "clock.json", speed=self._speed)
        certs = certificates.make(folder)
        machines = Machines((state or folder) / "machines", certs, clock)
        stack.callback(machines.destroy_all)
        world = new_world(clock, Events(state / "events.jsonl" if state else None), self._faults, machines)
        self._world = world
        grid = EventGrid(world)
        stack.push_async_callback(grid.close)
        router = Router([*providers.routes(world), *grid.routes()])
        saved = SavedWorld(state)
        is_old = saved.load(world)
        if not is_old:
            estate.furnish(world.store, world.now())

        arm = Arm(world, router, self._contract, lambda: saved.save(world))
        arm_port = await _listen(stack, _catch_all(arm.serve), certs)
        identity = HostIdentity(world)
        identity_port = await _listen(stack, _catch_all(identity.serve))
        machines.identity_port = identity_port
        control = ControlApi(world, lambda: saved.save(world))
        more = [
            *grid.control_routes(lambda: saved.save(world)),
            *serving_control.routes(world),
            *endpoint_control.control_routes(world, lambda: saved.save(world)),
        ]
        control_port = await _listen(stack, control.application(more))

        ml = MlHost(world, self._contract, lambda: saved.save(world))
        ml_port = await _listen(stack, _catch_all(ml.serve), certs)

        publishing = grid.publishing(lambda: saved.save(world))
        publishing_port = await _listen(stack, _catch_all(publishing.serve), certs)

        targets = {
            f"{ARM_HOST}:443": arm_port,
            **dict.fromkeys((f"{host}:443" for host in EVENT_GRID_HOSTS), publishing_port),
            **dict.fromkeys((f"{host}:443" for host in ML_HOSTS), ml_port),
        }
        if self._storage:
            azurite = Azurite((state or folder) / "azurite", certs, in_memory=state is None)
            targets |= await _start_storage(stack, world, azurite, certs)
            targets |= await _start_serving(stack, world, certs)
        proxy = Proxy(
            targets, InstanceMetadata(world).answer, machines.is_known, _log_refusal(world.events, clock)
        )
        stack.push_async_callback(proxy.stop)
        await proxy.start()
        machines.proxy_port = proxy.port
        if is_old:
            world.scheduler.at(world.now(), "endpoints.restore")

        turns = asyncio.create_task(_turn(world.scheduler.run_due, lambda: saved.save(world)))
        stack.callback(turns.cancel)
        self.control_url = f"http://127.0.0.1:{control_port}"
        self.env = _environment(proxy.port, identity_port, identity.secret, str(certs.authority), clock)
        self.env[CONTROL_VARIABLE] = self.control_url


def _sweep_leftovers() -> None:
    """Remove the folders of simulators that were killed: they hold keys, and what their machines wrote."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


async def _turn(run_due: Any, save: Any) -> None:
    """Let due steps happen also while nobody asks."""
    while True:
        if run_due():
            save()
        await asyncio.sleep(_TURN_S)


async def _start_storage(
    stack: contextlib.AsyncExitStack, world: World, azurite: Azurite, certs: certificates.Certificates
) -> dict[str, int]:
    """The storage account and what the workspace has in it; the ports of its hosts."""
    stack.push_async_callback(azurite.stop)
    await azurite.start()
    world.blobs = Blobs(azurite.ports["blob"], certs.authority)
    for container in estate.ML_OWN_CONTAINERS:
        await asyncio.to_thread(world.blobs.ensure_container, container)
    return {f"{host}:443": azurite.ports[service] for service, host in STORAGE_HOSTS.items()}


async def _start_serving(
    stack: contextlib.AsyncExitStack, world: World, certs: certificates.Certificates
) -> dict[str, int]:
    """The data plane of online endpoints, which has nothing to serve where there is no storage."""
    assert world.blobs is not None
    world.serving = serving = Serving(world.machines, world.blobs, world.clock)
    port = await _listen(stack, _catch_all(serving.answer, LARGEST_BYTES), certs)
    stack.push_async_callback(serving.close)
    watch = asyncio.create_task(serving.watch())
    stack.callback(watch.cancel)
    return dict.fromkeys((f"{host}:443" for host in INFERENCE_HOSTS), port)


async def _listen(
    stack: contextlib.AsyncExitStack,
    application: web.Application,
    certs: certificates.Certificates | None = None,
) -> int:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certs.server_context() if certs else None)
    await site.start()
    port: int = runner.addresses[0][1]
    return port


def _catch_all(handler: Any, largest: int = 16 * 1024 * 1024) -> web.Application:
    application = web.Application(client_max_size=largest)
    application.router.add_route("*", "/{path:.*}", handler)
    return application


def _environment(proxy: int, identity: int, secret: str, authority: str, clock: Clock) -> dict[str, str]:
    url = f"http://127.0.0.1:{proxy}"
    return {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), url),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        **trust(authority),
        "IDENTITY_ENDPOINT": f"http://127.0.0.1:{identity}/msi/token",
        "IDENTITY_HEADER": secret,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        **estate.settings(),
        **({ENVIRONMENT_VARIABLE: str(clock.path)} if clock.path else {}),
    }


def _read_faults(faults: Iterable[Mapping[str, Any]] | Path | None) -> Faults:
    if isinstance(faults, Path):
        return Faults.from_file(faults)
    armed = Faults()
    armed.load(faults or [])
    return armed


def _log_refusal(events: Events, clock: Clock) -> Any:
    def refused(target: str, machine: str, reason: str) -> None:
        events.add("proxy_refused", clock.time(), target=target, machine=machine, reason=reason)

    return refused
