"""Everything that serves: launched and routed by the control plane, on the event loop only."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from aiohttp import web

from localdev.azuresim.blobs import Blobs, container_signature
from localdev.azuresim.machines import Machines
from localdev.azuresim.serving.deployment import Deployment
from localdev.azuresim.serving.instance import INFERENCE
from localdev.azuresim.serving.models import BlobFolder, Health, Kind, ServedModel
from localdev.azuresim.serving.router import Endpoint, InferenceRouter
from localdev.azuresim.serving.tally import Tally
from localdev.clock import Clock

_LOOK_S, _GRACE_S = 0.05, 6.0  # wall
_SIGNED_FOR = timedelta(days=7)


class Serving:
    """`endpoint` is its name or its ARM id throughout: names are unique in a region.

    Nothing here outlives the simulator's process: whoever loads a saved world launches and routes anew.
    """

    def __init__(self, machines: Machines, blobs: Blobs, clock: Clock) -> None:
        self._machines, self._blobs = machines, blobs
        self._endpoints: dict[str, Endpoint] = {}
        self._router = InferenceRouter(self._endpoints, clock)
        self._leaving: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        return await self._router.serve(request)

    async def watch(self) -> None:
        """See instances come up and break down, for ever."""
        while True:
            for endpoint in self._endpoints.values():
                for deployment in endpoint.deployments.values():
                    deployment.look()
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for name in list(self._endpoints):
            self._drop(name)
        await self._router.close()

    def launch(self, endpoint: str, deployment: str, served: ServedModel) -> None:
        """Start the instances of a deployment and return at once; one of that name that runs is replaced.

        Raises FileNotFoundError if `make setup` has not made the servers' environment.
        """
        if not (INFERENCE / "python").exists():
            raise FileNotFoundError(f"{INFERENCE} is missing: run `make setup`")
        self.stop(endpoint, deployment)
        fresh = Deployment(deployment, served, self._machines, self._place)
        self._endpoint(endpoint).deployments[deployment.casefold()] = fresh

    def state(self, endpoint: str, deployment: str) -> Health:
        """How it is now. `crash_loop` and `out_of_memory` may still become `running`: there are restarts."""
        found = self._find(endpoint, deployment)
        return found.health() if found else Health("absent", "")

    def logs(self, endpoint: str, deployment: str, lines: int = 200) -> str:
        """The end of what the deployment's servers wrote; "" for one that was never launched."""
        found = self._find(endpoint, deployment)
        return found.log(lines) if found else ""

    def stop(self, endpoint: str, deployment: str) -> None:
        """No more requests for it; its processes end when those it has are answered. Safe to repeat."""
        known = self._endpoints.get(_name(endpoint))
        found = known.deployments.pop(deployment.casefold(), None) if known else None
        if found:
            task = asyncio.get_running_loop().create_task(_drain(found))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def route(
        self,
        endpoint: str,
        weights: Mapping[str, int],
        keys: Sequence[str] = (),
        *,
        kind: Kind = "kubernetes",
        seed: int | None = None,
    ) -> None:
        """Answer for the endpoint from now on, by these weights; requests that are under way end where they are.

        A request is let in by one of `keys`, or, if there are none, by a token for https://ml.azure.com. `kind` decides
        how failures of a model look to the client: 502, 503 and 504 of azureml-fe, or 424, 429 and 408 of a managed
        endpoint. `seed` makes the choices of deployments repeatable.
        """
        known = self._endpoint(endpoint)
        known.weights = {name.casefold(): weight for name, weight in weights.items()}
        known.keys, known.kind, known.is_routed = tuple(keys), kind, True
        if seed is not None:
            known.chance = random.Random(seed)

    def forget(self, endpoint: str) -> None:
        """Stop every deployment and answer no more. Safe to repeat."""
        known = self._endpoints.get(_name(endpoint))
        for deployment in list(known.deployments) if known else ():
            self.stop(endpoint, deployment)
        self._endpoints.pop(_name(endpoint), None)

    def tally(self, endpoint: str) -> Tally:
        """What it answered so far; an empty one for an endpoint that is not served."""
        known = self._endpoints.get(_name(endpoint))
        return known.tally if known else Tally()

    def client_id_of(self, machine: str) -> str:
        """The identity of an instance by its machine; "" for machines that are none."""
        for endpoint in self._endpoints.values():
            for deployment in endpoint.deployments.values():
                if deployment.owns(machine):
                    return deployment.served.client_id
        return ""

    def describe(self, endpoint: str) -> dict[str, Any] | None:
        """For the control API; None for an endpoint that is not served."""
        known = self._endpoints.get(_name(endpoint))
        if known is None:
            return None
        return {
            "traffic": {
                known.deployments[n].name if n in known.deployments else n: w
                for n, w in known.weights.items()
            },
            "deployments": {
                each.name: {"phase": each.look(), "restarts": each.restarts, "pending": each.pending}
                for each in known.deployments.values()
            },
            "requests": known.tally.counts(),
        }

    def _endpoint(self, endpoint: str) -> Endpoint:
        name = _name(endpoint)
        return self._endpoints.setdefault(name, Endpoint(name))

    def _find(self, endpoint: str, deployment: str) -> Deployment | None:
        known = self._endpoints.get(_name(endpoint))
        return known.deployments.get(deployment.casefold()) if known else None

    def _drop(self, name: str) -> None:
        for deployment in self._endpoints.pop(name).deployments.values():
            deployment.destroy()

    def _place(self, source: BlobFolder) -> dict[str, str]:
        signature = container_signature(source.container, "rl", _SIGNED_FOR)
        return {
            "container": self._blobs.url(source.container),
            "signature": signature,
            "path": source.prefix.strip("/"),
        }


async def _drain(deployment: Deployment) -> None:
    """As Kubernetes ends a pod: its requests may finish, its server may end by itself, but not for ever."""
    try:
        await _until(lambda: not deployment.pending, deployment.served.timeout_s + 1)
        deployment.terminate()
        await _until(lambda: deployment.is_over, _GRACE_S)
    finally:
        await asyncio.to_thread(deployment.destroy)  # others are being served meanwhile


async def _until(is_so: Callable[[], bool], longest_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            while not is_so():
                await asyncio.sleep(_LOOK_S)


def _name(endpoint: str) -> str:
    return endpoint.rpartition("/")[2].casefold()
