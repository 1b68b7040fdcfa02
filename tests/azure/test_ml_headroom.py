"""Preflight on Azure ML: its own quotas, per family and for low priority, in words a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shared.azure.ml_headroom import QUOTA_PAGE, Region, headroom, read_region
from shared.domain.offers import Offer, Priority
from tests.support.cloud import Cloud

OURS = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/muster/providers/" \
    "Microsoft.MachineLearningServices/workspaces/muster-ml"  # fmt: skip
FAMILY = "Standard NCASv3_T4 Family Cluster Dedicated vCPUs"
DEDICATED = "Total Cluster Dedicated Regional vCPUs"
LOW_PRIORITY = "Total Cluster LowPriority Regional vCPUs"
SIZE = {
    "name": "Standard_NC4as_T4_v3",
    "family": "Standard NCASv3_T4 Family",
    "vCPUs": 4,
    "gpus": 1,
    "lowPriorityCapable": True,
    "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
}


@pytest.fixture(autouse=True)
def inhabited(cloud: Cloud) -> Iterator[Cloud]:
    """Whose workspace is ours is a setting."""
    yield cloud


def usage(
    name: str, used: int, limit: int, *, id: str = "/subscriptions/s/usages", kind: str = ""
) -> dict[str, Any]:
    return {"id": id, "type": kind or "Microsoft.MachineLearningServices/vmFamily/usages",
            "name": {"value": name}, "currentValue": used, "limit": limit}  # fmt: skip


def region(*usages: dict[str, Any], size: dict[str, Any] | None = None) -> Region:
    standard = [
        usage("Clusters", 7, 100),
        usage(DEDICATED, 14, 24),
        usage(LOW_PRIORITY, 18, 50),
        usage(FAMILY, 4, 16),
    ]
    names = {each["name"]["value"] for each in usages if not each["id"].startswith("/subscriptions/1")}
    kept = [each for each in standard if each["name"]["value"] not in names]
    return read_region("westeurope", [size or SIZE], [*kept, *usages])


def offer(priority: Priority = Priority.REGULAR, size: str = "Standard_NC4as_T4_v3") -> Offer:
    return Offer(size=size, region="westeurope", priority=priority, vcpus=4)


def test_room_is_told_with_the_family_s_quota() -> None:
    look = headroom(offer(), region(), nodes=2)

    assert (look.available, look.family, look.limit, look.usage, look.needed) == (True, FAMILY, 16, 4, 8)


@pytest.mark.parametrize(
    ("priority", "usages", "nodes", "words"),
    [
        (Priority.REGULAR, (), 4,
         f"quota {FAMILY!r} in westeurope: limit 16, used 4, needed 16; raise it at {QUOTA_PAGE}"),
        (Priority.REGULAR, (usage(DEDICATED, 23, 24),), 1, f"{DEDICATED!r} in westeurope: limit 24, used 23, needed 4"),
        (Priority.SPOT, (usage(LOW_PRIORITY, 0, 0),), 1, f"{LOW_PRIORITY!r} in westeurope: limit 0"),
        (Priority.REGULAR, (usage("Clusters", 9, 9),), 1, "quota 'Clusters' in westeurope: limit 9, used 9, needed 1"),
        (Priority.REGULAR, (usage(FAMILY, 0, 2, id=f"{OURS}/usages/x"),), 1, "limit 2, used 0, needed 4"),
    ],
)  # fmt: skip
def test_each_quota_can_stand_in_the_way(
    priority: Priority, usages: tuple[dict[str, Any], ...], nodes: int, words: str
) -> None:
    look = headroom(offer(priority), region(*usages), nodes)

    assert not look.available
    assert words in look.reason


def test_a_limit_of_minus_one_is_none_and_others_quotas_are_not_ours() -> None:
    elsewhere = OURS.replace("muster-ml", "muster-ml-2")
    look = headroom(
        offer(Priority.SPOT),
        region(
            usage("Standard NCASv3_T4 Family Cluster LowPriority vCPUs", 40, -1),
            usage(LOW_PRIORITY, 0, 0, id=f"{elsewhere}/usages/x"),
            usage(LOW_PRIORITY, 8, 8, id=f"{OURS}/computes/c/usages/x",
                  kind="Microsoft.MachineLearningServices/workspaces/computes/usages"),
        ),
        nodes=8,
    )  # fmt: skip

    assert look.available, look.reason


@pytest.mark.parametrize(
    ("size", "wanted", "words"),
    [
        ({}, offer(size="Standard_NV6"), "Azure ML has no Standard_NV6 in westeurope"),
        ({"supportedComputeTypes": ["ComputeInstance"]}, offer(), "cannot be a node"),
        ({"lowPriorityCapable": False}, offer(Priority.SPOT), "not to be had at low priority"),
    ],
)
def test_a_size_that_is_no_node_there_is_refused(size: dict[str, Any], wanted: Offer, words: str) -> None:
    look = headroom(wanted, region(size={**SIZE, **size}), nodes=1)

    assert not look.available
    assert words in look.reason


def test_a_family_whose_quota_is_not_told_is_worth_a_try() -> None:
    """Azure ML writes families in more than one way; what it forbids it refuses, at no cost."""
    look = headroom(offer(), region(size={**SIZE, "family": "standardUnheardOfFamily"}), nodes=1)

    assert look.available
