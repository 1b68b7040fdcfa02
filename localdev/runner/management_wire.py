"""What the management API says and hears, beside what the hub's protocol calls it: JSON, query parameters, codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import grpc
from aiohttp import web
from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue

LIVE = ("RUNNING", "PENDING", "CONTINUED_AS_NEW", "SUSPENDED")
CONTINUATION = "x-ms-continuation-token"
_EMPTY_KEY = "$"  # how a URL spells an entity whose key is the empty string


def status_document(state: pb.OrchestrationState, *, show_input: bool) -> dict[str, Any]:
    """The extension's StatusResponsePayload."""
    output = parse_payload(state.output.value) if state.HasField("output") else None
    if output is None and state.HasField("failureDetails"):
        output = state.failureDetails.errorMessage
    return {
        "name": state.name,
        "instanceId": state.instanceId,
        "runtimeStatus": public_status(state),
        "input": parse_payload(state.input.value) if show_input and state.HasField("input") else None,
        "customStatus": parse_payload(state.customStatus.value) if state.HasField("customStatus") else None,
        "output": output,
        "createdTime": _seconds(state.createdTimestamp),
        "lastUpdatedTime": _seconds(state.lastUpdatedTimestamp),
    }


def parse_payload(text: str) -> Any:
    """Payloads are JSON, except what a failure or a termination wrote as plain text."""
    try:
        return json.loads(text)
    except ValueError:
        return text or None


def status_name(state: pb.OrchestrationState) -> str:
    return str(pb.OrchestrationStatus.Name(state.orchestrationStatus)).removeprefix("ORCHESTRATION_STATUS_")


def public_status(state: pb.OrchestrationState) -> str:
    """RUNNING -> Running, CONTINUED_AS_NEW -> ContinuedAsNew"""
    return status_name(state).title().replace("_", "")


def status_parameter(request: web.Request) -> list[Any]:
    """`runtimeStatus=Running,Failed`; names that do not exist are ignored, as the extension ignores them."""
    wanted = {
        w.strip().lower() for value in request.query.getall("runtimeStatus", []) for w in value.split(",")
    }
    public = {
        name.removeprefix("ORCHESTRATION_STATUS_").replace("_", "").lower(): number
        for name, number in pb.OrchestrationStatus.items()
    }
    return [public[name] for name in wanted if name in public]


def entity_id(request: web.Request) -> str:
    key = request.match_info["key"]
    return f"@{request.match_info['name'].lower()}@{'' if key == _EMPTY_KEY else key}"


def entity_document(entity: pb.EntityMetadata) -> dict[str, Any]:
    name, _, key = entity.instanceId.removeprefix("@").partition("@")
    document = {
        "entityId": {"name": name, "key": key},
        "lastOperationTime": _seconds(entity.lastModifiedTime),
    }
    if entity.HasField("serializedState"):
        document["state"] = parse_payload(entity.serializedState.value)
    return document


def text_value(value: str | None) -> StringValue | None:
    return None if value is None else StringValue(value=value)


def checked_json(body: str) -> str:
    try:
        json.loads(body)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"Invalid JSON content: {error}") from error
    return body


def flag_parameter(request: web.Request, name: str, default: bool) -> bool:
    return {"true": True, "false": False}.get(request.query.get(name, "").lower(), default)


def page_size(request: web.Request) -> int:
    text = request.query.get("top", "")
    return int(text) if text.isdecimal() and int(text) else 100


def time_parameter(request: web.Request, name: str) -> Timestamp | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{name} is not an ISO 8601 time: {text!r}") from error
    stamp = Timestamp()
    stamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return stamp


def _seconds(stamp: Timestamp) -> str:
    return f"{stamp.ToDatetime():%Y-%m-%dT%H:%M:%SZ}"


def next_page(found: pb.QueryInstancesResponse | pb.QueryEntitiesResponse) -> dict[str, str]:
    return {CONTINUATION: found.continuationToken.value} if found.continuationToken.value else {}


def refusal(error: grpc.RpcError) -> web.Response:
    codes = {
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.ALREADY_EXISTS: 409,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.FAILED_PRECONDITION: 412,
        grpc.StatusCode.UNIMPLEMENTED: 501,
    }
    return web.json_response({"message": str(error.details())}, status=codes.get(error.code(), 500))
