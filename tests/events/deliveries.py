"""Events as Event Grid sends them, handed to the app's trigger function as the Functions host hands them over."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from azure.functions.eventgrid import EventGridEventInConverter
from azure.functions.meta import Datum

from localdev.runner.hub import TaskHub
from shared.domain.ml_events import MlEvent, normalise
from tests.crash.app import HubClient, functions, run_timer, run_turn

ML = "Microsoft.MachineLearningServices."
BREACH_TAG = "azureml_modelmonitor_threshold_breached"
MONITOR = "flights-monitor"
AT = datetime.fromisoformat("2026-03-01T02:00:00Z")
AT_ONCE = 16  # deliveries at one moment

type Event = dict[str, Any]


def workspace() -> str:
    return os.environ["MUSTER_ML_WORKSPACE"]


def event(type_: str, subject: str, data: dict[str, Any], *, topic: str = "", at: datetime = AT) -> Event:
    """In the Event Grid schema. Every call is a delivery of its own."""
    return {
        "id": uuid.uuid4().hex, "topic": topic or workspace(), "subject": subject, "eventType": type_,
        "eventTime": at.isoformat(), "data": data, "dataVersion": "", "metadataVersion": "1",
    }  # fmt: skip


def breach_text(monitor: str) -> str:
    """As learn.microsoft.com has it, for the monitor's signal data_drift."""
    return f"{monitor}_data_drift has failed due to one or more features violating metric thresholds"


def breach(run: str, *, status: str = "Failed", monitor: str = MONITOR, **changes: Any) -> Event:
    data = {
        "experimentName": "drift", "runId": run, "runStatus": status,
        "runTags": {BREACH_TAG: breach_text(monitor)}, "runProperties": {},
    }  # fmt: skip
    return event(f"{ML}RunStatusChanged", f"experiments/drift/runs/{run}", data, **changes)


def dataset_drift(run: str, coefficient: float, *, monitor: str = MONITOR, **changes: Any) -> Event:
    data = {"dataDriftId": "d", "dataDriftName": monitor, "runId": run, "driftCoefficient": coefficient}
    return event(f"{ML}DatasetDriftDetected", f"datadrift/d/run/{run}", data, **changes)


def as_cloud_event(plain: Event) -> Event:
    return {
        "specversion": "1.0", "id": plain["id"], "source": plain["topic"], "subject": plain["subject"],
        "type": plain["eventType"], "time": plain["eventTime"], "data": plain["data"],
    }  # fmt: skip


def pascal(value: Any) -> Any:
    """Data as learn's samples have it."""
    if not isinstance(value, dict):
        return value
    return {key[:1].upper() + key[1:]: pascal(inner) for key, inner in value.items()}


def key_of(raw: Event) -> str:
    found = normalise(raw)
    assert isinstance(found, MlEvent)
    return found.key


class Deliveries:
    """The trigger function and its timer. `starts` counts what it asked the task hub to start."""

    def __init__(self, hub: TaskHub) -> None:
        self.hub = hub
        self.starts: list[str] = []
        self.die_at_start = False
        self.client = HubClient(lambda: hub, self._visit)
        self._function: Callable[[Any, Any], Awaitable[Any]] = functions()["ml_event"].client_function

    def send(self, *raws: Event) -> list[BaseException | None]:
        """Deliver them, some at a time. Gives for each what the function raised; None is an acknowledgement."""
        return asyncio.run(self._send(raws))

    def tick(self, moment: datetime = AT + timedelta(minutes=1)) -> None:
        run_timer("tick", moment, self.client)

    def considered(self) -> list[str]:
        """Keys of the events that an orchestration considers."""
        found = self.hub.query(prefix="event-", page_size=100_000)[0]
        return sorted(i.id.removeprefix("event-") for i in found)

    async def _send(self, raws: Sequence[Event]) -> list[BaseException | None]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(raw: Event) -> Any:
            async with gate:
                return await self._function(decoded(raw), self.client)

        answers = await asyncio.gather(*map(one, raws), return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}, (
            "it goes on with a client that is closed by then"
        )
        return [answer if isinstance(answer, BaseException) else None for answer in answers]

    def _visit(self, what: str, effect: Callable[[], Any]) -> Any:
        if what.startswith("start "):
            if self.die_at_start:
                raise RuntimeError("killed")
            self.starts.append(what.removeprefix("start "))
        return effect()


def decoded(raw: Event) -> Any:
    """What the SDK makes of an event before the function sees it."""
    return EventGridEventInConverter.decode(Datum(json.dumps(raw), "json"), trigger_metadata=None)


def terminate(hub: TaskHub, instance: str) -> None:
    """To its end: a termination is a message, which a worker's next turn takes."""
    hub.terminate(instance)
    session = hub.connect("worker")
    item: Any = session.next(0)
    while item.orchestratorRequest.instanceId != instance:
        item = session.next(0)
    response = run_turn(item.orchestratorRequest)
    response.instanceId, response.completionToken = instance, item.completionToken
    session.complete_orchestrator(response)
