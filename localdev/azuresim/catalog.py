"""Sizes, prices and quotas of the simulated subscription: what can be rented, where, and for how much.

VM prices are single figures of the Azure Retail Prices API, in prices.csv with their date (2026-08-22 from
andy-diericks/azure-pricing-radar, else 2026-05-20 from anycloud-sh/catalog). A size without a row for a
region is not sold there. Family names are the ones Microsoft.Compute/skus and usages report.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Priority = Literal["Regular", "Spot"]

HOURS_PER_MONTH = 730  # how Azure turns a monthly disk price into an hourly one

# Standard static IPv4 address, attached or not (azure.microsoft.com/pricing/details/ip-addresses).
PUBLIC_IP_USD_PER_HOUR = 0.005


class NotSold(LookupError):
    """This size, priority or disk tier has no price in this region: it cannot be bought there."""


@dataclass(frozen=True)
class Size:
    name: str
    family: str
    vcpus: int
    memory_gib: float
    gpus: int = 0
    spot_capable: bool = True


_T4 = "Standard NCASv3_T4 Family"
_A100 = "StandardNCADSA100v4Family"
_H100 = "StandardNCadsH100v5Family"


def _sizes() -> Iterable[Size]:
    # Burstable sizes cannot be Spot: virtual-machines/spot-vms, "VM sizes not supported".
    yield Size("Standard_B1ms", "standardBSFamily", 1, 2, spot_capable=False)
    yield Size("Standard_B2s", "standardBSFamily", 2, 4, spot_capable=False)
    yield Size("Standard_B2ms", "standardBSFamily", 2, 8, spot_capable=False)
    yield Size("Standard_B4ms", "standardBSFamily", 4, 16, spot_capable=False)
    for vcpus in (2, 4):
        yield Size(f"Standard_D{vcpus}_v3", "standardDv3Family", vcpus, vcpus * 4)
    for vcpus in (2, 4, 8):
        yield Size(f"Standard_D{vcpus}s_v3", "standardDSv3Family", vcpus, vcpus * 4)
        yield Size(f"Standard_D{vcpus}_v5", "standardDv5Family", vcpus, vcpus * 4)
        yield Size(f"Standard_D{vcpus}as_v5", "standardDASv5Family", vcpus, vcpus * 4)
    for vcpus in (2, 4, 8, 16, 32):
        yield Size(f"Standard_D{vcpus}s_v5", "standardDSv5Family", vcpus, vcpus * 4)
    for vcpus in (2, 4, 8, 16):
        yield Size(f"Standard_E{vcpus}s_v5", "standardESv5Family", vcpus, vcpus * 8)
        yield Size(f"Standard_F{vcpus}s_v2", "standardFSv2Family", vcpus, vcpus * 2)
    yield Size("Standard_NC4as_T4_v3", _T4, 4, 28, gpus=1)
    yield Size("Standard_NC8as_T4_v3", _T4, 8, 56, gpus=1)
    yield Size("Standard_NC16as_T4_v3", _T4, 16, 110, gpus=1)
    yield Size("Standard_NC64as_T4_v3", _T4, 64, 440, gpus=4)
    yield Size("Standard_NC24ads_A100_v4", _A100, 24, 220, gpus=1)
    yield Size("Standard_NC48ads_A100_v4", _A100, 48, 440, gpus=2)
    yield Size("Standard_NC40ads_H100_v5", _H100, 40, 320, gpus=1)
    yield Size("Standard_NC80adis_H100_v5", _H100, 80, 640, gpus=2)


SIZES: Mapping[str, Size] = {size.name: size for size in _sizes()}

# Cores a pay-as-you-go subscription may hold at once, by the names of Microsoft.Compute usages. GPU families
# start at 0 in a new subscription and must be asked for; westeurope and northeurope are as after a request.
_NEW_SUBSCRIPTION: Mapping[str, int] = {
    "cores": 100,
    "lowPriorityCores": 100,
    "virtualMachines": 25_000,
    "standardBSFamily": 20,
    "standardDv3Family": 20,
    "standardDSv3Family": 20,
    "standardDv5Family": 20,
    "standardDASv5Family": 20,
    "standardDSv5Family": 64,
    "standardESv5Family": 32,
    "standardFSv2Family": 32,
    _T4: 0,
    _A100: 0,
    _H100: 0,
}
DEFAULT_QUOTAS: Mapping[str, Mapping[str, int]] = {
    "westeurope": {**_NEW_SUBSCRIPTION, _T4: 16},
    "northeurope": {**_NEW_SUBSCRIPTION, _T4: 16, _A100: 24},
    "francecentral": _NEW_SUBSCRIPTION,
    "swedencentral": _NEW_SUBSCRIPTION,
    "eastus": _NEW_SUBSCRIPTION,
}
REGIONS = tuple(DEFAULT_QUOTAS)
# Azure Machine Learning counts apart from that, by its own limits (how-to-manage-quotas): clusters and instances of a
# region, dedicated cores in total and by family, low-priority cores across all families.
DEFAULT_ML_QUOTAS: Mapping[str, Mapping[str, int]] = {
    region: {
        "clusters": 200,
        "dedicatedCores": 100,
        "lowPriorityCores": 100,
        **{family: limit for family, limit in limits.items() if family.casefold().startswith("standard")},
    }
    for region, limits in DEFAULT_QUOTAS.items()
}

# Largest disk of a tier in GiB: a disk is billed as the next larger tier (disks-understand-billing).
_TIER_GIB = {4: 32, 6: 64, 10: 128, 15: 256, 20: 512, 30: 1024, 40: 2048, 50: 4096}
# Price list of managed disks, LRS, USD per month: East US figures of 2024, used for every region here.
_USD_PER_MONTH = {
    f"{letter}{number}": usd
    for letter, prices in {
        "P": (5.28, 10.21, 19.71, 38.01, 73.22, 135.17, 259.05, 495.57),
        "E": (2.40, 4.80, 9.60, 19.20, 38.40, 76.80, 153.60, 307.20),
        "S": (1.54, 3.01, 5.89, 11.33, 21.76, 40.96, 77.83, 143.36),
    }.items()
    for number, usd in zip(_TIER_GIB, prices, strict=True)
}
_TIER_LETTER = {"premium_lrs": "P", "standardssd_lrs": "E", "standard_lrs": "S"}


def price_usd_per_hour(size: str, region: str, priority: Priority = "Regular") -> float:
    """Pay-as-you-go or Spot price of one machine; raises NotSold where the price list has none."""
    regular, spot = _PRICES.get((size.casefold(), region.casefold()), (None, None))
    price = spot if priority == "Spot" else regular
    if price is None:
        raise NotSold(f"{size} ({priority}) has no price in {region}")
    return price


def is_sold(size: str, region: str, priority: Priority = "Regular") -> bool:
    regular, spot = _PRICES.get((size.casefold(), region.casefold()), (None, None))
    return (spot if priority == "Spot" else regular) is not None


def disk_tier(storage_account_type: str, size_gib: int) -> str:
    """disk_tier("StandardSSD_LRS", 150) -> "E15": the tier the disk is billed as."""
    letter = _TIER_LETTER.get(storage_account_type.casefold())
    if letter is None:
        raise NotSold(f"no price for disks of type {storage_account_type}; known: {', '.join(_TIER_LETTER)}")
    for number, largest_gib in _TIER_GIB.items():
        if size_gib <= largest_gib:
            return f"{letter}{number}"
    raise NotSold(f"no price for a disk of {size_gib} GiB; the largest is {max(_TIER_GIB.values())} GiB")


def disk_price_usd_per_hour(tier: str) -> float:
    """A disk bills from creation to deletion, also while its machine is deallocated."""
    try:
        return _USD_PER_MONTH[tier.upper()] / HOURS_PER_MONTH
    except KeyError:
        raise NotSold(f"no price for disk tier {tier!r}; known: {', '.join(_USD_PER_MONTH)}") from None


def _read_prices() -> dict[tuple[str, str], tuple[float | None, float | None]]:
    text = resources.files(__package__).joinpath("prices.csv").read_text()
    return {
        (row["size"].casefold(), row["region"]): (
            float(row["usd_per_hour"]),
            float(row["spot_usd_per_hour"]) if row["spot_usd_per_hour"] else None,
        )
        for row in csv.DictReader(text.splitlines())
    }


_PRICES = _read_prices()
