"""A simulated Azure for what is below the orchestrators, and the leases, agents and jobs that tests hand to them.

The clock stands still unless a test lets time pass, so that a wait is as long as Azure asked for and no longer.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any, Self

from localdev.azuresim import Control, Simulator
from localdev.clock import Clock
from localdev.demo.world import create_containers
from shared.azure import blob
from shared.domain.errors import TransientError
from shared.domain.jobs import BlobRef, JobLook, JobRequest
from shared.domain.lease import Lease, Machine, MachineState
from shared.domain.offers import Offer, Priority
from shared.domain.price_book import offers_for
from shared.platforms.base import Platform

START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
PATIENCE = 400  # looks; each is some milliseconds of wall time
_BREATH_S = 0.03  # for real processes: simulated time is moved, theirs is not

# A tiny agent: what it does is in the name of its job's blob. It is data of these tests; the real one is node/.
_AGENT = """
import base64, json, sys, time
told = json.loads(base64.b64decode(sys.argv[1]))["blob"]
print("the agent was told", told, flush=True)
if told.startswith("sleep"):
    time.sleep(600)
sys.exit(int(told.removeprefix("exit-")))
"""


@dataclass
class Cloud:
    """The simulated Azure as a test sees it."""

    clock: Clock
    control: Control
    agent: BlobRef
    settings: dict[str, str]

    @contextmanager
    def inhabited(self) -> Iterator[Self]:
        """This process is the app in this Azure. Several exist in one test process; one at a time is inhabited."""
        with environment(self.settings):
            yield self

    def lease(
        self,
        platform: Platform,
        *,
        size: str = "Standard_D2s_v5",
        priority: Priority = Priority.REGULAR,
        ttl: timedelta = timedelta(hours=2),
        epoch: int = 1,
    ) -> Lease:
        """A fresh lease on `platform`, over `ttl` after now."""
        if platform.bills:
            (offer,) = offers_for(
                [size], ["westeurope"], "spot" if priority is Priority.SPOT else "dedicated"
            )
        else:
            offer = Offer(size="this-machine", region="local")
        return Lease(
            id=uuid.uuid4().hex[:16],
            owner=f"score-test-{uuid.uuid4().hex[:8]}",
            epoch=epoch,
            platform=platform.name,
            offer=offer,
            deadline=self.clock.now().replace(microsecond=0) + ttl,
        )

    def job(self, told: str, *, id: str = "b00-e1", timeout_s: int = 600) -> JobRequest:
        """A job for the tiny agent: `exit-N` or `sleep`."""
        ref = BlobRef(container="muster", blob=told, sha256=hashlib.sha256(told.encode()).hexdigest())
        return JobRequest(id=id, agent=self.agent, job=ref, timeout_s=timeout_s)

    def pass_time(self, seconds: float) -> None:
        self.control.advance(seconds)
        threading.Event().wait(_BREATH_S)

    def let_limits_recover(self) -> None:
        """ARM's buckets refill with time, which stands still; twenty seconds fill each that all requests share."""
        self.control.advance(20)

    def until[T](self, look: Callable[[], T], reached: Callable[[T], bool]) -> T:
        """Look, wait as long as the answer says, look again. A refusal that says "wait" is waited for too."""
        for _ in range(PATIENCE):
            try:
                seen = look()
            except TransientError as error:
                self.pass_time(error.retry_after_s or 10.0)
                continue
            if reached(seen):
                return seen
            self.pass_time(getattr(seen, "poll_after_s", 10.0) or 1.0)
        raise AssertionError(f"not reached; last seen: {seen}")

    def ready(self, platform: Platform, lease: Lease) -> Machine:
        """Provision and wait until the machine is ready."""
        self.pass_time(platform.provisioner.begin_provision(lease).poll_after_s)
        return self.until(
            lambda: platform.provisioner.observe_machine(lease), lambda m: m.state is MachineState.READY
        )

    def job_over(self, platform: Platform, lease: Lease, job: str) -> JobLook:
        return self.until(
            lambda: platform.jobs.observe_job(lease, job),
            lambda look: look.state.is_over or look.machine_lost,
        )

    def settle_scripts(self, lease: Lease) -> None:
        """Wait, in real time, until the scripts on the lease's machine have ended. Azure is not asked."""
        pause = threading.Event()
        for _ in range(PATIENCE):
            mine = [e for e in self.control.events() if key(lease) in str(e.get("resource_id")).lower()]
            started = sum(e["type"] == "script_started" for e in mine)
            if started and started == sum(e["type"] == "script_ended" for e in mine):
                return
            pause.wait(_BREATH_S)
        raise AssertionError("a script does not end")

    def gone(self, platform: Platform, lease: Lease) -> None:
        """Release as the orchestrator does: deallocate, read back, delete until nothing is left."""
        provisioner = platform.provisioner
        self._sent(lambda: provisioner.begin_release(lease))
        self.until(
            lambda: provisioner.observe_machine(lease),
            lambda m: m.state in (MachineState.DEALLOCATED, MachineState.ABSENT),
        )
        for _ in range(20):
            if self._sent(lambda: provisioner.begin_delete(lease)) is None and not provisioner.list_remains(
                lease
            ):
                return
        raise AssertionError(f"still there: {provisioner.list_remains(lease)}")

    def faults(self, *faults: dict[str, Any], lease: Lease | None = None) -> None:
        """Arm faults, for one lease's machine only if one is given."""
        only = {"resource": f"*{key(lease)}*"} if lease else {}
        self.control.add_faults(*({**only, **fault} for fault in faults))

    def requests(self, lease: Lease | None = None, *, since: int = 0) -> list[dict[str, Any]]:
        """Requests that reached ARM, of one lease or all."""
        return [
            event
            for event in self.control.events(since=since)
            if event["type"] == "request" and (lease is None or key(lease) in json.dumps(event))
        ]

    def mark(self) -> int:
        """The place in the log of everything that happened so far."""
        events = self.control.events()
        return int(events[-1]["seq"]) if events else 0

    def resources(self, lease: Lease) -> list[str]:
        """Ids of everything that exists under a lease, as Azure knows it; the records of its jobs stay for ever."""
        return sorted(
            each["id"]
            for each in self.control.resources()
            if key(lease) in each["id"].lower() and "/jobs/" not in each["id"]
        )

    def billing(self, lease: Lease) -> list[dict[str, Any]]:
        """Meters of a lease that run."""
        return [
            line
            for line in self.control.bill()["lines"]
            if line["ended"] is None and key(lease) in line["resource_id"].lower()
        ]

    def _sent[T](self, send: Callable[[], T]) -> T:
        operation = self.until(send, lambda _: True)
        self.pass_time(getattr(operation, "poll_after_s", 0.0))
        return operation


def key(lease: Lease) -> str:
    """What every name made for a lease has of its id: a cluster's has room for twelve digits."""
    return lease.id[:12]


def agent_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("node/__init__.py", "")
        archive.writestr("node/requirements.txt", "")
        archive.writestr("node/ensure.py", "")
        archive.writestr("node/agent.py", _AGENT)
    return buffer.getvalue()


def forget() -> None:
    """Settings and clients are kept for the life of a process; these tests start another life in the same one."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "shared":
            for kept in vars(module).values():
                if isinstance(kept, _lru_cache_wrapper):
                    kept.cache_clear()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """This process lives with `values`; afterwards as before."""
    before = dict(os.environ)
    os.environ.update(values)
    forget()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget()


@contextmanager
def simulated_azure(place: Path) -> Iterator[Cloud]:
    """Azure, simulated below `place`. Whoever uses the app's code in it does so within `cloud.inhabited()`."""
    clock = Clock.create(place / "clock.json", start=START, speed=0.0)
    with Simulator(clock=clock, state=place / "state") as simulator:
        data = agent_zip()
        agent = BlobRef(
            container="muster", blob="code/tiny-agent.zip", sha256=hashlib.sha256(data).hexdigest()
        )
        settings = {**simulator.env, "MUSTER_LOCAL_WORK": str(place / "local")}
        cloud = Cloud(clock, Control(simulator.control_url), agent, settings)
        with cloud.inhabited():
            create_containers(simulator.env["MUSTER_STORAGE_ACCOUNT_URL"])
            blob.create_only("muster", agent.blob, data)
        yield cloud


@contextmanager
def without_faults(cloud: Cloud) -> Iterator[Cloud]:
    """The cloud without faults. Nobody may come back before Azure said, nor send what it cannot read."""
    since = cloud.mark()
    cloud.control.clear_faults()
    yield cloud
    cloud.control.clear_faults()
    bad = [e for e in cloud.control.events(since=since) if e["type"] in ("early_poll", "contract_violation")]
    assert not bad, bad
