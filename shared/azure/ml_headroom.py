"""Is there room for so many nodes of a size? Azure ML's own quotas, which are apart from those of machines.

A cluster's quota is looked at per family for dedicated nodes, and over all families for low-priority ones; a limit of
-1 is none. Source: learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, and the example answers of
Usages_List and VirtualMachineSizes_List (2024-10-01).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.azure import ml_client
from shared.azure.classify import classified
from shared.domain.offers import Headroom, Offer, Priority

QUOTA_PAGE = "https://ml.azure.com/quota"
CLUSTERS = "Clusters"
DEDICATED = "Total Cluster Dedicated Regional vCPUs"
LOW_PRIORITY = "Total Cluster LowPriority Regional vCPUs"
_FAMILY_SUFFIX = {
    Priority.REGULAR: " Cluster Dedicated vCPUs",
    Priority.SPOT: " Cluster LowPriority vCPUs",
}


@dataclass(frozen=True)
class Quota:
    name: str
    usage: int
    limit: int  # -1: none


@dataclass(frozen=True)
class Region:
    """One region as the workspace sees it: sizes by lower-case name, quotas by key (see `_key`), tightest first."""

    name: str
    sizes: Mapping[str, Mapping[str, Any]]
    quotas: Mapping[str, tuple[Quota, ...]]


def check(offers: Sequence[Offer], nodes: int) -> tuple[Headroom, ...]:
    """What Azure ML says of each offer, in the order given: two requests per region, however many offers."""
    regions = {name: _region(name) for name in dict.fromkeys(offer.region for offer in offers)}
    return tuple(headroom(offer, regions[offer.region], nodes) for offer in offers)


def headroom(offer: Offer, region: Region, nodes: int) -> Headroom:
    """The first thing that stands in the way of a cluster of `nodes` nodes, or the quota they would use."""
    size = region.sizes.get(offer.size.lower())
    if refusal := _refusal(size, offer):
        return Headroom(offer=offer, available=False, reason=refusal)
    assert size is not None
    family, cores = str(size.get("family", "")), nodes * int(size.get("vCPUs") or offer.vcpus)
    regional = LOW_PRIORITY if offer.priority is Priority.SPOT else DEDICATED
    looks = [
        _quota(offer, region, quota, needed)
        for key, needed in (
            (family + _FAMILY_SUFFIX[offer.priority], cores), (regional, cores), (CLUSTERS, 1)
        )
        for quota in region.quotas.get(_key(key), ())
    ]  # fmt: skip
    if not looks:
        reason = f"Azure ML tells no quota for {family} in {region.name}"
        return Headroom(offer=offer, available=False, family=family, reason=reason)
    return next((look for look in looks if not look.available), looks[0])


def read_region(name: str, sizes: Sequence[Mapping[str, Any]], usages: Sequence[Mapping[str, Any]]) -> Region:
    """A region of the answers of vmSizes and usages. Usages of other workspaces, and of single clusters, are left out."""
    quotas: dict[str, list[Quota]] = {}
    for usage in usages:
        if _concerns_us(usage):
            quota = Quota(str(usage["name"]["value"]), int(usage["currentValue"]), int(usage["limit"]))
            quotas.setdefault(_key(quota.name), []).append(quota)
    return Region(
        name,
        {str(size["name"]).lower(): size for size in sizes},
        {key: tuple(found) for key, found in quotas.items()},
    )


def _region(name: str) -> Region:
    operations = ml_client.client()
    with classified(f"list sizes of Azure ML in {name}"):
        sizes = operations.virtual_machine_sizes.list(name).as_dict().get("value") or []
    with classified(f"list quotas of Azure ML in {name}"):
        usages = [usage.as_dict() for usage in operations.usages.list(name)]
    return read_region(name, sizes, usages)


def _refusal(size: Mapping[str, Any] | None, offer: Offer) -> str:
    if size is None:
        return f"Azure ML has no {offer.size} in {offer.region}"
    kinds = size.get("supportedComputeTypes")
    if kinds is not None and "AmlCompute" not in kinds:
        return f"{offer.size} cannot be a node of an Azure ML cluster"
    if offer.priority is Priority.SPOT and not size.get("lowPriorityCapable"):
        return f"{offer.size} is not to be had at low priority in {offer.region}"
    return ""


def _quota(offer: Offer, region: Region, quota: Quota, needed: int) -> Headroom:
    available = quota.limit < 0 or quota.usage + needed <= quota.limit
    reason = (
        ""
        if available
        else f"quota {quota.name!r} in {region.name}: limit {quota.limit}, used {quota.usage}, needed {needed}; "
        f"raise it at {QUOTA_PAGE}"
    )
    return Headroom(
        offer=offer,
        available=available,
        family=quota.name,
        limit=quota.limit,
        usage=quota.usage,
        needed=needed,
        reason=reason,
    )


def _concerns_us(usage: Mapping[str, Any]) -> bool:
    """The subscription's quotas, and those that were set for our workspace; not what one cluster uses of them."""
    id_, kind = str(usage.get("id", "")).lower(), str(usage.get("type", "")).lower()
    if "/computes/" in kind:
        return False
    return "/workspaces/" not in id_ or id_.startswith(f"{ml_client.workspace().id.lower()}/")


def _key(name: str) -> str:
    """One key for the ways Azure writes a family: "standardDSv2Family" and "Standard DSv2 Family"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
