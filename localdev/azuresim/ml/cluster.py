"""One compute cluster as everybody sees it: its settings read, its nodes counted, its price known."""

from __future__ import annotations

import re
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.catalog import Size
from localdev.azuresim.events import iso
from localdev.azuresim.ml.common import WORKSPACES
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

COMPUTES = f"{WORKSPACES}/computes"
AML_COMPUTE, INSTANCE, KUBERNETES = "AmlCompute", "ComputeInstance", "Kubernetes"
_STATES = ("idle", "running", "preparing", "unusable", "leaving", "preempted")
_USABLE = ("preparing", "idle", "running")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_IDLE_S = 120.0  # azure-ai-ml's own default, which older documents also give


class Cluster:
    """A view of a compute resource of type AmlCompute. What changes is in `resource.state`, as plain data."""

    def __init__(self, world: World, resource: Resource) -> None:
        self._world, self.resource = world, resource

    @property
    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.resource.state.setdefault("nodes", [])
        return nodes

    @property
    def queue(self) -> list[list[Any]]:
        """[job id, nodes wanted] in the order they came."""
        queue: list[list[Any]] = self.resource.state.setdefault("queue", [])
        return queue

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.resource.properties["properties"]
        return settings

    @property
    def size(self) -> Size:
        return size_of(str(self.settings["vmSize"])) or next(iter(catalog.SIZES.values()))

    @property
    def low_priority(self) -> bool:
        return bool(self.settings.get("vmPriority") == "LowPriority")

    @property
    def min_nodes(self) -> int:
        return int(self.settings["scaleSettings"].get("minNodeCount") or 0)

    @property
    def max_nodes(self) -> int:
        return int(self.settings["scaleSettings"]["maxNodeCount"])

    @property
    def idle_s(self) -> float:
        given = self.settings["scaleSettings"].get("nodeIdleTimeBeforeScaleDown")
        return _IDLE_S if given is None else seconds(given)

    @property
    def usable(self) -> list[dict[str, Any]]:
        return [node for node in self.nodes if node["state"] in _USABLE]

    @property
    def wanted(self) -> int:
        """How many nodes the work at hand calls for, within the limits of the scale settings."""
        work = self.count("running") + sum(nodes for _, nodes in self.queue)
        return int(min(self.max_nodes, max(self.min_nodes, work)))

    @property
    def usd_per_hour(self) -> float:
        return catalog.price_usd_per_hour(
            self.size.name, self.resource.location, "Spot" if self.low_priority else "Regular"
        )

    @property
    def meter(self) -> str:
        return f"AmlCompute {self.size.name} {'LowPriority' if self.low_priority else 'Dedicated'}"

    def bill_id(self, node: dict[str, Any]) -> str:
        return f"{self.resource.id}/nodes/{node['id']}"

    def count(self, state: str) -> int:
        return len([node for node in self.nodes if node["state"] == state])

    def facts(self) -> dict[str, str]:
        """What the text of a fault may mention."""
        return {
            "size": self.size.name,
            "family": self.size.family,
            "location": self.resource.location,
            "required": str(self.size.vcpus),
        }

    def move(self, node: dict[str, Any], state: str, at: float) -> None:
        node["state"], node["since"] = state, at
        self._world.events.add(
            "node", at, resource_id=self.resource.id, node=node["id"], state=state, run=node["run"]
        )

    def settle(self, at: float) -> None:
        """Keep the moment at which the allocation state last changed."""
        state = self.allocation_state
        if self.resource.state.get("allocation") != state:
            self.resource.state |= {"allocation": state, "allocation_at": at}

    @property
    def allocation_state(self) -> str:
        under_way = self.count("preparing") + self.count("leaving")
        return "Resizing" if under_way or self.resource.state.get("stuck") else "Steady"

    def view(self) -> dict[str, Any]:
        """The inner `properties` of a GET."""
        hidden = {"userAccountCredentials"}
        at = self.resource.state.get("allocation_at", self.resource.created)
        stuck = bool(self.resource.state.get("stuck"))
        return {
            **{name: value for name, value in self.settings.items() if name not in hidden},
            "allocationState": self.allocation_state,
            "allocationStateTransitionTime": iso(at),
            "errors": self.resource.state.get("errors") or None,
            "currentNodeCount": len([node for node in self.nodes if node["state"] != "preparing"]),
            "targetNodeCount": self.wanted if stuck else max(self.min_nodes, len(self.usable)),
            "nodeStateCounts": {f"{state}NodeCount": self.count(state) for state in _STATES},
        }


def size_of(name: str) -> Size | None:
    """Sizes go by any case: STANDARD_D4S_V5 is Standard_D4s_v5."""
    wanted = name.casefold()
    return next((size for key, size in catalog.SIZES.items() if key.casefold() == wanted), None)


def seconds(duration: str) -> float:
    """seconds("PT5M") -> 300. Raises ValueError for what is no ISO 8601 duration."""
    match = _DURATION.fullmatch(duration)
    if match is None or duration in ("P", "PT"):
        raise ValueError(f"{duration!r} is not an ISO 8601 duration")
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest
