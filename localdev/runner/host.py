"""The host itself: puts loader, hub, dispatcher, timers and HTTP server together, and takes them apart again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from localdev.clock import Clock
from localdev.runner.admin import Admin
from localdev.runner.announce import announce
from localdev.runner.client_binding import ClientBinding
from localdev.runner.config import HostConfig, read_host_config, read_local_settings
from localdev.runner.dispatcher import Dispatcher
from localdev.runner.errors import AppError
from localdev.runner.event_grid import EventGridWebhook
from localdev.runner.http_trigger import HttpTriggers
from localdev.runner.hub import HubError, Limits, TaskHub
from localdev.runner.invoker import Invoker
from localdev.runner.keys import DURABLE, Keys
from localdev.runner.loader import ENTRY_MODULE, Function, load_app
from localdev.runner.log import logger
from localdev.runner.management import Management
from localdev.runner.platform_auth import SETTING
from localdev.runner.server import build_application
from localdev.runner.timers import StatusStore, TimerScheduler, build_timers

_GRACE_S = 5.0
_LAST_WORD_S = 0.5  # for a response whose function has just ended
_active = (
    threading.Lock()
)  # the worker library keeps its thread pool in a module: one host per process at a time


class Runner:
    """Hosts one function app on loopback until stopped. One at a time in a process.

    `with Runner(app_dir, hub=path) as runner: requests to runner.url`. Without a `hub` file durable state lives in
    memory. Unlike the command line it does not change the working directory, nor logging.
    """

    def __init__(
        self,
        app_dir: Path | str,
        *,
        port: int = 0,
        hub: Path | str | None = None,
        keys: Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app_dir = Path(app_dir).resolve()
        self._port = port
        self._hub_path = Path(hub) if hub is not None else None
        self._keys_path = Path(keys) if keys is not None else None
        self._clock = clock or Clock.from_environment()
        self._deadline = 0.0
        self._undo = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, once started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def keys(self) -> Keys:
        return self._keys

    @property
    def task_hub(self) -> TaskHub:
        return self._hub

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Ready to serve when it returns. Raises AppError if the app is bad, OSError if the port is taken."""
        if not _active.acquire(blocking=False):
            raise RuntimeError("another Runner is active in this process")
        self._undo.callback(_active.release)
        try:
            self._start()
        except BaseException:
            self._undo.close()
            raise
        return self

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """Take no new work, let what runs end within `grace_s`; what does not is redelivered by the next start."""
        self._deadline = time.monotonic() + grace_s
        self._undo.close()

    def _start(self) -> None:
        began = time.monotonic()
        listener = self._listen()
        self._set_environment()
        config = read_host_config(self._app_dir, os.environ)
        functions = self._load()
        self._keys = Keys.load(self._keys_path) if self._keys_path else Keys.none()
        self._set_platform_auth()
        store = StatusStore(
            self._hub_path.with_name(self._hub_path.name + ".timers") if self._hub_path else None
        )
        timers = build_timers(functions, os.environ, self._clock, store)

        try:
            self._hub = TaskHub.open(self._hub_path, clock=self._clock)
        except HubError as error:
            raise AppError(str(error)) from error
        self._undo.callback(self._hub.close)
        self._binding = self._client_binding(config)
        self._invoker = Invoker({"durableClient": self._binding.json()}, config.function_timeout_s)
        self._invoker.start()
        self._undo.callback(self._invoker.stop)
        self._start_host_loop()
        self._on_host(self._serve(functions, config, timers, listener))
        self._undo.callback(lambda: self._on_host(self._stop_serving()))
        self._start_dispatcher(functions, config)
        announce(functions, self.url, config.route_prefix)
        took_s = time.monotonic() - began
        logger.info("%d functions of %s ready in %.2f s", len(functions), self._app_dir, took_s)

    def _listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        self._undo.callback(listener.close)
        self._port = listener.getsockname()[1]
        return listener

    def _set_environment(self) -> None:
        """What Core Tools sets, and local.settings.json; never over what is set already. Undone on stop."""
        wanted = {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
            "WEBSITE_HOSTNAME": f"127.0.0.1:{self._port}",
            **read_local_settings(self._app_dir),
        }
        for name, value in wanted.items():
            if name not in os.environ:
                os.environ[name] = value
                self._undo.callback(os.environ.pop, name, None)

    def _set_platform_auth(self) -> None:
        """What App Service says of itself, whatever the environment said before. Undone on stop."""
        before = os.environ.pop(SETTING, None)
        if before is not None:
            self._undo.callback(os.environ.__setitem__, SETTING, before)
        if self._keys.principals:
            os.environ[SETTING] = "True"
            self._undo.callback(os.environ.pop, SETTING, None)

    def _load(self) -> list[Function]:
        before = set(sys.modules)
        self._undo.callback(_forget_app, self._app_dir, before)
        functions = load_app(self._app_dir)
        return [function for function in functions if not _disabled(function)]

    def _client_binding(self, config: HostConfig) -> ClientBinding:
        system_key = self._keys.system.get(DURABLE) if self._keys.enforced else None
        return ClientBinding(config.hub_name, self._hub.serve_grpc(0), self.url, system_key)

    def _start_host_loop(self) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="functions-host", daemon=True)
        thread.start()

        def end() -> None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

        self._undo.callback(end)

    def _on_host[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _serve(
        self, functions: list[Function], config: HostConfig, timers: list[Any], listener: socket.socket
    ) -> None:
        self._scheduler = TimerScheduler(timers, self._clock, self._invoker)
        self._management = Management(self._binding, self._keys)
        application = build_application(
            HttpTriggers(functions, config.route_prefix, self._invoker, self._keys),
            EventGridWebhook(functions, self._invoker, self._keys),
            self._management,
            Admin(functions, self._invoker, self._keys, self._scheduler, config.hub_name),
        )
        self._server = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_S)
        await self._server.setup()
        await web.SockSite(self._server, listener).start()
        self._ticking = asyncio.create_task(self._scheduler.run())

    async def _stop_serving(self) -> None:
        self._ticking.cancel()
        grace_s = self._grace_left()
        with contextlib.suppress(TimeoutError):
            await asyncio.gather(
                asyncio.wait_for(self._server.cleanup(), grace_s + _LAST_WORD_S),
                self._scheduler.drain(grace_s),
            )
        self._management.close()

    def _grace_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _start_dispatcher(self, functions: list[Function], config: HostConfig) -> None:
        limits = Limits(config.max_orchestrators, config.max_activities, config.max_entities)
        session = self._hub.connect_remote(f"runner-{os.getpid()}", limits)
        dispatcher = Dispatcher(session, functions, self._invoker)
        dispatcher.start()
        self._undo.callback(lambda: dispatcher.stop(self._grace_left()))


def _forget_app(app_dir: Path, before: set[str]) -> None:
    """Let another app be loaded by the same process. An app that contains this very file (the project) keeps its
    modules but the entry: they may be shared with whoever started the Runner.
    """
    with contextlib.suppress(ValueError):
        sys.path.remove(str(app_dir))
    sys.modules.pop(ENTRY_MODULE, None)
    if Path(__file__).resolve().is_relative_to(app_dir):
        return
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).resolve().is_relative_to(app_dir):
            del sys.modules[name]


def _disabled(function: Function) -> bool:
    setting = os.environ.get(f"AzureWebJobs.{function.name}.Disabled") or os.environ.get(
        f"AzureWebJobs_{function.name}_Disabled", ""
    )
    return setting.lower() in ("1", "true")
