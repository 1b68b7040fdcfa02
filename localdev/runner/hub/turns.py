"""One turn of an orchestration: what the worker is given, and what its answer changes.

The stored history leaves out orchestratorCompleted: replay ignores it, and it would be a quarter of a long chain.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from . import actions, entities, instances, rewind
from .errors import InvalidMessage
from .instances import Instance, Kind, Status
from .messages import failure, value_of
from .store import Transaction

_CACHED_BYTES = 64_000_000  # of history as stored; what is over it is read from its rows again


@dataclass(slots=True)
class Turn:
    """A turn that was handed out: which inbox rows it consumed, and the message the worker holds."""

    instance: Instance
    rows: list[int]
    item: Any  # pb.WorkItem; belongs to the worker until the turn is answered or taken back
    past_bytes: int

    @property
    def new_events(self) -> list[Any]:
        return list(self.item.orchestratorRequest.newEvents)


@dataclass(slots=True)
class Histories:
    """Parsed histories of instances that had a turn lately, so that a turn costs no reading of old rows."""

    _items: OrderedDict[tuple[int, int], tuple[Any, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def take(self, sql: sqlite3.Connection, instance: Instance) -> tuple[Any, int]:
        """The work item with the instance's past events, and their size; the caller owns it until `give_back`."""
        if (cached := self._items.pop((instance.key, instance.generation), None)) is not None:
            self._bytes -= cached[1]
            return cached
        request = pb.OrchestratorRequest()
        blobs = read_history(sql, instance.key)
        for blob in blobs:
            request.pastEvents.add().MergeFromString(blob)
        return pb.WorkItem(orchestratorRequest=request), sum(map(len, blobs))

    def give_back(self, turn: Turn, added: list[Any], added_bytes: int) -> None:
        """Keep the item for the next turn, with what this turn added to the history."""
        request = turn.item.orchestratorRequest
        request.pastEvents.extend(request.newEvents)
        request.pastEvents.extend(added)
        del request.newEvents[:]
        size = turn.past_bytes + added_bytes
        self._items[turn.instance.key, turn.instance.generation] = (turn.item, size)
        self._bytes += size
        while self._bytes > _CACHED_BYTES and len(self._items) > 1:
            _, (_, evicted) = self._items.popitem(last=False)
            self._bytes -= evicted


def read_history(sql: sqlite3.Connection, key: int) -> list[bytes]:
    rows = sql.execute("SELECT event FROM history WHERE instance = ? ORDER BY seq", (key,)).fetchall()
    return [blob for (blob,) in rows]


def take(sql: sqlite3.Connection, histories: Histories, key: int, now: int) -> Turn | None:
    """Build the next turn of an instance; None if it has nothing to do. Raises DecodeError on unreadable rows."""
    instance = instances.load(sql, key)
    if instance is None or instance.status.is_final or instance.start_at is not None:
        return None
    rows = sql.execute("SELECT n, kind, event FROM inbox WHERE instance = ? ORDER BY n", (key,)).fetchall()
    if not rows:
        return None
    if instance.status is Status.SUSPENDED and not any(kind == Kind.RELEASE for _, kind, _ in rows):
        return None
    # The SDK rewrites a failed history only when the rewind is the turn's one event.
    rows = [row for row in rows if row[1] == Kind.REWIND][:1] or rows
    new = [pb.HistoryEvent.FromString(blob) for _, _, blob in rows if blob is not None]
    item, past_bytes = histories.take(sql, instance)
    request = item.orchestratorRequest
    request.instanceId = instance.id
    request.executionId.value = instance.execution_id
    if instance.trace:
        request.orchestrationTraceContext.MergeFromString(instance.trace)
    request.newEvents.append(instances.stamp(now, instance))
    request.newEvents.extend(new)
    return Turn(instance, [n for n, _, _ in rows], item, past_bytes)


def complete(tx: Transaction, histories: Histories, turn: Turn, response: Any) -> None:
    """Apply a worker's answer to `turn`. An answer to a generation that is gone changes nothing.

    Raises InvalidMessage if the answer means nothing; the caller then fails the instance.
    """
    instance = instances.load(tx.sql, turn.instance.key)
    if instance is None or instance.generation != turn.instance.generation or instance.status.is_final:
        return
    if response.isPartial or response.requiresHistory:
        raise InvalidMessage("partial orchestrator responses are not supported")
    tx.sql.executemany("DELETE FROM inbox WHERE n = ?", [(n,) for n in turn.rows])
    ending = None
    new_history = None
    added: list[Any] = []
    for action in response.actions:
        match action.WhichOneof("orchestratorActionType"):
            case "completeOrchestration":
                ending = action.completeOrchestration
            case "rewindOrchestration":
                new_history = action.rewindOrchestration.newHistory
            case kind:
                added.extend(actions.apply(tx, instance, kind, action))
    if new_history is not None:
        rewind.replace_history(tx, instance, new_history)
    elif ending is not None and ending.orchestrationStatus == Status.CONTINUED_AS_NEW:
        _continue_as_new(tx, instance, turn, ending, response)
    else:
        _go_on(tx, histories, instance, turn, added, ending, response)
    tx.changed[instance.id] = None


def _go_on(
    tx: Transaction,
    histories: Histories,
    instance: Instance,
    turn: Turn,
    added: list[Any],
    ending: Any | None,
    response: Any,
) -> None:
    new = turn.new_events
    status = _status_after(new)
    if ending is not None:
        status = Status(ending.orchestrationStatus)
        if not status.is_final:
            raise InvalidMessage(f"an orchestration cannot complete as {status.name}")
        details = ending.failureDetails if ending.HasField("failureDetails") else None
        added.extend(instances.finish(tx, instance, status, value_of(ending, "result"), details))
        if status is Status.TERMINATED and any(
            e.executionTerminated.recurse for e in new if _is(e, "executionTerminated")
        ):
            actions.terminate_children(tx, instance, "its parent was terminated")
    blobs = [e.SerializeToString() for e in (*new, *added)]
    instances.append_history(tx, instance, blobs)
    tx.sql.execute(
        "UPDATE instance SET status = ?, updated = ?, events = events + ?, custom_status = ?, trace = ? WHERE key = ?",
        (
            *(
                status,
                max(tx.now, instance.updated),
                len(new) + len(added),
                value_of(response, "customStatus"),
            ),
            *(_trace_of(response) or instance.trace, instance.key),
        ),
    )
    if ending is None:
        tx.after.append(lambda: histories.give_back(turn, added, sum(map(len, blobs))))


def _status_after(new_events: list[Any]) -> Status:
    status = Status.RUNNING
    for new in new_events:
        if _is(new, "executionSuspended"):
            status = Status.SUSPENDED
        elif _is(new, "executionResumed"):
            status = Status.RUNNING
    return status


def _is(history_event: Any, kind: str) -> bool:
    return bool(history_event.HasField(kind))


def _trace_of(response: Any) -> bytes | None:
    if not response.HasField("orchestrationTraceContext"):
        return None
    return response.orchestrationTraceContext.SerializeToString() or None  # type: ignore[no-any-return]


def _continue_as_new(tx: Transaction, instance: Instance, turn: Turn, ending: Any, response: Any) -> None:
    """Start the next generation: fresh history, new input, carried events first, then those that came meanwhile.

    An order to suspend or terminate that reached the old generation as it ended holds for the new one.

    Timers of the old generation are gone; its activities, children and entity calls report to nobody.
    """
    key = instance.key
    kept = tx.sql.execute(
        "SELECT kind, event FROM inbox WHERE instance = ? AND kind IN (?, ?, ?) ORDER BY n",
        (key, Kind.EVENT, Kind.SUSPEND, Kind.RELEASE),
    ).fetchall()
    for table in ("history", "inbox", "timer"):
        tx.sql.execute(f"DELETE FROM {table} WHERE instance = ?", (key,))
    entities.release_all(tx, key)
    input = value_of(ending, "result")
    version = value_of(ending, "newVersion") or instance.version
    execution_id = uuid.uuid4().hex
    tx.sql.execute(
        "UPDATE instance SET generation = generation + 1, execution_id = ?, version = ?, status = ?, input = ?,"
        " updated = ?, events = 0, custom_status = ?, trace = NULL WHERE key = ?",
        (
            *(execution_id, version, Status.RUNNING, input, max(tx.now, instance.updated)),
            *(value_of(response, "customStatus"), key),
        ),
    )
    started = instances.started_event(
        tx.now,
        instance.id,
        execution_id,
        instance.name,
        version,
        input,
        instance.tags,
        _parent_of(tx, instance),
        None,
    )
    instances.post(tx, key, Kind.START, started)
    for carried in ending.carryoverEvents:
        instances.post(tx, key, Kind.EVENT, carried)
    for kind, order in _orders(turn.new_events):
        instances.post(tx, key, kind, order)
    tx.sql.executemany(
        "INSERT INTO inbox (instance, kind, event) VALUES (?, ?, ?)", [(key, *row) for row in kept]
    )


def _orders(new_events: list[Any]) -> list[tuple[Kind, Any]]:
    orders = [(Kind.RELEASE, e) for e in new_events if _is(e, "executionTerminated")]
    if _status_after(new_events) is Status.SUSPENDED:
        orders += [(Kind.SUSPEND, e) for e in new_events if _is(e, "executionSuspended")][-1:]
    return orders


def _parent_of(tx: Transaction, instance: Instance) -> instances.Parent | None:
    if instance.parent_key is None or instance.parent_generation is None or instance.parent_task is None:
        return None
    parent = instances.load(tx.sql, instance.parent_key)
    return instances.Parent(
        instance.parent_key,
        instance.parent_generation,
        instance.parent_task,
        instance.parent_id or "",
        parent.name if parent else "",
        parent.execution_id if parent else "",
    )


def fail(tx: Transaction, key: int, kind: str, reason: str) -> None:
    """End an instance that cannot go on, so that whoever waits for it sees why."""
    instance = instances.load(tx.sql, key)
    if instance is None or instance.status.is_final:
        return
    closing = instances.finish(tx, instance, Status.FAILED, None, failure(kind, reason, retriable=False))
    instances.append_history(tx, instance, [e.SerializeToString() for e in closing])
    tx.sql.execute("UPDATE instance SET events = events + ? WHERE key = ?", (len(closing), key))
