"""Rewind: a failed instance goes on from its last good step.

The SDK's worker does the rewriting: it is given the failed history and one executionRewound event, and answers with
the history without the failures. The hub stores that, rewinds failed children, and runs the instance again.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from . import actions, instances
from .errors import InstanceState
from .instances import Instance, Kind, Status
from .messages import event, text
from .store import Transaction


def begin(
    tx: Transaction, instance: Instance, reason: str | None, parent_execution_id: str | None = None
) -> None:
    """Ask for the rewind of a failed instance; raises InstanceState for any other."""
    if instance.status is not Status.FAILED:
        raise InstanceState(
            f"only a failed instance can be rewound; {instance.id!r} is {instance.status.name.lower()}"
        )
    tx.sql.execute(
        "UPDATE instance SET status = ?, output = NULL, failure = NULL, completed = NULL WHERE key = ?",
        (Status.RUNNING, instance.key),
    )
    rewound = pb.ExecutionRewoundEvent(
        reason=text(reason), instanceId=text(instance.id), parentExecutionId=text(parent_execution_id)
    )
    instances.post(tx, instance.key, Kind.REWIND, event(tx.now, executionRewound=rewound))
    tx.changed[instance.id] = None


def replace_history(tx: Transaction, instance: Instance, history: Sequence[Any]) -> None:
    """Store the history the worker rewrote, rewind what failed below, and run the instance again."""
    execution_id = next(
        (
            e.executionStarted.orchestrationInstance.executionId.value
            for e in history
            if e.HasField("executionStarted")
        ),
        "",
    )
    tx.sql.execute("DELETE FROM history WHERE instance = ?", (instance.key,))
    tx.sql.executemany(
        "INSERT INTO history (instance, seq, event) VALUES (?, ?, ?)",
        [(instance.key, i, e.SerializeToString()) for i, e in enumerate(history)],
    )
    tx.sql.execute(
        "UPDATE instance SET events = ?, updated = ?, execution_id = ? WHERE key = ?",
        (len(history), max(tx.now, instance.updated), execution_id or uuid.uuid4().hex, instance.key),
    )
    reason = next(
        (e.executionRewound.reason.value for e in reversed(history) if e.HasField("executionRewound")), None
    )
    _rewind_children(tx, instance, history, reason, execution_id)
    instances.post(tx, instance.key, Kind.WAKE, None)


def _rewind_children(
    tx: Transaction, instance: Instance, history: Sequence[Any], reason: str | None, execution_id: str
) -> None:
    completed = {
        e.subOrchestrationInstanceCompleted.taskScheduledId
        for e in history
        if e.HasField("subOrchestrationInstanceCompleted")
    }
    created = {e.eventId: e for e in history if e.HasField("subOrchestrationInstanceCreated")}
    for task, record in created.items():
        if task in completed:
            continue
        child = instances.find(tx.sql, record.subOrchestrationInstanceCreated.instanceId)
        if child is None or child.parent_key != instance.key:
            actions.start_child(tx, instance, task, record.subOrchestrationInstanceCreated)
        elif child.status is Status.FAILED:
            begin(tx, child, reason, execution_id)
        elif child.status is Status.TERMINATED:
            actions.start_child(tx, instance, task, record.subOrchestrationInstanceCreated)
