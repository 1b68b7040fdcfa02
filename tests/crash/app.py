"""The deployed app's functions, as the host would call them, without a host."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

from azure.durable_functions.worker import DurableFunctionsWorker
from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.wrappers_pb2 import StringValue

from localdev.runner.failures import Failure
from localdev.runner.hub import Instance, Status, TaskHub

Reach = Callable[[str], None]


@cache
def functions() -> dict[str, Any]:
    """User functions by name, as the decorators registered them."""
    import function_app

    return {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}


@cache
def _executor(name: str) -> DurableFunctionsWorker:
    return DurableFunctionsWorker()


def run_turn(request: pb.OrchestratorRequest, function: Any = None) -> pb.OrchestratorResponse:
    """Execute one turn the way the trigger path does, in the SDK's own executor."""
    name = name_of(request)
    executor = _executor(name) if function is None else DurableFunctionsWorker()
    encoded = base64.b64encode(request.SerializeToString()).decode()
    user = function or functions()[name].orchestrator_function
    answer: Any = executor.execute_orchestration_request(user, encoded)
    response: pb.OrchestratorResponse = pb.OrchestratorResponse.FromString(base64.b64decode(answer))
    return response


def name_of(request: pb.OrchestratorRequest) -> str:
    for event in (*request.pastEvents, *request.newEvents):
        if event.HasField("executionStarted"):
            return str(event.executionStarted.name)
    raise ValueError(f"{request.instanceId} was never started")


def run_activity(request: pb.ActivityRequest) -> str:
    """The activity's answer as JSON text. Raises what it raised."""
    payload = json.loads(request.input.value) if request.HasField("input") else None
    return json.dumps(functions()[request.name](payload))


def activity_response(
    item: pb.WorkItem, result: str | None, error: BaseException | None
) -> pb.ActivityResponse:
    request = item.activityRequest
    response = pb.ActivityResponse(
        instanceId=request.orchestrationInstance.instanceId,
        taskId=request.taskId,
        completionToken=item.completionToken,
    )
    if error is not None:
        response.failureDetails.CopyFrom(Failure.of(error).details())
    elif result is not None:
        response.result.CopyFrom(StringValue(value=result))
    return response


def run_timer(name: str, moment: datetime, client: HubClient) -> None:
    timer: Any = SimpleNamespace(schedule_status={"Next": moment.isoformat()}, past_due=False)
    _call(functions()[name].client_function, timer, client)


def run_http(
    name: str, client: HubClient, body: bytes = b"", headers: Mapping[str, str] | None = None, **route: str
) -> Any:
    """Call an HTTP function; gives its response."""
    import azure.functions as func

    request = func.HttpRequest(
        method="POST", url=f"http://localhost/api/{name}", headers=headers or {}, params={}, route_params=route,
        body=body,
    )  # fmt: skip
    return _call(functions()[name].client_function, request, client)


def user_id(name: str) -> str:
    return f"id-of-{name}"


def principal(name: str) -> dict[str, str]:
    """What platform authentication says of a person who may deploy and approve."""
    claims = [{"typ": "roles", "val": role} for role in ("Model.Deploy", "Model.Approve")]
    return {
        "x-ms-client-principal-id": user_id(name),
        "x-ms-client-principal-name": name,
        "x-ms-client-principal": base64.b64encode(json.dumps({"claims": claims}).encode()).decode(),
    }


def _call(function: Callable[..., Awaitable[Any]], first: Any, client: HubClient) -> Any:
    async def called() -> Any:
        return await function(first, client)

    return asyncio.run(called())


class HubClient:
    """The durable client's methods that the app uses, on the hub in this process. What it changes is an effect."""

    def __init__(self, hub: Callable[[], TaskHub], visit: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._hub, self._visit = hub, visit

    async def start_new(self, name: str, instance_id: str, payload: Any) -> str:
        started: str = self._visit(
            f"start {name}",
            lambda: self._hub().start(name, instance_id=instance_id, input=json.dumps(payload)),
        )
        return started

    async def get_status(self, instance_id: str) -> Any:
        found = self._hub().get_instance(instance_id)
        if found is None:
            return None
        return SimpleNamespace(
            instance_id=found.id,
            name=found.name,
            runtime_status=SimpleNamespace(name=found.status.name.capitalize()),
            output=_output_of(found),
            custom_status=json.loads(found.custom_status) if found.custom_status else None,
            created_time=found.created_at,
            last_updated_time=found.updated_at,
        )

    async def get_status_by(self, *, runtime_status: Sequence[Any]) -> list[Any]:
        wanted = {
            Status[status.name.upper()]
            for status in runtime_status
            if status.name.upper() in Status.__members__
        }
        found, _ = self._hub().query(statuses=wanted)
        return [await self.get_status(instance.id) for instance in found]

    async def raise_event(self, instance_id: str, name: str, data: Any) -> None:
        self._visit(f"raise {name}", lambda: self._hub().raise_event(instance_id, name, json.dumps(data)))


def _output_of(instance: Instance) -> Any:
    if instance.failure is not None:
        return instance.failure.errorMessage
    return json.loads(instance.output) if instance.output else None


def forget() -> None:
    """Lose what the app keeps in memory for the life of its process."""
    from shared.azure import agent, ml_endpoints

    agent.upload_agent.cache_clear()
    ml_endpoints.location.cache_clear()
