"""Is there room for so many machines of a size? Quota and stock as Azure tells them; nothing is reserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.azure import compute
from shared.domain.offers import Headroom, Offer, Priority

QUOTA_PAGE = "https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade/~/myQuotas"
_ALL_CORES, _SPOT_CORES = "cores", "lowPriorityCores"


@dataclass(frozen=True)
class Region:
    """One region as this subscription sees it: sizes by lower-case name, (usage, limit) by lower-case quota name."""

    name: str
    sizes: Mapping[str, Mapping[str, Any]]
    quotas: Mapping[str, tuple[int, int]]


def check(offers: Sequence[Offer], nodes: int) -> tuple[Headroom, ...]:
    """What Azure says of each offer, in the order given: two requests per region, however many offers."""
    regions = {name: _region(name) for name in dict.fromkeys(offer.region for offer in offers)}
    return tuple(headroom(offer, regions[offer.region], nodes) for offer in offers)


def headroom(offer: Offer, region: Region, nodes: int) -> Headroom:
    """The first thing that stands in the way of `nodes` machines, or the quota they would use."""
    size = region.sizes.get(offer.size.lower())
    if size is None:
        return Headroom(offer=offer, available=False, reason=f"{offer.size} does not exist in {offer.region}")
    if refusal := _restriction(size, offer.region):
        return Headroom(offer=offer, available=False, family=size.get("family", ""), reason=refusal)
    needed = nodes * _vcpus(size, offer)
    spot = offer.priority is Priority.SPOT
    looks = [
        _quota(offer, region, family, needed)
        for family in ((_SPOT_CORES,) if spot else (str(size.get("family", "")), _ALL_CORES))
    ]
    return next((look for look in looks if not look.available), looks[0])


def _region(name: str) -> Region:
    sizes = {
        str(sku["name"]).lower(): sku
        for sku in compute.list_skus(name)
        if sku.get("resourceType") == "virtualMachines"
    }
    quotas = {
        str(usage["name"]["value"]).lower(): (int(usage["currentValue"]), int(usage["limit"]))
        for usage in compute.list_usages(name)
    }
    return Region(name, sizes, quotas)


def _restriction(size: Mapping[str, Any], region: str) -> str:
    """Why this subscription cannot have the size in the region; restrictions of single zones do not concern us."""
    for each in size.get("restrictions") or ():
        if each.get("type") == "Location" and region.lower() in (v.lower() for v in each.get("values", ())):
            return (
                f"{size['name']} is not available to this subscription in {region}: {each.get('reasonCode')}"
            )
    return ""


def _vcpus(size: Mapping[str, Any], offer: Offer) -> int:
    capabilities = {each.get("name"): each.get("value") for each in size.get("capabilities") or ()}
    return int(capabilities.get("vCPUs") or offer.vcpus)


def _quota(offer: Offer, region: Region, family: str, needed: int) -> Headroom:
    usage, limit = region.quotas.get(family.lower(), (0, 0))
    available = usage + needed <= limit
    reason = (
        ""
        if available
        else f"quota {family} in {region.name}: limit {limit}, used {usage}, needed {needed}; raise it at {QUOTA_PAGE}"
    )
    return Headroom(
        offer=offer,
        available=available,
        family=family,
        limit=limit,
        usage=usage,
        needed=needed,
        reason=reason,
    )
