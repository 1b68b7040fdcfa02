"""What an orchestrator may ask for in a turn. Each request is recorded in its history and carried out, atomically."""

from __future__ import annotations

from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from . import entities, instances
from .errors import InstanceExists, InvalidMessage
from .instances import FINAL, Instance, Kind, Status
from .messages import event, failure, microseconds, text, value_of
from .store import ActivityRef, Transaction


def apply(tx: Transaction, instance: Instance, kind: str | None, action: Any) -> list[Any]:
    """Carry out one action of `instance`; returns the history events that record it.

    Raises InvalidMessage for an action of no known kind.
    """
    match kind:
        case "scheduleTask":
            return [_schedule_activity(tx, instance, action)]
        case "createTimer":
            return [_create_timer(tx, instance, action)]
        case "createSubOrchestration":
            return [_create_child(tx, instance, action)]
        case "sendEvent":
            return [_send_event(tx, action)]
        case "sendEntityMessage":
            return [_message_entity(tx, instance, action)]
        case "terminateOrchestration":
            order = action.terminateOrchestration
            if target := instances.find(tx.sql, order.instanceId):
                terminate(tx, target, value_of(order, "reason"), recursive=order.recurse)
            return []
        case _:
            raise InvalidMessage(f"unknown orchestrator action {kind!r} (id {action.id})")


def _schedule_activity(tx: Transaction, instance: Instance, action: Any) -> Any:
    asked = action.scheduleTask
    scheduled = pb.TaskScheduledEvent(name=asked.name)
    request = pb.ActivityRequest(
        name=asked.name,
        taskId=action.id,
        orchestrationInstance=pb.OrchestrationInstance(
            instanceId=instance.id, executionId=text(instance.execution_id)
        ),
    )
    for message in (scheduled, request):
        if asked.HasField("version"):
            message.version.CopyFrom(asked.version)
        if asked.HasField("input"):
            message.input.CopyFrom(asked.input)
        if asked.HasField("parentTraceContext"):
            message.parentTraceContext.CopyFrom(asked.parentTraceContext)
        if asked.tags:
            message.tags.update(asked.tags)
    queue_activity(tx, instance, action.id, asked.name, value_of(asked, "version"), request)
    return event(tx.now, action.id, taskScheduled=scheduled)


def queue_activity(
    tx: Transaction, instance: Instance, task: int, name: str, version: str | None, request: Any
) -> None:
    row = tx.sql.execute(
        "INSERT INTO activity (instance, generation, task, name, version, request) VALUES (?, ?, ?, ?, ?, ?)",
        (instance.key, instance.generation, task, name, version, request.SerializeToString()),
    ).lastrowid
    assert row is not None
    tx.activities.append(ActivityRef(row, instance.key, name, version))


def _create_timer(tx: Transaction, instance: Instance, action: Any) -> Any:
    fire_at = microseconds(action.createTimer.fireAt)
    tx.sql.execute(
        "INSERT INTO timer (fire_at, instance, generation, timer) VALUES (?, ?, ?, ?)",
        (fire_at, instance.key, instance.generation, action.id),
    )
    tx.wake_at(fire_at)
    return event(tx.now, action.id, timerCreated=pb.TimerCreatedEvent(fireAt=action.createTimer.fireAt))


def _create_child(tx: Transaction, instance: Instance, action: Any) -> Any:
    asked = action.createSubOrchestration
    created = pb.SubOrchestrationInstanceCreatedEvent(
        instanceId=asked.instanceId, name=asked.name, version=text(value_of(asked, "version"))
    )
    if asked.HasField("input"):
        created.input.CopyFrom(asked.input)
    if asked.HasField("parentTraceContext"):
        created.parentTraceContext.CopyFrom(asked.parentTraceContext)
    start_child(tx, instance, action.id, created)
    return event(tx.now, action.id, subOrchestrationInstanceCreated=created)


def start_child(tx: Transaction, instance: Instance, task: int, created: Any) -> None:
    """Start a sub-orchestration; if its id is taken by one that runs, the parent's task fails and says so.

    A finished one is replaced, whatever the hub's policy: a retried sub-orchestration keeps its id.
    """
    parent = instances.Parent(
        instance.key, instance.generation, task, instance.id, instance.name, instance.execution_id
    )
    try:
        instances.create(
            tx,
            created.instanceId,
            created.name,
            input=value_of(created, "input"),
            version=value_of(created, "version"),
            tags=created.tags,
            trace=created.parentTraceContext if created.HasField("parentTraceContext") else None,
            parent=parent,
            replaceable=FINAL,
        )
    except (InstanceExists, InvalidMessage) as error:
        details = failure(type(error).__name__, str(error))
        failed = pb.SubOrchestrationInstanceFailedEvent(taskScheduledId=task, failureDetails=details)
        instances.post_result(
            tx, instance.key, instance.generation, event(tx.now, subOrchestrationInstanceFailed=failed)
        )


def _send_event(tx: Transaction, action: Any) -> Any:
    sent = action.sendEvent
    target_id = sent.instance.instanceId
    target = instances.find(tx.sql, target_id)
    if target and not target.status.is_final:
        raised = pb.EventRaisedEvent(name=sent.name, input=text(value_of(sent, "data")))
        instances.post(tx, target.key, Kind.EVENT, event(tx.now, eventRaised=raised))
    record = pb.EventSentEvent(instanceId=target_id, name=sent.name, input=text(value_of(sent, "data")))
    return event(tx.now, action.id, eventSent=record)


def _message_entity(tx: Transaction, instance: Instance, action: Any) -> Any:
    message = action.sendEntityMessage
    kind = message.WhichOneof("EntityMessageType")
    if kind is None:
        raise InvalidMessage(f"an entity message of unknown kind (id {action.id})")
    content = getattr(message, kind)
    record = event(tx.now, action.id, **{kind: content})
    caller = (instance.key, instance.generation)
    match kind:
        case "entityOperationSignaled":
            due = microseconds(content.scheduledTime) if content.HasField("scheduledTime") else None
            entities.send(
                tx, content.targetInstanceId.value, event(tx.now, entityOperationSignaled=content), due=due
            )
        case "entityOperationCalled":
            called = event(tx.now, entityOperationCalled=content)
            entities.send(tx, content.targetInstanceId.value, called, caller=caller)
        case "entityLockRequested":
            if not content.lockSet:
                raise InvalidMessage(f"a lock request for no entity (id {action.id})")
            asked = event(tx.now, entityLockRequested=content)
            entities.send(tx, content.lockSet[content.position], asked, caller=caller, is_lock=True)
        case _:
            entities.unlock(tx, content.targetInstanceId.value, content.criticalSectionId)
    return record


def terminate(tx: Transaction, instance: Instance, output: str | None, *, recursive: bool) -> None:
    """Have an instance end as TERMINATED: at once if it never ran, else in its next turn."""
    if instance.status.is_final:
        return
    content = pb.ExecutionTerminatedEvent(input=text(output), recurse=recursive)
    message = event(tx.now, executionTerminated=content)
    if instance.start_at is None or instance.events:
        instances.post(tx, instance.key, Kind.RELEASE, message)
        return
    closing = [message, *instances.finish(tx, instance, Status.TERMINATED, output, None)]
    instances.append_history(tx, instance, [e.SerializeToString() for e in closing])
    tx.sql.execute("UPDATE instance SET events = ? WHERE key = ?", (len(closing), instance.key))


def terminate_children(tx: Transaction, instance: Instance, output: str) -> None:
    for child in instances.children(tx.sql, instance.key, instance.generation):
        terminate(tx, child, f'"{output}"', recursive=True)
