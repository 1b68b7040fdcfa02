"""All there is in the simulated cloud, in one place for those who change it. Touched on the event loop only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from localdev.azuresim.blobs import Blobs
from localdev.azuresim.catalog import DEFAULT_ML_QUOTAS, DEFAULT_QUOTAS
from localdev.azuresim.events import Events
from localdev.azuresim.faults import Faults
from localdev.azuresim.machines import Machines
from localdev.azuresim.meter import Meter
from localdev.azuresim.operations import Operations
from localdev.azuresim.scheduler import Scheduler
from localdev.azuresim.serving import Serving
from localdev.azuresim.store import Store
from localdev.clock import Clock


def _quotas() -> dict[str, dict[str, int]]:
    return {region: dict(limits) for region, limits in DEFAULT_QUOTAS.items()}


def _ml_quotas() -> dict[str, dict[str, int]]:
    return {region: dict(limits) for region, limits in DEFAULT_ML_QUOTAS.items()}


@dataclass
class World:
    clock: Clock
    scheduler: Scheduler
    store: Store
    operations: Operations
    events: Events
    faults: Faults
    meter: Meter
    machines: Machines
    blobs: Blobs | None = None  # None: a simulator without storage
    serving: Serving | None = None  # None: deployments get ready without a server
    quotas: dict[str, dict[str, int]] = field(default_factory=_quotas)
    ml_quotas: dict[str, dict[str, int]] = field(default_factory=_ml_quotas)

    def now(self) -> float:
        return self.clock.time()

    def dump(self) -> dict[str, Any]:
        """Everything that outlives the simulator's process; the machines' processes do not."""
        return {
            "store": self.store.dump(),
            "operations": self.operations.dump(),
            "scheduler": self.scheduler.dump(),
            "meter": self.meter.dump(),
            "quotas": self.quotas,
            "ml_quotas": self.ml_quotas,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.store.load(state["store"])
        self.operations.load(state["operations"])
        self.scheduler.load(state["scheduler"])
        self.meter.load(state["meter"])
        self.quotas = state["quotas"]
        self.ml_quotas = state["ml_quotas"]


def new_world(clock: Clock, events: Events, faults: Faults, machines: Machines) -> World:
    scheduler = Scheduler(clock)
    scheduler.on_defect = lambda moment, step: _record_defect(events, moment, step)
    return World(clock, scheduler, Store(), Operations(scheduler, events), events, faults, Meter(), machines)


def _record_defect(events: Events, moment: float, step: str) -> None:
    events.add("defect", moment, step=step)
