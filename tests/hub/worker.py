"""A worker's side of the wire, spoken by hand."""

from __future__ import annotations

from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf import wrappers_pb2

from localdev.runner.hub import WorkSession


def text(value: str) -> Any:
    return wrappers_pb2.StringValue(value=value)


def take(session: WorkSession, kind: str, timeout_s: float = 10) -> Any:
    item = session.next(timeout_s)
    assert item is not None and item.WhichOneof("request") == kind, item
    return item


def call_activities(session: WorkSession, count: int = 1, name: str = "act") -> Any:
    """Answer the next turn with that many activities; returns the turn's item."""
    item = take(session, "orchestratorRequest")
    actions = [
        pb.OrchestratorAction(id=i + 1, scheduleTask=pb.ScheduleTaskAction(name=name, input=text(str(i))))
        for i in range(count)
    ]
    session.complete_orchestrator(answer(item, *actions))
    return item


def answer(item: Any, *actions: Any) -> Any:
    return pb.OrchestratorResponse(
        instanceId=item.orchestratorRequest.instanceId, completionToken=item.completionToken, actions=actions
    )


def finished(item: Any, output: str = '"done"') -> Any:
    action = pb.CompleteOrchestrationAction(
        orchestrationStatus="ORCHESTRATION_STATUS_COMPLETED", result=text(output)
    )
    return answer(item, pb.OrchestratorAction(id=99, completeOrchestration=action))


def result(item: Any, value: str) -> Any:
    request = item.activityRequest
    return pb.ActivityResponse(
        instanceId=request.orchestrationInstance.instanceId,
        taskId=request.taskId,
        result=text(value),
        completionToken=item.completionToken,
    )


def results_in(item: Any) -> list[str]:
    return [
        e.taskCompleted.result.value
        for e in item.orchestratorRequest.newEvents
        if e.HasField("taskCompleted")
    ]
