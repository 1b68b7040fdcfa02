"""Preflight: what quota and stock say, in words a user can act on."""

from __future__ import annotations

from typing import Any

from shared.azure.headroom import QUOTA_PAGE, Region, headroom
from shared.domain.offers import Offer, Priority


def _region(*, restrictions: list[dict[str, Any]] | None = None, **quotas: tuple[int, int]) -> Region:
    size = {
        "name": "Standard_D4s_v5",
        "family": "standardDSv5Family",
        "capabilities": [{"name": "vCPUs", "value": "4"}],
        "restrictions": restrictions or [],
    }
    standard = {"standarddsv5family": (8, 64), "cores": (8, 100), "lowprioritycores": (0, 100)}
    return Region("westeurope", {"standard_d4s_v5": size}, {**standard, **quotas})


def _offer(size: str = "Standard_D4s_v5", priority: Priority = Priority.REGULAR) -> Offer:
    return Offer(size=size, region="westeurope", priority=priority, vcpus=4)


def test_room_is_told_with_the_quota_it_would_use() -> None:
    look = headroom(_offer(), _region(), nodes=3)

    assert look.available
    assert (look.family, look.limit, look.usage, look.needed) == ("standardDSv5Family", 64, 8, 12)


def test_a_quota_that_is_too_small_is_told_with_limit_usage_need_and_where_to_raise_it() -> None:
    look = headroom(_offer(), _region(standarddsv5family=(8, 10)), nodes=1)

    assert not look.available
    assert look.reason == (
        f"quota standardDSv5Family in westeurope: limit 10, used 8, needed 4; raise it at {QUOTA_PAGE}"
    )


def test_the_region_s_total_counts_too() -> None:
    look = headroom(_offer(), _region(cores=(97, 100)), nodes=1)

    assert not look.available and look.family == "cores"


def test_spot_has_a_quota_of_its_own() -> None:
    assert headroom(_offer(priority=Priority.SPOT), _region(standarddsv5family=(0, 0)), nodes=1).available
    look = headroom(_offer(priority=Priority.SPOT), _region(lowprioritycores=(0, 3)), nodes=1)
    assert not look.available and look.family == "lowPriorityCores"


def test_a_quota_that_exactly_suffices_is_enough() -> None:
    assert headroom(_offer(), _region(standarddsv5family=(8, 12)), nodes=1).available


def test_a_size_this_subscription_cannot_have_is_told_with_the_reason() -> None:
    banned = {"type": "Location", "values": ["westeurope"], "reasonCode": "NotAvailableForSubscription"}
    look = headroom(_offer(), _region(restrictions=[banned]), nodes=1)
    assert not look.available and "NotAvailableForSubscription" in look.reason

    one_zone = {"type": "Zone", "values": ["westeurope"], "reasonCode": "NotAvailableForSubscription"}
    assert headroom(_offer(), _region(restrictions=[one_zone]), nodes=1).available


def test_a_size_that_is_not_there_is_told() -> None:
    look = headroom(_offer("Standard_NC4as_T4_v3"), _region(), nodes=1)

    assert not look.available and look.reason == "Standard_NC4as_T4_v3 does not exist in westeurope"
