"""What can be rented: quotas and their use, sizes and where they are sold."""

from __future__ import annotations

from localdev.azuresim import catalog
from localdev.azuresim.compute import quota
from localdev.azuresim.compute.virtual_machines import VERSIONS
from localdev.azuresim.errors import ArmError
from localdev.azuresim.estate import location_name
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.world import World

SKU_VERSIONS = ("2021-07-01",)
_SUBSCRIPTION = "/subscriptions/{subscription}/providers/Microsoft.Compute"


class Offers:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        location, action = f"{_SUBSCRIPTION}/locations/{{location}}", "Microsoft.Compute/locations"
        return [
            Route("GET", f"{location}/usages", f"{action}/usages/read", self.usages, VERSIONS),
            Route("GET", f"{location}/vmSizes", f"{action}/vmSizes/read", self.sizes, VERSIONS),
            Route("GET", f"{_SUBSCRIPTION}/skus", "Microsoft.Compute/skus/read", self.skus, SKU_VERSIONS),
        ]

    def usages(self, call: Call) -> Reply:
        return Reply(200, {"value": list(quota.usages(self._world, _region(call.params["location"])))})

    def sizes(self, call: Call) -> Reply:
        region = _region(call.params["location"])
        shown = [
            {
                "name": size.name,
                "numberOfCores": size.vcpus,
                "memoryInMB": int(size.memory_gib * 1024),
                "osDiskSizeInMB": 1047552,
                "resourceDiskSizeInMB": 0,
                "maxDataDiskCount": size.vcpus * 2,
            }
            for size in catalog.SIZES.values()
            if catalog.is_sold(size.name, region)
        ]
        return Reply(200, {"value": shown})

    def skus(self, call: Call) -> Reply:
        text = call.query.get("$filter", "")
        if text and not text.startswith("location eq "):
            raise ArmError(400, "InvalidFilter", f"Only location eq '..' can be filtered by, got: {text}")
        wanted = text.removeprefix("location eq ").strip("'")
        regions = [_region(wanted)] if wanted else list(self._world.quotas)
        return Reply(200, {"value": [sku for region in regions for sku in quota.skus(region)]})


def _region(text: str) -> str:
    name = location_name(text)
    if name is None:
        raise ArmError(
            400, "NoRegisteredProviderFound", f"The location '{text}' is not simulated.", target="location"
        )
    return name
