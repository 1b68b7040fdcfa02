"""What the simulated subscription may rent, and for how much."""

from __future__ import annotations

import pytest

from localdev.azuresim import catalog
from localdev.azuresim.catalog import DEFAULT_QUOTAS, REGIONS, SIZES, NotSold


@pytest.mark.parametrize(
    ("size", "region", "priority", "usd"),
    [
        ("Standard_D4s_v5", "westeurope", "Regular", 0.23),
        ("Standard_D4s_v5", "westeurope", "Spot", 0.042504),
        ("standard_d4s_v5", "WestEurope", "Regular", 0.23),
        ("Standard_NC4as_T4_v3", "westeurope", "Spot", 0.457113),
        ("Standard_NC24ads_A100_v4", "northeurope", "Regular", 4.408),
        ("Standard_B2s", "northeurope", "Regular", 0.045),
    ],
)
def test_a_price_is_the_one_of_the_retail_list(
    size: str, region: str, priority: catalog.Priority, usd: float
) -> None:
    assert catalog.price_usd_per_hour(size, region, priority) == usd


@pytest.mark.parametrize(
    ("size", "region", "priority"),
    [
        ("Standard_B2s", "westeurope", "Spot"),
        ("Standard_D4s_v5", "atlantis", "Regular"),
        ("Standard_NC40ads_H100_v5", "francecentral", "Regular"),
        ("Standard_Z9000", "westeurope", "Regular"),
    ],
)
def test_what_is_not_sold_has_no_price(size: str, region: str, priority: catalog.Priority) -> None:
    assert not catalog.is_sold(size, region, priority)
    with pytest.raises(NotSold, match=size):
        catalog.price_usd_per_hour(size, region, priority)


def test_every_size_is_sold_in_the_default_region_and_has_a_quota() -> None:
    for size in SIZES.values():
        assert catalog.is_sold(size.name, "westeurope")
        assert catalog.is_sold(size.name, "westeurope", "Spot") == size.spot_capable
        for region in REGIONS:
            assert size.family in DEFAULT_QUOTAS[region]


def test_spot_costs_less_and_more_cores_of_a_family_cost_more() -> None:
    for size in SIZES.values():
        if size.spot_capable:
            regular = catalog.price_usd_per_hour(size.name, "westeurope")
            assert 0 < catalog.price_usd_per_hour(size.name, "westeurope", "Spot") < regular
    families = {size.family for size in SIZES.values()}
    for family in families:
        prices = [
            catalog.price_usd_per_hour(size.name, "westeurope")
            for size in sorted(SIZES.values(), key=lambda each: (each.vcpus, each.memory_gib))
            if size.family == family
        ]
        assert prices == sorted(prices)


def test_a_new_region_has_no_graphics_cards() -> None:
    gpu_families = {size.family for size in SIZES.values() if size.gpus}
    assert all(DEFAULT_QUOTAS["francecentral"][family] == 0 for family in gpu_families)
    assert DEFAULT_QUOTAS["westeurope"]["StandardNCadsH100v5Family"] == 0
    assert DEFAULT_QUOTAS["westeurope"]["Standard NCASv3_T4 Family"] > 0


@pytest.mark.parametrize(
    ("kind", "gib", "tier"),
    [
        ("StandardSSD_LRS", 128, "E10"),
        ("StandardSSD_LRS", 129, "E15"),
        ("premium_lrs", 1, "P4"),
        ("Standard_LRS", 4096, "S50"),
    ],
)
def test_a_disk_is_billed_as_the_next_larger_tier(kind: str, gib: int, tier: str) -> None:
    assert catalog.disk_tier(kind, gib) == tier


def test_a_disk_month_costs_its_list_price() -> None:
    assert round(catalog.disk_price_usd_per_hour("e10") * catalog.HOURS_PER_MONTH, 2) == 9.60
    for unknown in ("E99", ""):
        with pytest.raises(NotSold):
            catalog.disk_price_usd_per_hour(unknown)
    with pytest.raises(NotSold):
        catalog.disk_tier("StandardSSD_LRS", 100_000)
    with pytest.raises(NotSold):
        catalog.disk_tier("Punched_Cards", 1)
