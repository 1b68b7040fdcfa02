"""The durable extension's HTTP API, `/runtime/webhooks/durabletask`: start, look at, steer instances and entities.

It is a translation from HTTP to the hub's own gRPC protocol; status codes and bodies are those of the extension's
HttpApiHandler.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable

import grpc
from aiohttp import web
from azure.durable_functions.internal.compat.history_projection import project_history
from durabletask.client import TaskHubGrpcClient
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal import orchestrator_service_pb2_grpc as stubs
from google.protobuf.wrappers_pb2 import Int32Value

from localdev.runner.client_binding import WEBHOOK_PATH, ClientBinding
from localdev.runner.http_trigger import given_key
from localdev.runner.keys import DURABLE, Keys
from localdev.runner.management_wire import (
    CONTINUATION,
    LIVE,
    checked_json,
    entity_document,
    entity_id,
    flag_parameter,
    next_page,
    page_size,
    parse_payload,
    public_status,
    refusal,
    status_document,
    status_name,
    status_parameter,
    text_value,
    time_parameter,
)

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Handler = Callable[[web.Request], Awaitable[web.Response]]


class Management:
    """Blocking gRPC calls run in threads: the API is for people and tests, not for throughput."""

    def __init__(self, binding: ClientBinding, keys: Keys) -> None:
        self._binding, self._keys = binding, keys
        address = f"127.0.0.1:{binding.rpc_port}"
        self._channel = grpc.insecure_channel(address, options=_UNLIMITED)
        self._stub = stubs.TaskHubSidecarServiceStub(self._channel)
        self._client = TaskHubGrpcClient(channel=self._channel)

    def close(self) -> None:
        self._channel.close()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        instance = f"{WEBHOOK_PATH}/instances/{{id}}"
        for method, path, handler in (
            ("POST", f"{WEBHOOK_PATH}/orchestrators/{{name}}", self.start),
            ("POST", f"{WEBHOOK_PATH}/orchestrators/{{name}}/{{id}}", self.start),
            ("GET", f"{WEBHOOK_PATH}/instances", self.query),
            ("DELETE", f"{WEBHOOK_PATH}/instances", self.purge_many),
            ("GET", instance, self.status),
            ("DELETE", instance, self.purge),
            ("POST", f"{instance}/raiseEvent/{{event}}", self.raise_event),
            ("POST", f"{instance}/{{operation:terminate|suspend|resume}}", self.steer),
            ("POST", f"{instance}/rewind", self.rewind),
            ("POST", f"{instance}/restart", self.restart),
            ("GET", f"{WEBHOOK_PATH}/entities", self.list_entities),
            ("GET", f"{WEBHOOK_PATH}/entities/{{name}}", self.list_entities),
            ("GET", f"{WEBHOOK_PATH}/entities/{{name}}/{{key}}", self.read_entity),
            ("POST", f"{WEBHOOK_PATH}/entities/{{name}}/{{key}}", self.signal_entity),
            ("DELETE", f"{WEBHOOK_PATH}/entities/{{name}}/{{key}}", self.signal_entity),
        ):
            router.add_route(method, path, self._guarded(handler))
            if "{" not in path:
                router.add_route(method, f"{path}/", self._guarded(handler))

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.Response:
            if not self._keys.allows_system(DURABLE, given_key(request)):
                raise web.HTTPUnauthorized(text="")
            try:
                return await handler(request)
            except grpc.RpcError as error:
                return refusal(error)

        return guarded

    async def start(self, request: web.Request) -> web.Response:
        body = await request.text()
        instance_id = request.match_info.get("id") or uuid.uuid4().hex
        call = pb.CreateInstanceRequest(
            instanceId=instance_id,
            name=request.match_info["name"],
            input=text_value(checked_json(body) if body else None),
            version=text_value(request.query.get("version")),
        )
        await asyncio.to_thread(self._stub.StartInstance, call)
        return await self._accepted(request, instance_id)

    async def status(self, request: web.Request) -> web.Response:
        state = await self._state(request.match_info["id"], payloads=True)
        document = status_document(state, show_input=flag_parameter(request, "showInput", True))
        if flag_parameter(request, "showHistory", False):
            events = await asyncio.to_thread(self._client.get_orchestration_history, state.instanceId)
            document["historyEvents"] = project_history(
                events,
                show_input=flag_parameter(request, "showInput", True),
                show_history_output=flag_parameter(request, "showHistoryOutput", False),
            )
        if status_name(state) in LIVE:
            headers = {"Location": str(request.url), "Retry-After": "5"}
            return web.json_response(document, status=202, headers=headers)
        failed = state.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
        loud = failed and flag_parameter(request, "returnInternalServerErrorOnFailure", False)
        return web.json_response(document, status=500 if loud else 200)

    async def query(self, request: web.Request) -> web.Response:
        query = pb.InstanceQuery(
            runtimeStatus=status_parameter(request),
            createdTimeFrom=time_parameter(request, "createdTimeFrom"),
            createdTimeTo=time_parameter(request, "createdTimeTo"),
            maxInstanceCount=page_size(request),
            continuationToken=text_value(request.headers.get(CONTINUATION)),
            instanceIdPrefix=text_value(request.query.get("instanceIdPrefix")),
            fetchInputsAndOutputs=True,
        )
        found = await asyncio.to_thread(self._stub.QueryInstances, pb.QueryInstancesRequest(query=query))
        show_input = flag_parameter(request, "showInput", False)
        rows = [status_document(state, show_input=show_input) for state in found.orchestrationState]
        return web.json_response(rows, headers=next_page(found))

    async def purge(self, request: web.Request) -> web.Response:
        state = await self._state(request.match_info["id"])
        if status_name(state) in LIVE:
            text = (
                "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID "
                f"{state.instanceId} has status {public_status(state)}"
            )
            return web.json_response(text, status=412)
        done = await asyncio.to_thread(
            self._stub.PurgeInstances, pb.PurgeInstancesRequest(instanceId=state.instanceId)
        )
        return web.json_response({"instancesDeleted": done.deletedInstanceCount})

    async def purge_many(self, request: web.Request) -> web.Response:
        if "createdTimeFrom" not in request.query:
            raise web.HTTPBadRequest(text="Please provide value for 'createdTimeFrom' parameter.")
        chosen = pb.PurgeInstanceFilter(
            createdTimeFrom=time_parameter(request, "createdTimeFrom"),
            createdTimeTo=time_parameter(request, "createdTimeTo"),
            runtimeStatus=status_parameter(request),
        )
        done = await asyncio.to_thread(
            self._stub.PurgeInstances, pb.PurgeInstancesRequest(purgeInstanceFilter=chosen)
        )
        found = 200 if done.deletedInstanceCount else 404
        return web.json_response({"instancesDeleted": done.deletedInstanceCount}, status=found)

    async def raise_event(self, request: web.Request) -> web.Response:
        state = await self._state(request.match_info["id"])
        if status_name(state) not in LIVE:
            return web.Response(status=410)
        if request.content_type.lower() != "application/json":
            raise web.HTTPBadRequest(text="Only application/json request content is supported")
        call = pb.RaiseEventRequest(
            instanceId=state.instanceId,
            name=request.match_info["event"],
            input=text_value(checked_json(await request.text() or "null")),
        )
        await asyncio.to_thread(self._stub.RaiseEvent, call)
        return web.Response(status=202)

    async def steer(self, request: web.Request) -> web.Response:
        """Terminate, suspend or resume; 410 when there is nothing left to steer."""
        state = await self._state(request.match_info["id"])
        if status_name(state) not in LIVE:
            return web.Response(status=410)
        reason = request.query.get("reason")
        match request.match_info["operation"]:
            case "terminate":
                output = text_value(json.dumps(reason) if reason is not None else None)
                terminate = pb.TerminateRequest(instanceId=state.instanceId, output=output, recursive=True)
                await asyncio.to_thread(self._stub.TerminateInstance, terminate)
            case "suspend":
                suspend = pb.SuspendRequest(instanceId=state.instanceId, reason=text_value(reason))
                await asyncio.to_thread(self._stub.SuspendInstance, suspend)
            case _:
                resume = pb.ResumeRequest(instanceId=state.instanceId, reason=text_value(reason))
                await asyncio.to_thread(self._stub.ResumeInstance, resume)
        return web.Response(status=202)

    async def rewind(self, request: web.Request) -> web.Response:
        state = await self._state(request.match_info["id"])
        if state.orchestrationStatus != pb.ORCHESTRATION_STATUS_FAILED:
            text = (
                f"This orchestration has status {public_status(state)}, but only orchestrations in the "
                '"Failed" state can be rewound.'
            )
            return web.json_response(text, status=412)
        call = pb.RewindInstanceRequest(
            instanceId=state.instanceId, reason=text_value(request.query.get("reason"))
        )
        await asyncio.to_thread(self._stub.RewindInstance, call)
        return web.Response(status=202)

    async def restart(self, request: web.Request) -> web.Response:
        call = pb.RestartInstanceRequest(
            instanceId=request.match_info["id"],
            restartWithNewInstanceId=flag_parameter(request, "restartWithNewInstanceId", True),
        )
        try:
            made = await asyncio.to_thread(self._stub.RestartInstance, call)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise web.HTTPBadRequest(
                    text="InstanceId does not match a valid orchestration instance."
                ) from error
            raise
        return await self._accepted(request, made.instanceId)

    async def list_entities(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name")
        query = pb.EntityQuery(
            instanceIdStartsWith=text_value(f"@{name.lower()}@" if name else None),
            lastModifiedFrom=time_parameter(request, "lastOperationTimeFrom"),
            lastModifiedTo=time_parameter(request, "lastOperationTimeTo"),
            includeState=flag_parameter(request, "fetchState", False),
            pageSize=Int32Value(value=page_size(request)),
            continuationToken=text_value(request.headers.get(CONTINUATION)),
        )
        found = await asyncio.to_thread(self._stub.QueryEntities, pb.QueryEntitiesRequest(query=query))
        return web.json_response([entity_document(e) for e in found.entities], headers=next_page(found))

    async def read_entity(self, request: web.Request) -> web.Response:
        call = pb.GetEntityRequest(instanceId=entity_id(request), includeState=True)
        found = await asyncio.to_thread(self._stub.GetEntity, call)
        if not found.exists:
            raise web.HTTPNotFound(text="")
        return web.Response(
            text=found.entity.serializedState.value or "null", content_type="application/json"
        )

    async def signal_entity(self, request: web.Request) -> web.Response:
        body = await request.text()
        if body and request.content_type.lower() != "application/json":
            body = json.dumps(body)
        call = pb.SignalEntityRequest(
            instanceId=entity_id(request),
            name="delete" if request.method == "DELETE" else request.query.get("op", ""),
            input=text_value(checked_json(body) if body else None),
            requestId=str(uuid.uuid4()),
        )
        await asyncio.to_thread(self._stub.SignalEntity, call)
        return web.Response(status=202)

    async def _accepted(self, request: web.Request, instance_id: str) -> web.Response:
        """202 with the management URLs; with `timeout` and `pollingInterval`, wait for the outcome first."""
        timeout = request.query.get("timeout")
        if timeout is not None and "pollingInterval" in request.query:
            state = await self._wait(instance_id, float(timeout))
            if state is not None and status_name(state) == "COMPLETED":
                return web.json_response(parse_payload(state.output.value))
            if state is not None:
                return web.json_response(status_document(state, show_input=True))
        urls = {"id": instance_id, **self._binding.urls(instance_id, str(request.url.origin()))}
        headers = {"Location": urls["statusQueryGetUri"], "Retry-After": "10"}
        return web.json_response(urls, status=202, headers=headers)

    async def _wait(self, instance_id: str, timeout_s: float) -> pb.OrchestrationState | None:
        call = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
        try:
            done = await asyncio.to_thread(self._stub.WaitForInstanceCompletion, call, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return None
            raise
        state: pb.OrchestrationState = done.orchestrationState
        return state

    async def _state(self, instance_id: str, *, payloads: bool = False) -> pb.OrchestrationState:
        call = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=payloads)
        found = await asyncio.to_thread(self._stub.GetInstance, call)
        if not found.exists:
            raise web.HTTPNotFound(text="")
        state: pb.OrchestrationState = found.orchestrationState
        return state
