"""Who am I: the identity endpoint of the host (App Service) and the metadata service of machines (169.254.169.254).

Sources: learn.microsoft.com app-service/overview-managed-identity ("REST endpoint reference"),
virtual-machines/instance-metadata-service, how-to-use-vm-token, linux/scheduled-events.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from localdev.azuresim import tokens
from localdev.azuresim.compute.lifecycle import VIRTUAL_MACHINES
from localdev.azuresim.estate import APP, HOST, IDENTITIES, Identity
from localdev.azuresim.ml import node_identity
from localdev.azuresim.store import Resource
from localdev.azuresim.tokens import Principal
from localdev.azuresim.world import World

HOST_NAME = "169.254.169.254"
_VERSIONS = (
    "2017-08-01",
    "2017-12-01",
    "2018-02-01",
    "2019-06-01",
    "2020-06-01",
    "2021-01-01",
    "2021-02-01",
    "2023-07-01",
)
_TOKEN_OPERATION = "identity/token"
_NO_IDENTITY = (
    "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
)


class HostIdentity:
    """`IDENTITY_ENDPOINT` of a Functions app: plain http on loopback, guarded by a secret header."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.secret = secrets.token_hex(16)

    async def serve(self, request: web.Request) -> web.Response:
        if request.path == node_identity.PATH:
            return self._of_a_node(request)
        if request.headers.get("X-IDENTITY-HEADER") != self.secret:
            return _json(401, {"statusCode": 401, "message": "Unauthorized"})
        if refusal := _fault(self._world, "host"):
            return refusal
        resource = request.query.get("resource")
        if not resource or request.query.get("api-version") != "2019-08-01":
            return _json(
                400, {"statusCode": 400, "message": "resource and api-version=2019-08-01 are required."}
            )
        identity = self._identity(request.query)
        if identity is None:
            return _json(400, {"statusCode": 400, "message": _NO_IDENTITY})
        return _token(self._world, Principal(identity), resource)

    def _of_a_node(self, request: web.Request) -> web.Response:
        """The endpoint that Azure Machine Learning opens on the nodes of its clusters and in the servers of endpoints."""
        vm_id = self._world.machines.owner_of(request.headers.get("secret", ""))
        cluster = node_identity.cluster_of(self._world, vm_id)
        asker = cluster.id if cluster else vm_id
        own = node_identity.client_ids(cluster) if cluster else self._served_as(vm_id)
        if not any(own):
            return _json(401, {"error": "unauthorized"})
        if refusal := _fault(self._world, asker):
            return refusal
        resource = request.query.get("resource")
        if not resource or request.query.get("api-version") != node_identity.VERSION:
            return _bad(f"resource and api-version={node_identity.VERSION} are required")
        identity = node_identity.assigned(own, request.query.get("clientid", ""))
        if identity is None:
            return _bad("Identity not found")
        return _token(self._world, Principal(identity, asker), resource)

    def _served_as(self, machine: str) -> list[str]:
        serving = self._world.serving
        return [serving.client_id_of(machine)] if serving else []

    def _identity(self, query: Mapping[str, str]) -> Identity | None:
        asked: dict[str, Callable[[Identity], str]] = {
            "client_id": lambda identity: identity.client_id,
            "principal_id": lambda identity: identity.object_id,
            "mi_res_id": lambda identity: identity.id,
        }
        for name, read in asked.items():
            if name in query:
                found = [each for each in (APP, HOST) if read(each).casefold() == query[name].casefold()]
                return found[0] if found else None
        return HOST


class InstanceMetadata:
    """What a machine sees at 169.254.169.254. Which machine asks is known from the proxy's credentials."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(
        self,
        vm_id: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> web.Response:
        vm = self._machine(vm_id)
        if vm is None:
            return _json(503, {"error": "the machine is gone"})
        given = {name.casefold(): value for name, value in headers.items()}
        if given.get("metadata", "").casefold() != "true":
            return _bad("Required metadata header not specified")
        if "x-forwarded-for" in given:
            return _bad("Proxied requests are not allowed")
        match path.rstrip("/").casefold():
            case "/metadata/identity/oauth2/token":
                return self._token(vm, query)
            case "/metadata/scheduledevents":
                return self._scheduled_events(vm, method, body)
            case place if place.startswith("/metadata/instance"):
                return self._instance(vm, place, query)
        return _json(404, {"error": "Not found"})

    def _token(self, vm: Resource, query: Mapping[str, str]) -> web.Response:
        if refusal := _fault(self._world, vm.id):
            return refusal
        resource = query.get("resource")
        if not resource:
            return _bad("Required query variable 'resource' is missing")
        assigned: dict[str, dict[str, str]] = vm.extra.get("identity", {}).get("userAssignedIdentities", {})
        wanted = {
            key: query[key].casefold()
            for key in ("client_id", "object_id", "principal_id", "mi_res_id", "msi_res_id")
            if key in query
        }
        found = [
            id_
            for id_, each in assigned.items()
            if all(
                value in (each["clientId"].casefold(), each["principalId"].casefold(), id_.casefold())
                for value in wanted.values()
            )
        ]
        if not found:
            return _bad("Identity not found")
        if len(found) > 1:
            return _bad(
                "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity "
                "in the token request"
            )
        object_id = assigned[found[0]]["principalId"]
        identity = next(each for each in IDENTITIES if each.object_id == object_id)
        return _token(self._world, Principal(identity, vm.id), resource)

    def _instance(self, vm: Resource, path: str, query: Mapping[str, str]) -> web.Response:
        if query.get("api-version", "") not in _VERSIONS:
            error = f"Bad request. api-version is invalid or was not specified in the request. Newest: {_VERSIONS[-1]}"
            return _json(400, {"error": error, "newest-versions": list(_VERSIONS[-3:])})
        document: Any = self._document(vm)
        for step in path.removeprefix("/metadata/instance").strip("/").split("/"):
            if not step:
                continue
            lower = (
                {name.casefold(): value for name, value in document.items()}
                if isinstance(document, dict)
                else {}
            )
            if step not in lower:
                return _json(404, {"error": "Not found"})
            document = lower[step]
        if isinstance(document, dict | list):
            return _json(200, document)
        return web.Response(text=str(document))

    def _document(self, vm: Resource) -> dict[str, Any]:
        addresses = []
        for entry in vm.properties["networkProfile"]["networkInterfaces"]:
            nic = self._world.store.get(entry["id"])
            for ip in nic.properties["ipConfigurations"] if nic else ():
                address = ip["properties"]["privateIPAddress"]
                addresses.append({"privateIpAddress": address, "publicIpAddress": ""})
        image = vm.properties["storageProfile"]["imageReference"]
        compute = {
            "azEnvironment": "AzurePublicCloud",
            "location": vm.location,
            "name": vm.name,
            "resourceGroupName": vm.group,
            "resourceId": vm.id,
            "subscriptionId": vm.subscription,
            "vmId": vm.properties["vmId"],
            "vmSize": vm.properties["hardwareProfile"]["vmSize"],
            "osType": vm.properties["storageProfile"]["osDisk"]["osType"],
            "priority": vm.properties.get("priority", "Regular"),
            "evictionPolicy": vm.properties.get("evictionPolicy", ""),
            "provider": "Microsoft.Compute",
            "publisher": image.get("publisher", ""),
            "offer": image.get("offer", ""),
            "sku": image.get("sku", ""),
            "version": image.get("exactVersion", ""),
            "tags": ";".join(f"{name}:{value}" for name, value in vm.tags.items()),
            "tagsList": [{"name": name, "value": value} for name, value in vm.tags.items()],
        }
        return {"compute": compute, "network": {"interface": [{"ipv4": {"ipAddress": addresses}}]}}

    def _scheduled_events(self, vm: Resource, method: str, body: bytes) -> web.Response:
        preempt = vm.state.get("preempt")
        if method == "POST":
            started = {each.get("EventId") for each in json.loads(body or b"{}").get("StartRequests", [])}
            if preempt and preempt["id"] in started:
                self._world.events.add("eviction_acknowledged", self._world.now(), resource_id=vm.id)
            return _json(200, {})
        event = preempt and {
            "EventId": preempt["id"],
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": [vm.name],
            "EventStatus": "Scheduled",
            "NotBefore": format_datetime(datetime.fromtimestamp(preempt["not_before"], UTC), usegmt=True),
            "Description": "",
            "EventSource": "Platform",
            "DurationInSeconds": -1,
        }
        return _json(200, {"DocumentIncarnation": 2 if event else 1, "Events": [event] if event else []})

    def _machine(self, vm_id: str) -> Resource | None:
        found = self._world.store.of_type(VIRTUAL_MACHINES)
        return next((vm for vm in found if vm.properties["vmId"] == vm_id), None)


def _token(world: World, principal: Principal, resource: str) -> web.Response:
    token, expires = tokens.issue(principal, resource)
    world.events.add("token", world.now(), principal=principal.to_json(), resource=resource)
    return _json(
        200,
        {
            "access_token": token,
            "client_id": principal.identity.client_id,
            "expires_in": str(tokens.LIFETIME_S),
            "expires_on": str(expires),
            "resource": resource,
            "token_type": "Bearer",
        },
    )


def _fault(world: World, asker: str) -> web.Response | None:
    fault = world.faults.take(_TOKEN_OPERATION, asker)
    if fault is None or fault.kind != "status":
        return None
    world.events.add("token_refused", world.now(), asker=asker, status=fault.status)
    body = {"error": fault.code, "error_description": fault.message}
    return _json(fault.status, body, headers=fault.headers)


def _bad(description: str) -> web.Response:
    return _json(400, {"error": "invalid_request", "error_description": description})


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)
