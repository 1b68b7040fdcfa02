"""Hands the hub's work items to functions the way the durable extension does: the trigger path.

Orchestrators and entities get base64 protobuf and answer base64 protobuf, activities JSON; see OutOfProcMiddleware of
the extension, whose failure texts are imitated too.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from azure_functions_runtime.bindings.datumdef import Datum
from durabletask.internal import helpers
from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue

from localdev.runner.failures import failure_details
from localdev.runner.hub import HubError, WorkSession
from localdev.runner.invoker import Invoker, Result
from localdev.runner.loader import Function
from localdev.runner.log import logger

ORCHESTRATOR, ACTIVITY, ENTITY = "orchestrator", "activity", "entity"
TRIGGERS = {"orchestrationTrigger": ORCHESTRATOR, "activityTrigger": ACTIVITY, "entityTrigger": ENTITY}
_POLL_S = 0.1
_COMPLETERS = 4  # threads that write outcomes to the hub, so that user code never waits for its disk


class Dispatcher:
    """Runs work items of one session until stopped. Work that has not ended by then goes back to the hub.

    The session's limits say how many of each kind are in hand at once.
    """

    def __init__(self, session: WorkSession, functions: list[Function], invoker: Invoker) -> None:
        self._session, self._invoker = session, invoker
        self._functions = _by_durable_name(functions)
        self._idle = threading.Condition()
        self._in_hand = 0
        self._stopping = self._closed = False
        self._pump = threading.Thread(target=self._run, name="durable-dispatcher", daemon=True)
        self._completers = ThreadPoolExecutor(_COMPLETERS, thread_name_prefix="durable-completer")

    def start(self) -> None:
        self._pump.start()

    def stop(self, grace_s: float) -> None:
        """Take no more work, give what runs `grace_s` to end, return the rest to the hub for redelivery."""
        self._stopping = True
        self._pump.join(timeout=_POLL_S * 20)
        deadline = time.monotonic() + grace_s
        with self._idle:
            while self._in_hand and (left := deadline - time.monotonic()) > 0:
                self._idle.wait(left)
            self._closed = self._in_hand > 0  # what ends later ends unheard and is redelivered
        if self._closed:
            logger.warning("%d work items did not end in time; they will be redelivered", self._in_hand)
        self._completers.shutdown(wait=not self._closed, cancel_futures=True)
        self._session.close()

    def _run(self) -> None:
        begin = {ORCHESTRATOR: self._orchestrate, ACTIVITY: self._act, ENTITY: self._operate}
        while not self._stopping:
            item = self._session.next(_POLL_S)
            if item is None:
                continue
            kind = _kind(item)
            with self._idle:
                self._in_hand += 1
            try:
                begin[kind](item)
            except Exception:  # noqa: BLE001 one bad item must not end the pump
                logger.exception("a work item (%s) could not be dispatched", kind)
                self._session.abandon(item)
                self._ended()

    def _ended(self) -> None:
        with self._idle:
            self._in_hand -= 1
            self._idle.notify_all()

    def _orchestrate(self, item: pb.WorkItem) -> None:
        request = item.orchestratorRequest
        name = _orchestration_name(request)
        function = self._functions[ORCHESTRATOR].get(name.lower())

        def answer(result: Result | None) -> None:
            if result is None:
                response = _failed_orchestration(self._unknown(ORCHESTRATOR, name), None)
            else:
                response, failure = _decoded(result, pb.OrchestratorResponse)
                if failure is not None:
                    text = f"Function '{name}' failed with an unhandled exception."
                    response = _failed_orchestration(text, failure)
            response.instanceId = request.instanceId
            response.completionToken = item.completionToken
            self._session.complete_orchestrator(response)

        self._call(function, ORCHESTRATOR, _encode(request), answer, item)

    def _act(self, item: pb.WorkItem) -> None:
        request = item.activityRequest
        function = self._functions[ACTIVITY].get(request.name.lower())

        def answer(result: Result | None) -> None:
            response = pb.ActivityResponse(
                instanceId=request.orchestrationInstance.instanceId,
                taskId=request.taskId,
                completionToken=item.completionToken,
            )
            if result is None:
                text = self._unknown(ACTIVITY, request.name)
                response.failureDetails.CopyFrom(failure_details("ActivityFunctionNotFound", text))
            elif result.failure is not None:
                response.failureDetails.CopyFrom(result.failure.details())
            elif result.value is not None and result.value.value is not None:
                response.result.CopyFrom(StringValue(value=result.value.value))
            self._session.complete_activity(response)

        text = request.input.value if request.HasField("input") else "null"
        self._call(function, ACTIVITY, Datum(text, "json"), answer, item)

    def _operate(self, item: pb.WorkItem) -> None:
        infos: list[pb.OperationInfo] = []
        if item.HasField("entityRequestV2"):
            request, infos = helpers.convert_to_entity_batch_request(item.entityRequestV2)
        else:
            request = item.entityRequest
        name = request.instanceId.removeprefix("@").partition("@")[0]
        function = self._functions[ENTITY].get(name.lower())

        def answer(result: Result | None) -> None:
            if result is None:
                batch = _failed_batch(request, "EntityFunctionNotFound", self._unknown(ENTITY, name), None)
            else:
                batch, failure = _decoded(result, pb.EntityBatchResult)
                if failure is not None:
                    text = f"Invocation of function '{name}' failed with an exception."
                    batch = _failed_batch(request, "FunctionInvocationFailed", text, failure)
            batch.completionToken = item.completionToken
            if infos and not batch.operationInfos:
                batch.operationInfos.extend(infos)
            self._session.complete_entity(batch)

        self._call(function, ENTITY, _encode(request), answer, item)

    def _call(
        self,
        function: Function | None,
        kind: str,
        trigger: Datum,
        answer: Callable[[Result | None], None],
        item: pb.WorkItem,
    ) -> None:
        """Invoke `function` (None: there is no such function) and report on a completer thread."""

        def report(result: Result | None) -> None:
            try:
                answer(result)
            except HubError as error:  # the hub gives the item out again when it can
                logger.error("an outcome (%s) could not be stored: %s", kind, error)
            except Exception:  # noqa: BLE001 a thread pool would swallow it
                logger.exception("an outcome (%s) could not be recorded; it will be redelivered", kind)
                self._session.abandon(item)
            finally:
                self._ended()

        def invoked(future: Future[Result]) -> None:
            if not future.cancelled() and not self._closed:
                self._completers.submit(report, future.result())

        if function is None:
            self._completers.submit(report, None)
        else:
            self._invoker.submit(function, trigger, kind).add_done_callback(invoked)

    def _unknown(self, kind: str, name: str) -> str:
        known = "', '".join(f.durable_name for f in self._functions[kind].values())
        tail = (
            f"The following are the known {kind} functions: '{known}'."
            if known
            else f"No {kind} functions are currently registered!"
        )
        return f"The function '{name}' doesn't exist, is disabled, or is not an {kind} function. Additional info: {tail}"


def _by_durable_name(functions: list[Function]) -> dict[str, dict[str, Function]]:
    table: dict[str, dict[str, Function]] = {ORCHESTRATOR: {}, ACTIVITY: {}, ENTITY: {}}
    for function in functions:
        kind = TRIGGERS.get(function.trigger_type)
        if kind is not None:
            table[kind][function.durable_name.lower()] = function
    return table


def _kind(item: pb.WorkItem) -> str:
    if item.HasField("orchestratorRequest"):
        return ORCHESTRATOR
    return ACTIVITY if item.HasField("activityRequest") else ENTITY


def _encode(message: pb.OrchestratorRequest | pb.EntityBatchRequest) -> Datum:
    return Datum(base64.b64encode(message.SerializeToString()).decode(), "string")


def _orchestration_name(request: pb.OrchestratorRequest) -> str:
    """Of the last generation: continue-as-new leaves one ExecutionStarted per history."""
    for events in (request.newEvents, request.pastEvents):
        for event in reversed(events):
            if event.HasField("executionStarted"):
                return str(event.executionStarted.name)
    raise ValueError(f"no ExecutionStarted event in the history of {request.instanceId}")


def _decoded(result: Result, message: type[Any]) -> tuple[Any, pb.TaskFailureDetails | None]:
    """The protobuf that a trigger-path function returned in base64, or why there is none."""
    if result.failure is not None:
        return None, result.failure.details()
    try:
        return message.FromString(base64.b64decode(result.value.value, validate=True)), None
    except (ValueError, TypeError, AttributeError, DecodeError) as error:
        return None, failure_details(
            "InvalidOperationException", f"the function returned no {message.__name__}: {error}"
        )


def _failed_orchestration(message: str, cause: pb.TaskFailureDetails | None) -> pb.OrchestratorResponse:
    details = failure_details("OrchestrationFailed", message)
    if cause is not None:
        details.innerFailure.CopyFrom(cause)
    action = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED,
        result=StringValue(value=message),
        failureDetails=details,
    )
    return pb.OrchestratorResponse(actions=[pb.OrchestratorAction(id=-1, completeOrchestration=action)])


def _failed_batch(
    request: pb.EntityBatchRequest, kind: str, message: str, cause: pb.TaskFailureDetails | None
) -> pb.EntityBatchResult:
    """No operation happened and the state is unchanged; every caller learns why."""
    details = failure_details(kind, message, retriable=False)
    if cause is not None:
        details.innerFailure.CopyFrom(cause)
    return pb.EntityBatchResult(entityState=request.entityState, failureDetails=details)
