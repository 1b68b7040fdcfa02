"""Cores in use and allowed, by region and family.

A machine counts from its creating request until it is deleted, deallocated or not (learn: virtual-machines/quotas,
"quota is calculated based on the total number of cores in use both allocated and deallocated").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.catalog import Size
from localdev.azuresim.errors import ArmError
from localdev.azuresim.world import World

_REGIONAL, _SPOT, _MACHINES = "cores", "lowPriorityCores", "virtualMachines"
_TEXTS = {_REGIONAL: "Total Regional Cores", _SPOT: "LowPriorityCores", _MACHINES: "Virtual Machines"}
_DISPLAY = {
    _REGIONAL: "Total Regional vCPUs",
    _SPOT: "Total Regional Low-priority vCPUs",
    _MACHINES: "Virtual Machines",
}


def check(world: World, location: str, size: Size, *, spot: bool, instead_of: str = "") -> None:
    """Raises Azure's OperationNotAllowed if one machine of `size` more does not fit. `instead_of`: an id not to count."""
    limits = world.quotas[location]
    for name in (_SPOT,) if spot else (size.family, _REGIONAL):
        used, limit = used_cores(world, location, name, instead_of), limits.get(name, 0)
        if used + size.vcpus > limit:
            raise _exceeded(
                _TEXTS.get(name, f"{name} Cores").removesuffix(" Cores"), location, limit, used, size.vcpus
            )


def used_cores(world: World, location: str, name: str, but: str = "") -> int:
    used = 0
    for vm in world.store.of_type("Microsoft.Compute/virtualMachines"):
        if vm.location != location or vm.id.casefold() == but.casefold():
            continue
        size = catalog.SIZES[vm.properties["hardwareProfile"]["vmSize"]]
        spot = vm.properties.get("priority", "Regular") != "Regular"
        if name == _MACHINES:
            used += 1
        elif name == (_SPOT if spot else size.family) or (name == _REGIONAL and not spot):
            used += size.vcpus
    return used


def usages(world: World, location: str) -> Iterator[dict[str, Any]]:
    for name, limit in world.quotas[location].items():
        display = _DISPLAY.get(name) or f"{name.removesuffix('Family')} Family vCPUs"
        yield {
            "limit": limit,
            "unit": "Count",
            "currentValue": used_cores(world, location, name),
            "name": {"value": name, "localizedValue": display},
        }


def skus(location: str) -> Iterator[dict[str, Any]]:
    """Resource SKUs of one region, sizes without a price there as restricted."""
    for size in catalog.SIZES.values():
        sold = catalog.is_sold(size.name, location)
        capabilities = {
            "vCPUs": size.vcpus,
            "vCPUsAvailable": size.vcpus,
            "MemoryGB": f"{size.memory_gib:g}",
            "GPUs": size.gpus or None,
            "LowPriorityCapable": size.spot_capable and catalog.is_sold(size.name, location, "Spot"),
            "PremiumIO": True,
            "HyperVGenerations": "V1,V2",
            "CpuArchitectureType": "x64",
            "EncryptionAtHostSupported": True,
            "AcceleratedNetworkingEnabled": size.vcpus > 1,
        }
        yield {
            "resourceType": "virtualMachines",
            "name": size.name,
            "tier": "Standard",
            "size": size.name.removeprefix("Standard_"),
            "family": size.family,
            "locations": [location],
            "locationInfo": [{"location": location, "zones": ["1", "2", "3"], "zoneDetails": []}],
            "capabilities": [
                {"name": name, "value": str(value)}
                for name, value in capabilities.items()
                if value is not None
            ],
            "restrictions": [] if sold else [_restriction(location)],
        }


def _restriction(location: str) -> dict[str, Any]:
    return {
        "type": "Location",
        "values": [location],
        "restrictionInfo": {"locations": [location]},
        "reasonCode": "NotAvailableForSubscription",
    }


def _exceeded(name: str, location: str, limit: int, used: int, needed: int) -> ArmError:
    label = name if name == "LowPriorityCores" else f"{name} Cores"
    return ArmError(
        409,
        "OperationNotAllowed",
        f"Operation could not be completed as it results in exceeding approved {label} quota. Additional details - "
        f"Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used}, "
        f"Additional Required: {needed}, (Minimum) New Limit Required: {used + needed}. Setup Alerts when Quota "
        "reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . Submit a request for Quota increase "
        "at https://aka.ms/ProdportalCRP/#blade/Microsoft_Azure_Capacity/UsageAndQuota.ReactView by specifying "
        "parameters listed in the ‘Details’ section for deployment to succeed. Please read more about quota limits at "
        "https://docs.microsoft.com/en-us/azure/azure-supportability/per-vm-quota-requests",
    )
