"""Looking behind the scenes, and pulling the strings: a JSON API on loopback and its client.

GET /bill /resources /events?since=N&type=T /clock /faults /quotas; POST /clock/advance {seconds}, /clock/speed {speed},
/faults {..} or [..] (adds), /evict/{vm}, /preempt/{cluster}, /quotas {region, family, limit, of: "ml" for those of
Azure Machine Learning}; DELETE /faults. Event Grid's part, below /event-grid, is in event_grid/control.py; that of
endpoints' servers, below /serving, in serving/control.py, and that of endpoints and clusters in ml/endpoint_control.py.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from localdev.azuresim import estate
from localdev.azuresim.compute.lifecycle import VIRTUAL_MACHINES
from localdev.azuresim.events import iso
from localdev.azuresim.faults import FaultError
from localdev.azuresim.ml.cluster import AML_COMPUTE, COMPUTES, Cluster
from localdev.azuresim.world import World


class ControlError(RuntimeError):
    """The simulator refused; the message is its own."""


class Control:
    """Client of a running simulator's control API, for tests and demonstrations."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # The proxy is for Azure's host names; this is loopback.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def bill(self) -> dict[str, Any]:
        """{"usd": "0.12", "now": .., "lines": [{resource_id, meter, started, ended, seconds, usd, tags, ..}]}"""
        return dict(self._call("GET", "/bill"))

    def total_usd(self) -> Decimal:
        return Decimal(self.bill()["usd"])

    def resources(self, type_: str = "") -> list[dict[str, Any]]:
        """What exists now, `power` included where there is one; with `type_`, of that ARM type only."""
        found = self._call("GET", "/resources")["value"]
        return [each for each in found if not type_ or each["type"].casefold() == type_.casefold()]

    def events(self, since: int = 0, type_: str = "") -> list[dict[str, Any]]:
        return list(self._call("GET", f"/events?since={since}&type={type_}")["value"])

    def clock(self) -> dict[str, Any]:
        """{"now": epoch seconds, "time": ISO 8601, "speed": ..}"""
        return dict(self._call("GET", "/clock"))

    def advance(self, seconds: float) -> None:
        """Let virtual time pass at once; everything due by then has happened when this returns."""
        self._call("POST", "/clock/advance", {"seconds": seconds})

    def set_speed(self, speed: float) -> None:
        self._call("POST", "/clock/speed", {"speed": speed})

    def add_faults(self, *entries: Mapping[str, Any]) -> None:
        self._call("POST", "/faults", list(entries))

    def faults(self) -> list[dict[str, Any]]:
        """Each armed fault with how often it was asked for and struck."""
        return list(self._call("GET", "/faults")["value"])

    def clear_faults(self) -> None:
        self._call("DELETE", "/faults")

    def evict(self, vm: str) -> None:
        """Evict a machine by its policy; of a cluster, by its name, one node."""
        self._call("POST", f"/evict/{vm}")

    def set_quota(self, region: str, family: str, limit: int) -> None:
        self._call("POST", "/quotas", {"region": region, "family": family, "limit": limit})

    def publish_event(
        self,
        type: str,
        subject: str,
        data: Any,
        schema: str = "",
        casing: str = "camel",
        copies: int = 1,
        delay_s: float = 0.0,
        order: str = "",
        *,
        source: str = "",
        topic: str = "",
        to: str = "",
        id: str = "",
    ) -> str:
        """Have Event Grid deliver an event of an Azure service; the event's id.

        `type`: Microsoft.MachineLearningServices.RunStatusChanged, ... `schema`: "eventgrid" or "cloudevents" whatever
        the subscriptions say. `casing`: of the data's own fields, "camel" or "pascal". `copies`: deliveries of the same
        event to each subscription. `delay_s`: virtual seconds until it gets to Event Grid. `order`: "overtaken" holds
        it back until a later event was delivered. `source`: ARM id of who tells (default: the workspace, or the storage
        account for Microsoft.Storage). `topic`: what the event claims that to be. `to`: name of the one subscription
        that gets it, whatever its scope.
        """
        asked = {
            "type": type, "subject": subject, "data": data, "schema": schema, "casing": casing, "copies": copies,
            "delay_s": delay_s, "order": order, "source": source, "topic": topic, "to": to, "id": id,
        }  # fmt: skip
        return str(self._call("POST", "/event-grid/events", asked)["id"])

    def publish_blob_created(self, container: str, blob: str, etag: str = "0x8D0", size: int = 0) -> str:
        """Tell of a blob as the storage account would; Azurite itself tells nothing. The event's id."""
        host = f"{estate.STORAGE_ACCOUNT}.blob.core.windows.net"
        data = {
            "api": "PutBlob", "clientRequestId": str(uuid.uuid4()), "requestId": str(uuid.uuid4()),
            "eTag": etag.strip('"'), "contentType": "application/octet-stream", "contentLength": size,
            "blobType": "BlockBlob", "accessTier": "Hot", "url": f"https://{host}/{container}/{blob}",
            "sequencer": f"{uuid.uuid4().hex}0000000000000000", "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        }  # fmt: skip
        subject = f"/blobServices/default/containers/{container}/blobs/{blob}"
        return self.publish_event("Microsoft.Storage.BlobCreated", subject, data)

    def subscribe(
        self,
        endpoint_url: str,
        types: Sequence[str] = (),
        schema: str = "eventgrid",
        *,
        name: str = "test",
        scope: str = "",
        filter: Mapping[str, Any] | None = None,
        retry: Mapping[str, int] | None = None,
        batch: Mapping[str, int] | None = None,
        dead_letter_container: str = "",
        handshake: bool = True,
    ) -> str:
        """Subscribe a webhook on loopback to a scope's events (default: the workspace's); the subscription's id.

        `filter`, `retry` ({maxDeliveryAttempts, eventTimeToLiveInMinutes}) and `batch` ({maxEventsPerBatch,
        preferredBatchSizeInKilobytes}) as in the ARM resource. Raises ControlError when the endpoint fails the
        handshake.
        """
        asked = {
            "endpoint_url": endpoint_url, "types": list(types), "schema": schema, "name": name, "scope": scope,
            "filter": dict(filter or {}), "retry": dict(retry or {}), "batch": dict(batch or {}),
            "dead_letter_container": dead_letter_container, "handshake": handshake,
        }  # fmt: skip
        return str(self._call("POST", "/event-grid/subscriptions", asked)["id"])

    def owed_deliveries(self) -> int:
        """Deliveries of Event Grid that are neither done nor given up; 0 when all is quiet."""
        return int(self._call("GET", "/event-grid/subscriptions")["owed"])

    def serving(self, endpoint: str) -> dict[str, Any]:
        """{"traffic": {deployment: weight}, "deployments": {name: {phase, restarts, pending}}, "requests": {deployment:
        {status: count}}}, requests that got to no deployment under "". Raises ControlError if nothing is served."""
        return dict(self._call("GET", f"/serving/{endpoint}"))

    def serve_function_app(self, name: str, url: str, key: str = "") -> str:
        """Say where the function app `name` is, for subscriptions with an AzureFunction destination; its ARM id."""
        asked = {"name": name, "url": url, "key": key}
        return str(self._call("POST", "/event-grid/function-apps", asked)["id"])

    def preempt_node(self, cluster: str) -> None:
        """Take one node away from a low-priority cluster, a busy one if there is one."""
        self._call("POST", f"/preempt/{cluster}")

    def set_ml_quota(self, region: str, name: str, limit: int) -> None:
        """`name`: a family, or clusters, dedicatedCores, lowPriorityCores."""
        self._call("POST", "/quotas", {"region": region, "family": name, "limit": limit, "of": "ml"})

    def endpoints(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/endpoints")["value"])

    def endpoint(self, name: str) -> dict[str, Any]:
        """An online endpoint as it really is: {name, state, traffic, tags, deployments: [{name, state, code, model,
        tags, instances, weight}], traffic_events}; the events of every map that was accepted and applied."""
        return dict(self._call("GET", f"/endpoints/{name}"))

    def delete_endpoint(self, name: str, deployment: str = "") -> None:
        """Somebody else deletes an endpoint, or one deployment of it, traffic or not."""
        below = f"/deployments/{deployment}" if deployment else ""
        self._call("DELETE", f"/endpoints/{name}{below}")

    def change_cluster(self, name: str = estate.AKS_CLUSTER, **settings: Any) -> None:
        """`reachable`, `extension` (installed?), `nodes` ([{name, cpu, memory_gib, gpu}]) of an AKS cluster."""
        self._call("POST", f"/clusters/{name}", settings)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._url}{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with self._open(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ControlError(f"{method} {path}: {error.code} {error.read().decode()}") from error


class ControlApi:
    """Served on the event loop. `after_change` is called when something was changed."""

    def __init__(self, world: World, after_change: Callable[[], None]) -> None:
        self._world, self._after_change = world, after_change

    def application(self, more: Iterable[web.RouteDef] = ()) -> web.Application:
        application = web.Application()
        application.add_routes(more)
        application.add_routes(
            [
                web.get("/bill", self._bill),
                web.get("/resources", self._resources),
                web.get("/events", self._events),
                web.get("/clock", self._clock),
                web.post("/clock/advance", self._advance),
                web.post("/clock/speed", self._speed),
                web.get("/faults", self._faults),
                web.post("/faults", self._add_faults),
                web.delete("/faults", self._clear_faults),
                web.post("/evict/{vm}", self._evict),
                web.post("/preempt/{cluster}", self._preempt),
                web.get("/quotas", self._quotas),
                web.post("/quotas", self._set_quota),
            ]
        )
        return application

    async def _bill(self, request: web.Request) -> web.Response:
        self._catch_up()
        now = self._world.now()
        lines = [line.to_json() for line in self._world.meter.lines(now)]
        usd = sum((Decimal(line["usd"]) for line in lines), Decimal(0))
        return web.json_response({"now": now, "usd": str(usd), "lines": lines})

    async def _resources(self, request: web.Request) -> web.Response:
        self._catch_up()
        shown = []
        for resource in self._world.store:
            power = {"power": resource.state["power"]} if "power" in resource.state else {}
            shown.append({**resource.envelope(), "created": resource.created, **power})
        return web.json_response({"value": shown})

    async def _events(self, request: web.Request) -> web.Response:
        self._catch_up()
        since = int(request.query.get("since", "0"))
        return web.json_response({"value": self._world.events.since(since, request.query.get("type", ""))})

    async def _clock(self, request: web.Request) -> web.Response:
        now = self._world.now()
        return web.json_response({"now": now, "time": iso(now), "speed": self._world.clock.speed})

    async def _advance(self, request: web.Request) -> web.Response:
        seconds = float((await request.json())["seconds"])
        return self._on_clock(request, lambda: self._world.clock.advance(timedelta(seconds=seconds)))

    async def _speed(self, request: web.Request) -> web.Response:
        speed = float((await request.json())["speed"])
        return self._on_clock(request, lambda: self._world.clock.set_speed(speed))

    def _on_clock(self, request: web.Request, change: Callable[[], None]) -> web.Response:
        try:
            change()
        except RuntimeError as error:
            return web.json_response({"error": str(error)}, status=409)
        self._catch_up()
        now = self._world.now()
        return web.json_response({"now": now, "time": iso(now), "speed": self._world.clock.speed})

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response({"value": self._world.faults.report()})

    async def _add_faults(self, request: web.Request) -> web.Response:
        body = await request.json()
        entries: Sequence[Any] = body if isinstance(body, list) else [body]
        try:
            for entry in entries:
                self._world.faults.add(entry)
        except FaultError as error:
            return web.json_response({"error": error.problems}, status=400)
        return web.json_response({"value": self._world.faults.report()})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear()
        return web.json_response({"value": []})

    async def _evict(self, request: web.Request) -> web.Response:
        self._catch_up()
        wanted = request.match_info["vm"].casefold()
        for vm in self._world.store.of_type(VIRTUAL_MACHINES):
            if vm.name.casefold() == wanted:
                self._world.scheduler.at(self._world.now(), "vm.preempt", vm=vm.id)
                self._catch_up()
                return web.json_response({"id": vm.id})
        return self._preempt_node(wanted)

    async def _preempt(self, request: web.Request) -> web.Response:
        self._catch_up()
        return self._preempt_node(request.match_info["cluster"].casefold())

    def _preempt_node(self, wanted: str) -> web.Response:
        for compute in self._world.store.of_type(COMPUTES):
            if compute.name.casefold() != wanted or compute.properties["computeType"] != AML_COMPUTE:
                continue
            cluster = Cluster(self._world, compute)
            if not cluster.low_priority or not cluster.count("running") + cluster.count("idle"):
                error = "only nodes of low priority that are there can be preempted"
                return web.json_response({"error": error}, status=409)
            self._world.scheduler.at(self._world.now(), "cluster.preempt", cluster=compute.id)
            self._catch_up()
            return web.json_response({"id": compute.id})
        return web.json_response({"error": f"nothing named {wanted} can be evicted"}, status=404)

    async def _quotas(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.quotas)

    async def _set_quota(self, request: web.Request) -> web.Response:
        body = await request.json()
        quotas = self._world.ml_quotas if body.get("of") == "ml" else self._world.quotas
        if body["region"] not in quotas:
            return web.json_response({"error": f"no region {body['region']}"}, status=404)
        quotas[body["region"]][body["family"]] = int(body["limit"])
        self._after_change()
        return web.json_response(quotas)

    def _catch_up(self) -> None:
        if self._world.scheduler.run_due():
            self._after_change()
