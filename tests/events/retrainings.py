"""Retraining workloads that are deployed, and events considered by the real orchestrator and the real activities."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml

from activities import events
from localdev.runner.hub import TaskHub
from shared.azure import blob, event_ledger
from shared.domain.considering import DecideRequest, EventOutcome
from shared.domain.errors import AppError
from shared.domain.ml_events import MlEvent, normalise
from shared.domain.retrain_decision import Decision
from shared.durable import contracts
from tests.crash.clock import VirtualClock
from tests.durable.stage import Stage
from tests.events.deliveries import MONITOR, Event
from tests.support.cloud import Cloud, environment


def retraining(name: str, *, monitor: str = MONITOR, **changes: Any) -> dict[str, Any]:
    """A small valid declaration; `changes` are merged into it, section by section."""
    base: dict[str, Any] = {
        "kind": "Retraining",
        "name": name,
        "trigger": {"monitor": monitor, "threshold": 0.3, "hysteresis": 0.05},
        "data": {
            "container": "landing", "prefix": f"{name}/", "test": {"newest": 2}, "label": "late", "minNewBlobs": 0,
        },
        "model": {"name": f"{name}-model"},
        "training": {"code": "workloads/flights_training"},
        "trials": {"count": 2, "space": {"l2": {"uniform": [0, 1]}}},
        "compute": {"platform": "local"},
    }  # fmt: skip
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, Mapping) else values
    return base


@contextmanager
def deployed(cloud: Cloud, folder: Path, *declarations: dict[str, Any]) -> Iterator[None]:
    """The app in this process is deployed with these workloads."""
    for declaration in declarations:
        (folder / f"{declaration['name']}.yaml").write_text(yaml.safe_dump(declaration))
    with environment({**cloud.settings, "MUSTER_WORKLOADS": str(folder)}):
        yield


class Considering:
    """A task hub whose clock goes to the next timer as soon as everybody waits. `at` is its time."""

    def __init__(self, hub: TaskHub, clock: VirtualClock) -> None:
        self._stage = Stage(hub, clock, _act)
        self.clock = clock

    def consider(self, raw: Event) -> tuple[Decision, ...]:
        """Consider one event to its end, and give the decisions as they are on record."""
        event = normalise(raw)
        assert isinstance(event, MlEvent)
        return self._consider(event)

    def _consider(self, event: MlEvent) -> tuple[Decision, ...]:
        ended = self._stage.run(contracts.CONSIDER_EVENT, event, f"event-{event.key}")
        assert ended.failure is None, ended.failure.errorMessage
        outcome = EventOutcome.model_validate(json.loads(ended.output or "null")["ok"])
        found = [event_ledger.read_decision(each.workload, event.key)[0] for each in outcome.decisions]
        assert [each and each.brief() for each in found] == list(outcome.decisions)
        return tuple(each for each in found if each)

    def one(self, raw: Event) -> Decision:
        (decision,) = self.consider(raw)
        return decision

    def decided(self, event: MlEvent) -> Decision:
        """The one decision about a fact that is on record."""
        (decision,) = self._consider(event)
        return decision

    @property
    def looks(self) -> int:
        """How often it was decided so far, waits counted."""
        return len(self._stage.steps(contracts.DECIDE_RETRAINING))


def _act(step: str, payload: Any) -> Any:
    """What the real activity answers, or the error that it fails with."""
    act = {
        contracts.READ_EVENT_TRUTH.name: events.read_event_truth,
        contracts.DECIDE_RETRAINING.name: events.decide_retraining,
        contracts.CLOSE_EVENT.name: events.close_event,
    }[step]
    model = DecideRequest if step == contracts.DECIDE_RETRAINING.name else MlEvent
    try:
        return cast(Any, act)(model.model_validate(payload))
    except AppError as error:
        return error


def claims(workload: str) -> list[str]:
    """The runs that are claimed for a workload."""
    paths = [found.name for found in blob.list_blobs("muster", f"claims/train-{workload}-")]
    return [path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths]


def end(run: str, state: str) -> None:
    """What a run leaves when it is over."""
    blob.create_only("muster", f"runs/{run}/outcome.json", json.dumps({"run": run, "state": state}).encode())
