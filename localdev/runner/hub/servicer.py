"""The gRPC surface: TaskHubSidecarService, for the SDK's own client and worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import durabletask.internal.orchestrator_service_pb2 as pb
import durabletask.internal.orchestrator_service_pb2_grpc as stubs
import grpc
from google.protobuf import wrappers_pb2

from .entity_management import Entity
from .errors import (
    HubClosed,
    HubError,
    HubFull,
    HubLocked,
    InstanceExists,
    InstanceNotFound,
    InstanceState,
    InvalidMessage,
)
from .instances import Instance
from .messages import microseconds, text, timestamp, to_datetime, value_of
from .session import Limits

if TYPE_CHECKING:
    from . import TaskHub

_PING_S = 20.0  # the SDK's worker takes 120 s of silence for a dead connection
_CHUNK_BYTES = 1_000_000

_CODES: dict[type[HubError], grpc.StatusCode] = {
    InstanceNotFound: grpc.StatusCode.NOT_FOUND,
    InstanceExists: grpc.StatusCode.ALREADY_EXISTS,
    InstanceState: grpc.StatusCode.FAILED_PRECONDITION,
    InvalidMessage: grpc.StatusCode.INVALID_ARGUMENT,
    HubFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HubLocked: grpc.StatusCode.UNAVAILABLE,
    HubClosed: grpc.StatusCode.UNAVAILABLE,
}


def _answering[S, Q, R](method: Callable[[S, Q, Any], R]) -> Callable[[S, Q, Any], R]:
    """Turn the hub's refusals into gRPC statuses."""

    @wraps(method)
    def call(self: S, request: Q, context: Any) -> R:
        try:
            return method(self, request, context)
        except HubError as error:
            context.abort(_CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))
            raise
        except TimeoutError as error:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
            raise

    return call


class HubServicer(stubs.TaskHubSidecarServiceServicer):  # type: ignore[misc]
    """Translates messages; every decision is the hub's."""

    def __init__(self, hub: TaskHub) -> None:
        self._hub = hub

    def Hello(self, request: Any, context: Any) -> Any:
        return type(request)()

    @_answering
    def StartInstance(self, request: Any, context: Any) -> Any:
        policy = request.orchestrationIdReusePolicy.replaceableStatus
        instance_id = self._hub.start(
            request.name,
            instance_id=request.instanceId or None,
            input=value_of(request, "input"),
            version=value_of(request, "version"),
            start_at=_moment(request, "scheduledStartTimestamp"),
            tags=request.tags,
            replaceable=list(policy) if policy else None,
            trace=request.parentTraceContext if request.HasField("parentTraceContext") else None,
        )
        return pb.CreateInstanceResponse(instanceId=instance_id)

    @_answering
    def GetInstance(self, request: Any, context: Any) -> Any:
        found = self._hub.get_instance(request.instanceId, payloads=request.getInputsAndOutputs)
        return _instance_response(found, request.getInputsAndOutputs)

    @_answering
    def WaitForInstanceStart(self, request: Any, context: Any) -> Any:
        return self._wait(request, context, finished=False)

    @_answering
    def WaitForInstanceCompletion(self, request: Any, context: Any) -> Any:
        return self._wait(request, context, finished=True)

    def _wait(self, request: Any, context: Any, *, finished: bool) -> Any:
        wake = threading.Event()
        context.add_callback(wake.set)
        found = self._hub.wait_for(
            request.instanceId,
            finished=finished,
            timeout_s=context.time_remaining(),
            wake=wake,
            still_wanted=context.is_active,
        )
        return _instance_response(found, request.getInputsAndOutputs)

    @_answering
    def RaiseEvent(self, request: Any, context: Any) -> Any:
        self._hub.raise_event(request.instanceId, request.name, value_of(request, "input"))
        return pb.RaiseEventResponse()

    @_answering
    def TerminateInstance(self, request: Any, context: Any) -> Any:
        self._hub.terminate(request.instanceId, value_of(request, "output"), recursive=request.recursive)
        return pb.TerminateResponse()

    @_answering
    def SuspendInstance(self, request: Any, context: Any) -> Any:
        self._hub.suspend(request.instanceId, value_of(request, "reason"))
        return pb.SuspendResponse()

    @_answering
    def ResumeInstance(self, request: Any, context: Any) -> Any:
        self._hub.resume(request.instanceId, value_of(request, "reason"))
        return pb.ResumeResponse()

    @_answering
    def RewindInstance(self, request: Any, context: Any) -> Any:
        self._hub.rewind(request.instanceId, value_of(request, "reason"))
        return pb.RewindInstanceResponse()

    @_answering
    def RestartInstance(self, request: Any, context: Any) -> Any:
        chosen = self._hub.restart(request.instanceId, new_id=request.restartWithNewInstanceId)
        return pb.RestartInstanceResponse(instanceId=chosen)

    @_answering
    def QueryInstances(self, request: Any, context: Any) -> Any:
        query = request.query
        page, token = self._hub.query(
            statuses=list(query.runtimeStatus),
            created_from=_moment(query, "createdTimeFrom"),
            created_to=_moment(query, "createdTimeTo"),
            prefix=value_of(query, "instanceIdPrefix"),
            page_size=query.maxInstanceCount,
            token=value_of(query, "continuationToken"),
            payloads=query.fetchInputsAndOutputs,
        )
        return pb.QueryInstancesResponse(
            orchestrationState=[_state(found) for found in page], continuationToken=text(token)
        )

    @_answering
    def ListInstanceIds(self, request: Any, context: Any) -> Any:
        ids, token = self._hub.list_finished(
            statuses=list(request.runtimeStatus),
            completed_from=_moment(request, "completedTimeFrom"),
            completed_to=_moment(request, "completedTimeTo"),
            page_size=request.pageSize,
            token=value_of(request, "lastInstanceKey"),
        )
        return pb.ListInstanceIdsResponse(instanceIds=ids, lastInstanceKey=text(token))

    @_answering
    def PurgeInstances(self, request: Any, context: Any) -> Any:
        match request.WhichOneof("request"):
            case "instanceId":
                count = self._hub.purge(request.instanceId, recursive=request.recursive)
            case "instanceBatch":
                ids = request.instanceBatch.instanceIds
                count = sum(self._hub.purge(one, recursive=request.recursive) for one in ids)
            case "purgeInstanceFilter":
                chosen = request.purgeInstanceFilter
                count = self._hub.purge_where(
                    statuses=list(chosen.runtimeStatus),
                    created_from=_moment(chosen, "createdTimeFrom"),
                    created_to=_moment(chosen, "createdTimeTo"),
                    recursive=request.recursive,
                )
            case _:
                raise InvalidMessage("a purge request names neither an instance, nor a batch, nor a filter")
        return pb.PurgeInstancesResponse(
            deletedInstanceCount=count, isComplete=wrappers_pb2.BoolValue(value=True)
        )

    def StreamInstanceHistory(self, request: Any, context: Any) -> Iterator[Any]:
        try:
            events = self._hub.history(request.instanceId)
        except HubError as error:
            context.abort(_CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))
            return
        chunk, size = pb.HistoryChunk(), 0
        for one in events:
            chunk.events.append(one)
            size += one.ByteSize()
            if size > _CHUNK_BYTES:
                yield chunk
                chunk, size = pb.HistoryChunk(), 0
        yield chunk

    def GetWorkItems(self, request: Any, context: Any) -> Iterator[Any]:
        try:
            session = self._hub.connect_remote(context.peer(), _limits(request))
        except HubClosed as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            return
        if not context.add_callback(session.lose):
            session.lose()
        while not session.closed:
            item = session.next(_PING_S)
            if item is not None:
                yield item
            elif not session.closed:
                yield pb.WorkItem(healthPing=pb.HealthPing())

    @_answering
    def CompleteOrchestratorTask(self, request: Any, context: Any) -> Any:
        self._hub.delivery.complete_turn(request)
        return pb.CompleteTaskResponse()

    @_answering
    def CompleteActivityTask(self, request: Any, context: Any) -> Any:
        self._hub.delivery.complete_activity(request)
        return pb.CompleteTaskResponse()

    @_answering
    def CompleteEntityTask(self, request: Any, context: Any) -> Any:
        self._hub.delivery.complete_batch(request)
        return pb.CompleteTaskResponse()

    @_answering
    def AbandonTaskOrchestratorWorkItem(self, request: Any, context: Any) -> Any:
        self._hub.delivery.abandon(request.completionToken)
        return pb.AbandonOrchestrationTaskResponse()

    @_answering
    def AbandonTaskActivityWorkItem(self, request: Any, context: Any) -> Any:
        self._hub.delivery.abandon(request.completionToken)
        return pb.AbandonActivityTaskResponse()

    @_answering
    def AbandonTaskEntityWorkItem(self, request: Any, context: Any) -> Any:
        self._hub.delivery.abandon(request.completionToken)
        return pb.AbandonEntityTaskResponse()

    @_answering
    def SignalEntity(self, request: Any, context: Any) -> Any:
        at = _moment(request, "scheduledTime")
        self._hub.signal_entity(
            request.instanceId, request.name, value_of(request, "input"), at=at, request_id=request.requestId
        )
        return pb.SignalEntityResponse()

    @_answering
    def GetEntity(self, request: Any, context: Any) -> Any:
        found = self._hub.get_entity(request.instanceId)
        if found is None:
            return pb.GetEntityResponse(exists=False)
        return pb.GetEntityResponse(exists=True, entity=_entity(found, request.includeState))

    @_answering
    def QueryEntities(self, request: Any, context: Any) -> Any:
        query = request.query
        page, token = self._hub.query_entities(
            prefix=value_of(query, "instanceIdStartsWith"),
            modified_from=_moment(query, "lastModifiedFrom"),
            modified_to=_moment(query, "lastModifiedTo"),
            transient=query.includeTransient,
            page_size=query.pageSize.value,
            token=value_of(query, "continuationToken"),
        )
        found = [_entity(one, query.includeState) for one in page]
        return pb.QueryEntitiesResponse(entities=found, continuationToken=text(token))

    @_answering
    def CleanEntityStorage(self, request: Any, context: Any) -> Any:
        removed, released = self._hub.clean_entities(
            remove_empty=request.removeEmptyEntities, release_orphaned_locks=request.releaseOrphanedLocks
        )
        return pb.CleanEntityStorageResponse(emptyEntitiesRemoved=removed, orphanedLocksReleased=released)

    def CreateTaskHub(self, request: Any, context: Any) -> Any:
        return pb.CreateTaskHubResponse()

    def DeleteTaskHub(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "a hub is deleted by deleting its file")

    def SkipGracefulOrchestrationTerminations(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "terminate them one by one")


def _moment(message: Any, field: str) -> datetime | None:
    return to_datetime(microseconds(getattr(message, field))) if message.HasField(field) else None


def _instance_response(found: Instance | None, payloads: bool) -> Any:
    if found is None:
        return pb.GetInstanceResponse(exists=False)
    state = _state(found)
    if not payloads:
        state.ClearField("input")
        state.ClearField("output")
    return pb.GetInstanceResponse(exists=True, orchestrationState=state)


def _state(found: Instance) -> Any:
    return pb.OrchestrationState(
        instanceId=found.id,
        name=found.name,
        version=text(found.version),
        orchestrationStatus=found.status.name_on_wire,
        scheduledStartTimestamp=timestamp(found.start_at) if found.start_at is not None else None,
        createdTimestamp=timestamp(found.created),
        lastUpdatedTimestamp=timestamp(found.updated),
        completedTimestamp=timestamp(found.completed) if found.completed is not None else None,
        input=text(found.input),
        output=text(found.output),
        customStatus=text(found.custom_status),
        failureDetails=found.failure,
        executionId=text(found.execution_id),
        parentInstanceId=text(found.parent_id),
        tags=found.tags,
    )


def _entity(found: Entity, include_state: bool) -> Any:
    return pb.EntityMetadata(
        instanceId=found.id,
        lastModifiedTime=timestamp(found.modified),
        backlogQueueSize=found.backlog,
        lockedBy=text(found.locked_by),
        serializedState=text(found.state) if include_state else None,
    )


def _limits(request: Any) -> Limits:
    counts = (
        request.maxConcurrentOrchestrationWorkItems,
        request.maxConcurrentActivityWorkItems,
        request.maxConcurrentEntityWorkItems,
    )
    if not request.HasField("workItemFilters"):
        return Limits(*counts)
    filters = request.workItemFilters
    names = frozenset(one.name for one in filters.entities)
    return Limits(
        *counts,
        accepts_orchestration=_accepts(filters.orchestrations),
        accepts_activity=_accepts(filters.activities),
        accepts_entity=lambda entity: entity.split("@")[1] in names,
    )


def _accepts(filters: Any) -> Callable[[str, str | None], bool]:
    """A name is accepted in the versions given with it, or in any if none were."""
    versions: dict[str, set[str]] = {}
    for one in filters:
        versions.setdefault(one.name, set()).update(one.versions)
    return lambda name, version: (
        name in versions and (not versions[name] or (version or "") in versions[name])
    )
