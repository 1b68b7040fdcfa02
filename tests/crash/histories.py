"""Histories as the hub kept them, and whether today's code would have written the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

from localdev.runner.hub import TaskHub
from localdev.runner.hub.turns import read_history
from shared.domain.fence import TENDER
from shared.domain.upkeep import REAPER
from tests.crash import app

FINAL = {
    pb.ORCHESTRATION_STATUS_COMPLETED: "executionCompleted",
    pb.ORCHESTRATION_STATUS_FAILED: "executionCompleted",
}
# What a turn asked for, as the hub wrote it down; all else in a history came from outside.
ASKED = {
    "taskScheduled": "scheduleTask",
    "timerCreated": "createTimer",
    "subOrchestrationInstanceCreated": "createSubOrchestration",
}


@dataclass(frozen=True)
class History:
    """One finished instance's events."""

    instance: str
    events: tuple[pb.HistoryEvent, ...]

    @property
    def name(self) -> str:
        return str(next(e.executionStarted.name for e in self.events if e.HasField("executionStarted")))

    @property
    def largest_payload(self) -> int:
        return max((len(text) for event in self.events for text in _payloads(event)), default=0)

    def turns(self) -> list[list[pb.HistoryEvent]]:
        """Events by turn: each begins with its orchestratorStarted."""
        turns: list[list[pb.HistoryEvent]] = []
        for event in self.events:
            if event.HasField("orchestratorStarted"):
                turns.append([])
            turns[-1].append(event)
        return turns


def histories_of(hub: TaskHub, prefix: str = "") -> Iterator[History]:
    """The history of every instance whose id begins with `prefix`."""
    page, _ = hub.query(prefix=prefix)
    for instance in page:
        with hub.store.reading() as sql:
            blobs = read_history(sql, instance.key)
        yield History(instance.id, tuple(pb.HistoryEvent.FromString(blob) for blob in blobs))


def ended_passes(hub: TaskHub) -> list[History]:
    """Passes of upkeep that have come to their end. Each is replaced by the next one under its instance id."""
    passes = (*histories_of(hub, REAPER), *histories_of(hub, TENDER))
    return [each for each in passes if any(e.HasField("executionCompleted") for e in each.events)]


def replay_fault(history: History, function: Any = None, *, every_turn: bool = False) -> str | None:
    """What today's code, or `function`, does otherwise than the history says; None if nothing.

    The last turn is enough to see a non-determinism: it replays all before it. `every_turn` also compares what each
    turn asked for.
    """
    turns = history.turns()
    ended = [e for e in history.events if e.HasField("executionCompleted")]
    terminated = any(e.HasField("executionTerminated") for e in history.events)
    last = len(turns) - 1 if ended and not terminated else len(turns) - 2
    for number in range(0 if every_turn else max(last, 0), last + 1):
        past = [event for turn in turns[:number] for event in turn]
        came, asked = _split(turns[number])
        request = pb.OrchestratorRequest(instanceId=history.instance, pastEvents=past, newEvents=came)
        if fault := _turn_fault(app.run_turn(request, function), asked):
            return f"turn {number + 1} of {len(turns)}: {fault}"
    return None


def _split(turn: list[pb.HistoryEvent]) -> tuple[list[pb.HistoryEvent], list[pb.HistoryEvent]]:
    came: list[pb.HistoryEvent] = []
    asked: list[pb.HistoryEvent] = []
    for event in turn:
        kind = event.WhichOneof("eventType")
        (asked if kind in ASKED or kind == "executionCompleted" else came).append(event)
    return came, asked


def _turn_fault(response: pb.OrchestratorResponse, asked: list[pb.HistoryEvent]) -> str | None:
    did, wanted = [_of_action(a) for a in response.actions], [_of_event(e) for e in asked]
    if sorted(did, key=str) == sorted(wanted, key=str):
        return None
    extra = [each for each in did if each not in wanted]
    missing = [each for each in wanted if each not in did]
    return f"asks for {str(extra)[:600]} instead of {str(missing)[:600]}"


def _of_action(action: Any) -> tuple[Any, ...]:
    kind = action.WhichOneof("orchestratorActionType")
    body = getattr(action, kind)
    match kind:
        case "scheduleTask":
            return kind, action.id, body.name, body.input.value
        case "createTimer":
            return kind, action.id, body.fireAt.ToMicroseconds()
        case "createSubOrchestration":
            return kind, action.id, body.name, body.instanceId, body.input.value
        case "completeOrchestration":
            return kind, body.orchestrationStatus, body.result.value, body.failureDetails.errorMessage
    return kind, action.id


def _of_event(event: Any) -> tuple[Any, ...]:
    kind = event.WhichOneof("eventType")
    body = getattr(event, kind)
    match kind:
        case "taskScheduled":
            return ASKED[kind], event.eventId, body.name, body.input.value
        case "timerCreated":
            return ASKED[kind], event.eventId, body.fireAt.ToMicroseconds()
        case "subOrchestrationInstanceCreated":
            return ASKED[kind], event.eventId, body.name, body.instanceId, body.input.value
        case "executionCompleted":
            return (
                "completeOrchestration",
                body.orchestrationStatus,
                body.result.value,
                body.failureDetails.errorMessage,
            )
    return kind, event.eventId


def _payloads(event: Any) -> Iterator[str]:
    body = getattr(event, event.WhichOneof("eventType"))
    for name in ("input", "result"):
        if name in body.DESCRIPTOR.fields_by_name and body.HasField(name):
            yield str(getattr(body, name).value)


Replayed = Callable[[History], str | None]
