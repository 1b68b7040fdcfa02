"""One process set up for many runs: the app's settings, the wire, the agent in this process, one run after another."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import requests

from localdev.azuresim import estate
from tests.crash import agents, app
from tests.crash.clock import VirtualClock
from tests.crash.cloud import IDENTITY, Cloud
from tests.crash.machine import Machine
from tests.crash.plans import Plan
from tests.crash.scenario import Scenario
from tests.crash.serving import probed_in_turn
from tests.crash.storage import Answered
from tests.crash.wire import answering
from tests.support.cloud import forget


class Rig:
    """`with Rig() as rig: machine = rig.run(scenario, plan)`. Not for two at once in one process."""

    def __init__(self) -> None:
        self._machine: Machine | None = None
        self._alone: Cloud | None = None
        self.last: Machine | None = None  # also when it did not come to rest

    def __enter__(self) -> Rig:
        with ExitStack() as stack:  # what fails half-way leaves nothing of itself to the tests after it
            self._furnish(stack)
            self._stack = stack.pop_all()
        return self

    def _furnish(self, stack: ExitStack) -> None:
        self._place = stack.enter_context(folder())
        self._workloads = self._place / "workloads"
        self._workloads.mkdir()
        environment = {
            **estate.settings(),
            "IDENTITY_ENDPOINT": f"http://{IDENTITY}/token",
            "IDENTITY_HEADER": "secret",
            "MUSTER_WORKLOADS": str(self._workloads),
            "MUSTER_LOCAL_WORK": str(self._place / "local"),
            "TMPDIR": str(self._place),
            "WEBSITE_AUTH_ENABLED": "True",  # users are people whom the platform vouches for
        }
        stack.enter_context(mock.patch.dict(os.environ, environment))
        stack.callback(forget)
        forget()
        stack.enter_context(answering(self._exchange, self._sleep))
        stack.enter_context(agents.in_process(self._now))
        stack.enter_context(probed_in_turn(lambda: self._now().timestamp()))
        stack.enter_context(_cheap())

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def running(self, scenario: Scenario, plan: Plan) -> Iterator[Machine]:
        """A finished run, to look at. Raises Stuck if it does not come to rest."""
        from shared.triggers import workloads

        (self._workloads / "nightly.yaml").write_text(json.dumps(scenario.declaration()))
        workloads.load_workloads.cache_clear()
        app.forget()
        place = self._place / "run"
        place.mkdir()
        machine = self.last = self._machine = Machine(scenario, plan, place)
        try:
            machine.run()
            yield machine
        finally:
            machine.close()
            self._machine = None
            shutil.rmtree(place)

    @contextmanager
    def storage_alone(self) -> Iterator[None]:
        """Requests of this process itself, with no run under way, are answered by an empty account."""
        account = Cloud(VirtualClock(), _no_agents, self._place)
        self._alone = account
        try:
            yield
        finally:
            self._alone = None

    def _exchange(self, request: requests.PreparedRequest) -> Answered:
        if self._alone is not None:
            return self._alone.answer(request, None)
        assert self._machine is not None
        return self._machine.exchange(request)

    def _sleep(self, seconds: float) -> None:
        assert self._machine is not None
        self._machine.sleep(seconds)

    def _now(self, zone: tzinfo | None = None) -> datetime:
        assert self._machine is not None
        return self._machine.clock.now().astimezone(zone)


def _no_agents(*_: Any) -> Any:
    raise AssertionError("no machine runs here")


@contextmanager
def _cheap() -> Iterator[None]:
    """What is the same in every run is made once, and what would run on several threads runs on one."""
    from activities import data, training
    from node import package
    from shared.azure import unit_store

    build: Any = cache(package.build_package)
    serving = _alone(package.build_serving)
    with (
        mock.patch.object(package, "build_package", build),
        mock.patch.object(package, "build_serving", serving),
        mock.patch.object(data, "READERS", 1),
        mock.patch.object(training, "READERS", 1),
        mock.patch.object(unit_store, "AT_ONCE", 1),
        mock.patch.object(requests.utils, "NETRC_FILES", ()),  # two files are looked for at each request
    ):
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()


def _alone(build: Any) -> Any:
    """Without the user's code, which differs from run to run, it is the same archive each time."""
    own = cache(build)
    return lambda *users: build(*users) if users else own()


@contextmanager
def folder() -> Iterator[Path]:
    """A place for hub files, in memory where there is such a disk."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="muster-crash-", dir=memory if memory.is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
