"""Rows of orchestration instances: create, post to, finish, delete. Every change is part of a caller's transaction."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from . import entities
from .errors import InstanceExists, InvalidMessage
from .messages import event, failure, text, timestamp, to_datetime
from .store import Transaction


class Status(IntEnum):
    """The protocol's OrchestrationStatus."""

    RUNNING = 0
    COMPLETED = 1
    CONTINUED_AS_NEW = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    PENDING = 6
    SUSPENDED = 7

    @property
    def is_final(self) -> bool:
        return self in FINAL

    @property
    def name_on_wire(self) -> str:
        return f"ORCHESTRATION_STATUS_{self.name}"


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TERMINATED})


class Kind(IntEnum):
    """What an inbox row is, as far as its delivery depends on it."""

    RESULT = 0  # of something this generation asked for: dropped when it continues as new
    EVENT = 1  # raised from outside: carried into the next generation
    SUSPEND = 2
    RELEASE = 3  # resume or terminate: delivered to a suspended instance too
    START = 4
    REWIND = 5
    WAKE = 6  # no event, only a turn


@dataclass(frozen=True, slots=True)
class Instance:
    """One row. `input` and `output` are None when they were not asked for."""

    key: int
    id: str
    generation: int
    execution_id: str
    name: str
    version: str | None
    status: Status
    suspending: bool
    created: int
    updated: int
    completed: int | None
    start_at: int | None
    parent_key: int | None
    parent_generation: int | None
    parent_task: int | None
    parent_id: str | None
    events: int
    raw_tags: str | None
    trace: bytes | None
    raw_failure: bytes | None
    custom_status: str | None
    input: str | None = None
    output: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        return json.loads(self.raw_tags) if self.raw_tags else {}

    @property
    def failure(self) -> Any | None:
        """pb.TaskFailureDetails, if it failed."""
        return pb.TaskFailureDetails.FromString(self.raw_failure) if self.raw_failure else None

    @property
    def created_at(self) -> datetime:
        return to_datetime(self.created)

    @property
    def updated_at(self) -> datetime:
        return to_datetime(self.updated)

    @property
    def completed_at(self) -> datetime | None:
        return to_datetime(self.completed) if self.completed is not None else None


@dataclass(frozen=True, slots=True)
class Parent:
    """Who is told how a sub-orchestration ended: the task of that generation of that instance."""

    key: int
    generation: int
    task: int
    id: str
    name: str
    execution_id: str


COLUMNS = (
    "key, id, generation, execution_id, name, version, status, suspending, created, updated, completed, start_at,"
    " parent_key, parent_generation, parent_task, parent_id, events, tags, trace, failure, custom_status"
)


def from_row(row: tuple[Any, ...]) -> Instance:
    values: list[Any] = [*row[:6], Status(row[6]), bool(row[7]), *row[8:]]
    return Instance(*values)


def load(sql: sqlite3.Connection, key: int) -> Instance | None:
    row = sql.execute(f"SELECT {COLUMNS} FROM instance WHERE key = ?", (key,)).fetchone()
    return from_row(row) if row else None


def find(sql: sqlite3.Connection, instance_id: str, *, payloads: bool = False) -> Instance | None:
    columns = f"{COLUMNS}, input, output" if payloads else COLUMNS
    row = sql.execute(f"SELECT {columns} FROM instance WHERE id = ?", (instance_id,)).fetchone()
    return from_row(row) if row else None


def create(
    tx: Transaction,
    instance_id: str,
    name: str,
    *,
    input: str | None = None,
    version: str | None = None,
    start_at: int | None = None,
    tags: Mapping[str, str] | None = None,
    trace: Any = None,
    parent: Parent | None = None,
    replaceable: frozenset[Status] = FINAL,
) -> None:
    """Add an instance, replacing one of the same id whose status is in `replaceable`; else raises InstanceExists."""
    if not name:
        raise InvalidMessage(f"instance {instance_id!r}: an orchestrator name is required")
    if instance_id.startswith("@"):
        raise InvalidMessage(f"instance id {instance_id!r}: ids that start with '@' belong to entities")
    if existing := find(tx.sql, instance_id):
        if existing.status not in replaceable:
            raise InstanceExists(
                f"orchestration instance {instance_id!r} already exists and is {existing.status.name}"
            )
        delete(tx, existing.key)
    if start_at is not None and start_at <= tx.now:
        start_at = None
    execution_id = uuid.uuid4().hex
    key = tx.sql.execute(
        "INSERT INTO instance (id, generation, execution_id, name, version, status, created, updated, start_at,"
        " parent_key, parent_generation, parent_task, parent_id, tags, input)"
        " VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(instance_id, execution_id, name, version, Status.PENDING, tx.now, tx.now, start_at),
            *((parent.key, parent.generation, parent.task, parent.id) if parent else (None,) * 4),
            *(json.dumps(dict(tags)) if tags else None, input),
        ),
    ).lastrowid
    assert key is not None
    started = started_event(tx.now, instance_id, execution_id, name, version, input, tags, parent, trace)
    post(tx, key, Kind.START, started, urgent=start_at is None)
    if start_at is not None:
        tx.ready.pop(key, None)
        tx.wake_at(start_at)
    tx.changed[instance_id] = None


def started_event(
    now: int,
    instance_id: str,
    execution_id: str,
    name: str,
    version: str | None,
    input: str | None,
    tags: Mapping[str, str] | None,
    parent: Parent | None,
    trace: Any,
) -> Any:
    content = pb.ExecutionStartedEvent(
        name=name,
        version=text(version),
        input=text(input),
        orchestrationInstance=pb.OrchestrationInstance(
            instanceId=instance_id, executionId=text(execution_id)
        ),
        tags=tags,
        parentTraceContext=trace,
    )
    if parent:
        content.parentInstance.CopyFrom(
            pb.ParentInstanceInfo(
                taskScheduledId=parent.task,
                name=text(parent.name),
                orchestrationInstance=pb.OrchestrationInstance(
                    instanceId=parent.id, executionId=text(parent.execution_id)
                ),
            )
        )
    return event(now, executionStarted=content)


def post(tx: Transaction, key: int, kind: Kind, message: Any | None, *, urgent: bool = True) -> None:
    """Put an event into an instance's inbox and have a turn run for it."""
    blob = None if message is None else message.SerializeToString()
    tx.sql.execute("INSERT INTO inbox (instance, kind, event) VALUES (?, ?, ?)", (key, kind, blob))
    tx.wake(key, urgent=urgent)


def post_result(tx: Transaction, key: int, generation: int, message: Any, *, urgent: bool = True) -> bool:
    """Deliver the outcome of something that generation asked for; False if nobody waits for it any more.

    A failed instance still collects outcomes: a rewind carries on with them.
    """
    row = tx.sql.execute("SELECT generation, status FROM instance WHERE key = ?", (key,)).fetchone()
    if row is None or row[0] != generation or (row[1] in FINAL and row[1] != Status.FAILED):
        return False
    post(tx, key, Kind.RESULT, message, urgent=urgent)
    return True


def append_history(tx: Transaction, instance: Instance, blobs: list[bytes]) -> None:
    """Add events after the `instance.events` there are. The caller updates `events`."""
    first = instance.events
    tx.sql.executemany(
        "INSERT INTO history (instance, seq, event) VALUES (?, ?, ?)",
        [(instance.key, first + i, blob) for i, blob in enumerate(blobs)],
    )


def finish(
    tx: Transaction, instance: Instance, status: Status, output: str | None, details: Any | None
) -> list[Any]:
    """End an instance: record it, free its locks, tell its parent. Returns the closing history events, not yet stored."""
    tx.sql.execute(
        "UPDATE instance SET status = ?, output = ?, failure = ?, completed = ?, updated = ?, suspending = 0,"
        " start_at = NULL WHERE key = ?",
        (status, output, details and details.SerializeToString(), tx.now, tx.now, instance.key),
    )
    if status is Status.FAILED:
        tx.sql.execute("DELETE FROM inbox WHERE instance = ? AND kind <> ?", (instance.key, Kind.RESULT))
    else:
        tx.sql.execute("DELETE FROM inbox WHERE instance = ?", (instance.key,))
        tx.sql.execute("DELETE FROM timer WHERE instance = ?", (instance.key,))
    tx.ready.pop(instance.key, None)
    tx.finished.append(instance.key)
    entities.release_all(tx, instance.key)
    _tell_parent(tx, instance, status, output, details)
    tx.changed[instance.id] = None
    completed = pb.ExecutionCompletedEvent(
        orchestrationStatus=status.name_on_wire, result=text(output), failureDetails=details
    )
    return [event(tx.now, executionCompleted=completed)]


def _tell_parent(
    tx: Transaction, child: Instance, status: Status, output: str | None, details: Any | None
) -> None:
    if child.parent_key is None or child.parent_generation is None or child.parent_task is None:
        return
    if status is Status.COMPLETED:
        done = pb.SubOrchestrationInstanceCompletedEvent(
            taskScheduledId=child.parent_task, result=text(output)
        )
        message = event(tx.now, subOrchestrationInstanceCompleted=done)
    else:
        reason = details or failure(
            "SubOrchestrationTerminated", f"sub-orchestration {child.id!r} was {status.name.lower()}"
        )
        failed = pb.SubOrchestrationInstanceFailedEvent(
            taskScheduledId=child.parent_task, failureDetails=reason
        )
        message = event(tx.now, subOrchestrationInstanceFailed=failed)
    post_result(tx, child.parent_key, child.parent_generation, message)


def children(sql: sqlite3.Connection, key: int, generation: int | None = None) -> list[Instance]:
    rows = sql.execute(f"SELECT {COLUMNS} FROM instance WHERE parent_key = ?", (key,)).fetchall()
    found = [from_row(row) for row in rows]
    return [child for child in found if generation is None or child.parent_generation == generation]


def delete(tx: Transaction, key: int) -> None:
    """Remove every trace of an instance; what it left running reports to nobody."""
    entities.release_all(tx, key)
    for table in ("history", "inbox", "activity", "timer"):
        tx.sql.execute(f"DELETE FROM {table} WHERE instance = ?", (key,))
    row = tx.sql.execute("DELETE FROM instance WHERE key = ? RETURNING id", (key,)).fetchone()
    tx.ready.pop(key, None)
    tx.finished.append(key)
    if row:
        tx.changed[row[0]] = None


def stamp(now: int, instance: Instance) -> Any:
    """The event that opens a turn; its time is the orchestrator's `now`, and never goes back."""
    return pb.HistoryEvent(
        eventId=-1,
        timestamp=timestamp(max(now, instance.updated)),
        orchestratorStarted=pb.OrchestratorStartedEvent(),
    )
