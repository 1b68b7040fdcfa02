"""Traffic rules of an endpoint: which maps are taken, what the router is told, and what is told to those who check.

Events: "traffic" for every map that was accepted, "traffic_applied" when it is in force. Both carry the whole map,
the endpoint's tags and the states of its deployments at that moment.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim import facts
from localdev.azuresim.errors import ArmError
from localdev.azuresim.ml import endpoint_keys, endpoint_spec
from localdev.azuresim.ml.endpoint_spec import DEPLOYMENTS, ENDPOINTS
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_WRITE = f"{ENDPOINTS}/traffic/write"  # no operation of ARM's: how faults name a write that changes traffic


class Traffic:
    def __init__(self, world: World) -> None:
        self._world = world

    def deployments(self, endpoint: Resource) -> dict[str, Resource]:
        """By their name in lower case."""
        found = self._world.store.of_type(DEPLOYMENTS, endpoint.id)
        return {each.name.casefold(): each for each in found}

    def read(self, endpoint: Resource, asked: Any) -> dict[str, int]:
        """The whole map that is asked for. Raises the refusal of one that cannot be."""
        return endpoint_spec.traffic(asked, self.deployments(endpoint))

    def strike(self, call: Call, endpoint: Resource) -> None:
        """Faults of writes that change traffic take the place of those of any write. Raises those that refuse."""
        fault = self._world.faults.take(_WRITE, endpoint.id, facts.of_call(self._world, call))
        if fault is None:
            return
        if fault.kind == "status":
            raise ArmError(
                fault.status, fault.code, fault.message, details=fault.details, headers=fault.headers
            )
        call.fault = fault

    def accepted(self, endpoint: Resource, weights: dict[str, int], call: Call, operation: Operation) -> None:
        principal = call.principal.to_json()
        self._tell("traffic", endpoint, weights, call.at, operation_id=operation.id, principal=principal)

    def route(self, endpoint: Resource, at: float) -> None:
        """Bring the applied map, and the keys, into force."""
        weights: dict[str, int] = endpoint.state["applied"]
        endpoint_keys.route(self._world, endpoint)
        if endpoint.state.get("told") != weights:
            endpoint.state["told"] = dict(weights)
            self._tell("traffic_applied", endpoint, weights, at)

    def _tell(self, what: str, endpoint: Resource, weights: dict[str, int], at: float, **more: Any) -> None:
        states = {each.name: each.provisioning_state for each in self.deployments(endpoint).values()}
        self._world.events.add(
            what,
            at,
            resource_id=endpoint.id,
            endpoint=endpoint.name,
            traffic=dict(weights),
            tags=dict(endpoint.tags),
            deployments=states,
            **more,
        )
