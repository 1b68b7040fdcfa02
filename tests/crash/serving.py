"""What stands behind endpoints on the machine: Muster's own scoring service in this process, and users who keep asking.

It has the interface of localdev.azuresim.serving.Serving, whose servers are child processes on the wall clock.
"""

from __future__ import annotations

import hmac
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import SplitResult

import requests

from localdev.azuresim.serving.models import Health, ServedModel
from localdev.azuresim.serving.tally import Served
from localdev.clock import Clock
from node.errors import ItemFault
from node.models import CARD, parse_card
from node.serving.requests import Rows
from node.serving.service import Service
from tests.crash.storage import Answered, BlobStorage
from tests.crash.strands import OneAfterAnother
from tests.crash.wire import body_of

EVERY_S = 2.0  # between two requests of users
LATENCY_MS = 20.0
_SPREAD = (
    61  # a generator of the residues of 100: any hundred requests in a row are shared out exactly by weight
)
_BAD_EACH = 5  # of a misbehaving version every fifth answer is a 500
_NAMED = "azureml-model-deployment"

Misbehaves = Callable[[str, int], bool]  # a version, and the weight that it has


@dataclass
class Servers:
    """A deployment's servers, from `since` until they were stopped."""

    version: str
    service: Service
    since: float
    until: float = math.inf


@dataclass
class Routed:
    """An endpoint: every map that was in force, and when it came to be."""

    keys: tuple[str, ...] = ()
    maps: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    servers: dict[str, list[Servers]] = field(default_factory=dict)
    probed: list[Served] = field(default_factory=list)

    def at(self, moment: float, name: str) -> Servers | None:
        lives = self.servers.get(name, ())
        return next((each for each in lives if each.since <= moment < each.until), None)


class Serving:
    """Servers that are up as soon as they are launched. `misbehaves` says which version fails under which weight."""

    def __init__(self, clock: Clock, storage: Callable[[], BlobStorage]) -> None:
        self._clock, self._storage = clock, storage
        self._endpoints: dict[str, Routed] = {}
        self.misbehaves: Misbehaves = lambda version, weight: False

    def launch(self, endpoint: str, deployment: str, served: ServedModel) -> None:
        self.stop(endpoint, deployment)
        model: Any = served.model
        card = self._storage().read(model.container, f"{model.prefix.rstrip('/')}/{CARD}")
        assert card is not None, f"{model} has no card"
        fresh = Servers(
            served.environment.get("MUSTER_VERSION", ""),
            Service(parse_card(card), _Curve(), None),
            self._clock.time(),
        )
        self._endpoint(endpoint).servers.setdefault(deployment, []).append(fresh)

    def state(self, endpoint: str, deployment: str) -> Health:
        up = self._endpoint(endpoint).at(self._clock.time(), deployment)
        return Health("running" if up else "absent", "")

    def logs(self, endpoint: str, deployment: str, lines: int = 200) -> str:
        return "the server answers"

    def stop(self, endpoint: str, deployment: str) -> None:
        if up := self._endpoint(endpoint).at(self._clock.time(), deployment):
            up.until = self._clock.time()

    def route(self, endpoint: str, weights: Mapping[str, int], keys: Sequence[str] = (), **_: Any) -> None:
        known = self._endpoint(endpoint)
        known.keys = tuple(keys)
        known.maps.append((self._clock.time(), {name: weight for name, weight in weights.items() if weight}))

    def forget(self, endpoint: str) -> None:
        known = self._endpoint(endpoint)
        for name in known.servers:
            self.stop(endpoint, name)
        known.maps.append((self._clock.time(), {}))

    def client_id_of(self, machine: str) -> str:
        return ""

    def tally(self, endpoint: str) -> Answers:
        return Answers(self._endpoint(endpoint), self.misbehaves)

    def unanswered(self, endpoint: str) -> Iterator[str]:
        """What users were sent to though it was not there, or was nobody, once the endpoint had served at all."""
        known, served = self._endpoint(endpoint), False
        moments = [moment for moment, _ in known.maps]
        ends = [*moments[1:], self._clock.time()]
        for (began, weights), ended in zip(known.maps, ends, strict=True):
            served |= bool(weights)
            if served and not weights:
                yield f"nobody had traffic from {began:.0f} to {ended:.0f}"
            for name in weights:
                up = known.at(began, name)
                if up is None or up.until < ended:
                    yield f"{name} had traffic from {began:.0f} to {ended:.0f} and was not there"

    def answer(self, request: requests.PreparedRequest, url: SplitResult) -> Answered:
        """A request to the endpoint's address. Only those that name a deployment are made here: users are counted."""
        known = self._endpoint((url.hostname or "").partition(".")[0])
        given = str(request.headers.get("Authorization", "")).removeprefix("Bearer ")
        if not any(hmac.compare_digest(given, key) for key in known.keys):
            return _refused(401, "Unauthorized")
        name = str(request.headers.get(_NAMED, ""))
        up = known.at(self._clock.time(), name)
        if up is None:
            return _refused(404, "NotFound")
        headers: Any = request.headers
        answer = up.service.answer(str(request.method), headers, io.BytesIO(body_of(request)))
        status = 502 if answer.status >= 500 else answer.status
        known.probed.append(Served(self._clock.time(), name, status, answer.status, LATENCY_MS))
        return Answered(status, {"Content-Type": "application/json"}, json.dumps(answer.body).encode())

    def _endpoint(self, endpoint: str) -> Routed:
        return self._endpoints.setdefault(endpoint.rpartition("/")[2].casefold(), Routed())


@dataclass(frozen=True)
class Answers:
    """What an endpoint answered, as localdev.azuresim.serving.tally.Tally tells it: worked out when it is asked for."""

    endpoint: Routed
    misbehaves: Misbehaves

    def between(self, since: float, until: float) -> Iterator[Served]:
        probed = [each for each in self.endpoint.probed if since <= each.at < until]
        yield from sorted([*probed, *self._of_users(since, until)], key=lambda each: each.at)

    def counts(self) -> dict[str, dict[str, int]]:
        raise AssertionError("the control API is not simulated")

    def _of_users(self, since: float, until: float) -> Iterator[Served]:
        for number in range(math.ceil(since / EVERY_S), math.ceil(until / EVERY_S)):
            at = number * EVERY_S
            name, weight = _chosen(self._map_at(at), number * _SPREAD % 100)
            if name:
                yield Served(at, name, self._status(name, weight, at, number), 200, LATENCY_MS)

    def _map_at(self, moment: float) -> dict[str, int]:
        earlier = [weights for began, weights in self.endpoint.maps if began <= moment]
        return earlier[-1] if earlier else {}

    def _status(self, name: str, weight: int, at: float, number: int) -> int:
        up = self.endpoint.at(at, name)
        if up is None:
            return 503
        return 502 if self.misbehaves(up.version, weight) and number % _BAD_EACH == 0 else 200


def _chosen(weights: Mapping[str, int], lot: int) -> tuple[str, int]:
    for name, weight in sorted(weights.items()):
        if lot < weight:
            return name, weight
        lot -= weight
    return "", 0


class _Curve:
    """A model in the place of one that would have to be loaded: a logistic curve over `hour`."""

    def predict(self, rows: Rows, body: bytes) -> list[Any]:
        try:
            return [1 / (1 + math.exp((12 - hour) / 4)) for hour in rows.columns["hour"]]
        except OverflowError as error:
            raise ItemFault(str(error)) from error


def _refused(status: int, code: str) -> Answered:
    body = {"error": {"code": code, "message": code}}
    return Answered(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


@contextmanager
def probed_in_turn(now: Callable[[], float]) -> Iterator[None]:
    """Within the block probes ask one question after the other, and how long things take is virtual time."""
    from activities import endpoints, probes
    from shared.azure import scoring_client

    clock = SimpleNamespace(monotonic=now, perf_counter=now)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(probes, "ThreadPoolExecutor", OneAfterAnother))
        for module in (endpoints, probes, scoring_client):
            stack.enter_context(mock.patch.object(module, "time", clock))
        yield
