"""Compute instances: single machines that are started and stopped by hand, and billed while they are not Stopped.

Source: machineLearningServices.json 2023-08-01-preview (ComputeInstanceState, ComputeInstanceLastOperation);
learn.microsoft.com machine-learning/how-to-manage-compute-instance.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim import catalog, estate
from localdev.azuresim.errors import error_object
from localdev.azuresim.faults import Fault
from localdev.azuresim.ml import cluster_quota
from localdev.azuresim.ml.cluster import size_of
from localdev.azuresim.operations import Operation
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

INSTANCE_CREATED_S, INSTANCE_STARTED_S, INSTANCE_STOPPED_S = 180.0, 90.0, 40.0
_VERBS = {
    "start": ("Starting", INSTANCE_STARTED_S, "Running"),
    "stop": ("Stopping", INSTANCE_STOPPED_S, "Stopped"),
    "restart": ("Restarting", INSTANCE_STARTED_S, "Running"),
}


class Instances:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("instance.settled", self._settled)

    def begin_create(self, instance: Resource, operation: Operation, fault: Fault | None) -> None:
        instance.state["power"] = "Creating"
        self._settle_later(instance, operation, fault, INSTANCE_CREATED_S, "Running")

    def begin(self, verb: str, instance: Resource, operation: Operation, fault: Fault | None) -> None:
        """`verb`: start, stop or restart."""
        power, after_s, then = _VERBS[verb]
        instance.state["power"] = power
        instance.properties["provisioningState"] = "Updating"
        self._settle_later(instance, operation, fault, after_s, then)

    def view(self, instance: Resource) -> dict[str, Any]:
        """The inner `properties` of a GET."""
        return {
            **instance.properties["properties"],
            "state": instance.state["power"],
            "createdBy": {
                "userName": estate.APP.name,
                "userOrgId": estate.TENANT,
                "userId": estate.APP.object_id,
            },
            "errors": None,
        }

    def _settle_later(
        self, instance: Resource, operation: Operation, fault: Fault | None, after_s: float, power: str
    ) -> None:
        place = {"instance": instance.id, "power": power}
        self._world.operations.then(operation, fault, after_s, "instance.settled", **place)

    def _settled(self, at: float, instance: str, power: str, operation: str) -> None:
        found = self._world.store.get(instance)
        if found is None or not self._world.operations.is_running(operation):
            return
        size = size_of(str(found.properties["properties"]["vmSize"]))
        assert size is not None
        if found.state["power"] == "Creating":
            refusal = cluster_quota.refusal(self._world, found.location, size, 1, low_priority=False)
            if refusal:
                found.properties["provisioningState"], found.state["power"] = "Failed", "CreateFailed"
                found.state["error"] = error_object("ClusterMinNodesExceedCoreQuota", refusal)
                self._world.operations.fail(operation, at, found.state["error"])
                return
        found.state["power"] = power
        found.properties["provisioningState"] = "Succeeded"
        if power == "Running":
            price = catalog.price_usd_per_hour(size.name, found.location)
            self._world.meter.start(found.id, f"ComputeInstance {size.name}", price, at, found.tags)
        else:
            self._world.meter.stop(found.id, at)
        self._world.operations.succeed(operation, at)
