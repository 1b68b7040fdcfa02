"""Entities: a queue of operations each, a state, and a lock that admits only its owner.

A lock request walks the entities of its lock set in their (sorted) order and waits its turn in each queue like an
operation, so locks are fair, and two orchestrations cannot wait for each other. Whatever ends an orchestration's
generation releases what it held, in the same transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError

from . import instances
from .errors import HubError, InvalidMessage
from .messages import event, failure, microseconds, text, value_of
from .store import Transaction

logger = logging.getLogger(__name__)

MAX_BATCH = 500  # operations handed out at once; a backlog must not become one huge message


@dataclass(frozen=True, slots=True)
class Operation:
    """One queued operation (or lock request)."""

    n: int
    is_lock: bool
    caller: int | None
    caller_generation: int | None
    event: Any


def send(
    tx: Transaction,
    entity: str,
    message: Any,
    *,
    caller: tuple[int, int] | None = None,
    due: int | None = None,
    is_lock: bool = False,
) -> None:
    """Queue an operation for `entity`; one due later becomes visible then. `caller` is (instance key, generation)."""
    if not entity.startswith("@") or entity.count("@") < 2:
        raise InvalidMessage(f"{entity!r} is not an entity id (@name@key)")
    delayed = due is not None and due > tx.now
    tx.sql.execute(
        "INSERT INTO operation (entity, due, is_lock, caller, caller_generation, event) VALUES (?, ?, ?, ?, ?, ?)",
        (entity, due if delayed else None, is_lock, *(caller or (None, None)), message.SerializeToString()),
    )
    if delayed and due is not None:
        tx.wake_at(due)
    else:
        advance(tx, entity)


def signal(
    tx: Transaction,
    entity: str,
    name: str,
    input: str | None,
    *,
    due: int | None = None,
    request_id: str = "",
) -> None:
    content = pb.EntityOperationSignaledEvent(
        requestId=request_id or str(uuid.uuid4()),
        operation=name,
        input=text(input),
        targetInstanceId=text(entity),
    )
    send(tx, entity, event(tx.now, entityOperationSignaled=content), due=due)


def waiting(sql: sqlite3.Connection, entity: str) -> list[Operation]:
    """What a worker may be given now: up to the next lock request, or, while locked, the owner's calls only."""
    owner = _owner(sql, entity)
    rows = sql.execute(
        "SELECT n, is_lock, caller, caller_generation, event FROM operation"
        " WHERE entity = ?1 AND due IS NULL AND (?2 IS NULL OR caller = ?2) ORDER BY n LIMIT ?3",
        (entity, owner, MAX_BATCH),
    ).fetchall()
    found: list[Operation] = []
    for n, is_lock, caller, generation, blob in rows:
        if is_lock and owner is None:
            break
        if not is_lock:
            found.append(Operation(n, False, caller, generation, pb.HistoryEvent.FromString(blob)))
    return found


def batch_request(entity: str, state: str | None, operations: list[Operation]) -> Any:
    """The message that asks a worker to run `operations`, in order, on `state`."""
    request = pb.EntityBatchRequest(instanceId=entity, entityState=text(state))
    for operation in operations:
        content = getattr(operation.event, operation.event.WhichOneof("eventType"))
        request.operations.append(
            pb.OperationRequest(
                requestId=content.requestId,
                operation=content.operation,
                input=text(value_of(content, "input")),
            )
        )
    return request


def state_of(sql: sqlite3.Connection, entity: str) -> str | None:
    row = sql.execute("SELECT state FROM entity WHERE id = ?", (entity,)).fetchone()
    return row[0] if row else None


def advance(tx: Transaction, entity: str) -> None:
    """Grant the lock request at the head of the queue, if the entity is free; else have its operations run."""
    if _owner(tx.sql, entity) is None:
        head = tx.sql.execute(
            "SELECT n, is_lock, caller, caller_generation, event FROM operation WHERE entity = ? AND due IS NULL"
            " ORDER BY n LIMIT 1",
            (entity,),
        ).fetchone()
        if head and head[1]:
            _grant(
                tx, entity, Operation(head[0], True, head[2], head[3], pb.HistoryEvent.FromString(head[4]))
            )
            return
    tx.entities[entity] = None


def _grant(tx: Transaction, entity: str, request: Operation) -> None:
    content = request.event.entityLockRequested
    assert request.caller is not None and request.caller_generation is not None
    tx.sql.execute("DELETE FROM operation WHERE n = ?", (request.n,))
    tx.sql.execute(
        "INSERT INTO entity (id, modified, section, owner, owner_id) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (id) DO UPDATE SET section = ?3, owner = ?4, owner_id = ?5",
        (entity, tx.now, content.criticalSectionId, request.caller, content.parentInstanceId.value),
    )
    tx.entities[entity] = None
    caller = (request.caller, request.caller_generation)
    if content.position + 1 < len(content.lockSet):
        content.position += 1
        send(tx, content.lockSet[content.position], request.event, caller=caller, is_lock=True)
        return
    granted = pb.EntityLockGrantedEvent(criticalSectionId=content.criticalSectionId)
    instances.post_result(tx, *caller, event(tx.now, entityLockGranted=granted))


def unlock(tx: Transaction, entity: str, section: str) -> None:
    """Release one entity, if that critical section holds it."""
    done = tx.sql.execute(
        "UPDATE entity SET section = NULL, owner = NULL, owner_id = NULL WHERE id = ? AND section = ?",
        (entity, section),
    )
    if done.rowcount:
        _forget_if_empty(tx, entity)
        advance(tx, entity)


def release_all(tx: Transaction, owner: int) -> list[str]:
    """Release every lock an instance holds and withdraw those it asked for; returns the entities freed."""
    withdrawn = tx.sql.execute(
        "DELETE FROM operation WHERE caller = ? AND is_lock = 1 RETURNING entity", (owner,)
    ).fetchall()
    freed = tx.sql.execute(
        "UPDATE entity SET section = NULL, owner = NULL, owner_id = NULL WHERE owner = ? RETURNING id",
        (owner,),
    ).fetchall()
    for (entity,) in [*freed, *withdrawn]:
        _forget_if_empty(tx, entity)
        advance(tx, entity)
    return [entity for (entity,) in freed]


def complete(tx: Transaction, entity: str, operations: list[Operation], result: Any) -> None:
    """Apply what a worker made of a batch: state, answers to callers, signals and new orchestrations.

    A batch answered in part keeps its rest queued. One answered with failureDetails fails as a whole, state untouched.
    """
    whole_failure = result.failureDetails if result.HasField("failureDetails") else None
    done = operations if whole_failure is not None else operations[: len(result.results)]
    for i, operation in enumerate(done):
        tx.sql.execute("DELETE FROM operation WHERE n = ?", (operation.n,))
        if operation.caller is not None and operation.caller_generation is not None:
            outcome = None if whole_failure is not None else result.results[i]
            answer = _answer(tx.now, operation, outcome, whole_failure)
            instances.post_result(tx, operation.caller, operation.caller_generation, answer)
    if whole_failure is None:
        _keep_state(tx, entity, value_of(result, "entityState") or None)
        for action in result.actions:
            try:
                _act(tx, action)
            except HubError as error:  # the operation itself is done; there is nobody to tell but the log
                logger.warning("entity action refused", extra={"entity": entity, "reason": str(error)})
    advance(tx, entity)


def refuse(tx: Transaction, entity: str, operation: Operation, details: Any) -> None:
    """Fail one operation without running it; the state stays."""
    tx.sql.execute("DELETE FROM operation WHERE n = ?", (operation.n,))
    if operation.caller is not None and operation.caller_generation is not None:
        answer = _answer(tx.now, operation, None, details)
        instances.post_result(tx, operation.caller, operation.caller_generation, answer)
    advance(tx, entity)


def _answer(now: int, operation: Operation, outcome: Any | None, whole_failure: Any | None) -> Any:
    request_id = operation.event.entityOperationCalled.requestId
    details = whole_failure
    if outcome is not None and outcome.HasField("success"):
        completed = pb.EntityOperationCompletedEvent(requestId=request_id, output=outcome.success.result)
        return event(now, entityOperationCompleted=completed)
    if outcome is not None and outcome.HasField("failure"):
        details = outcome.failure.failureDetails
    details = details or failure(
        "InvalidMessage", "the worker gave neither success nor failure for this operation"
    )
    return event(
        now, entityOperationFailed=pb.EntityOperationFailedEvent(requestId=request_id, failureDetails=details)
    )


def _keep_state(tx: Transaction, entity: str, state: str | None) -> None:
    tx.sql.execute(
        "INSERT INTO entity (id, state, modified) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (id) DO UPDATE SET state = ?2, modified = ?3",
        (entity, state, tx.now),
    )
    if state is None:
        _forget_if_empty(tx, entity)


def _forget_if_empty(tx: Transaction, entity: str) -> None:
    tx.sql.execute("DELETE FROM entity WHERE id = ? AND state IS NULL AND owner IS NULL", (entity,))


def _act(tx: Transaction, action: Any) -> None:
    kind = action.WhichOneof("operationActionType")
    if kind == "sendSignal":
        sent = action.sendSignal
        due = microseconds(sent.scheduledTime) if sent.HasField("scheduledTime") else None
        signal(tx, sent.instanceId, sent.name, value_of(sent, "input"), due=due)
    elif kind == "startNewOrchestration":
        started = action.startNewOrchestration
        instances.create(
            tx,
            started.instanceId or uuid.uuid4().hex,
            started.name,
            input=value_of(started, "input"),
            version=value_of(started, "version"),
            start_at=microseconds(started.scheduledTime) if started.HasField("scheduledTime") else None,
            trace=started.parentTraceContext if started.HasField("parentTraceContext") else None,
        )
    else:
        raise InvalidMessage(f"an entity returned an action of unknown kind {kind!r}")


def drop_unreadable(tx: Transaction, entity: str) -> None:
    """Remove operations that cannot be parsed; there is nobody who could be told."""
    for n, blob in tx.sql.execute("SELECT n, event FROM operation WHERE entity = ?", (entity,)).fetchall():
        try:
            pb.HistoryEvent.FromString(blob)
        except DecodeError:
            tx.sql.execute("DELETE FROM operation WHERE n = ?", (n,))
    advance(tx, entity)


def _owner(sql: sqlite3.Connection, entity: str) -> int | None:
    row = sql.execute("SELECT owner FROM entity WHERE id = ?", (entity,)).fetchone()
    return row[0] if row else None
