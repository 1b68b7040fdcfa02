"""What is in the machines' resource group: listed whole, read by id, taken away one by one.

The list is taken without a tag filter: with one, ARM leaves the tags out of its answer (REST API reference of
Resources - List By Resource Group, `$filter`), and the group holds nothing but machines anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.azure.arm import (
    COMPUTE_API,
    DISKS_API,
    NETWORK_API,
    RESOURCES_API,
    SCHEDULES_API,
    Answer,
    group_id,
    pages,
    request,
)
from shared.domain.lease import OwnedResource

VM = "Microsoft.Compute/virtualMachines"
NIC = "Microsoft.Network/networkInterfaces"
PUBLIC_IP = "Microsoft.Network/publicIPAddresses"
DISK = "Microsoft.Compute/disks"
SCHEDULE = "Microsoft.DevTestLab/schedules"

# The order of removal: each is held by what stands before it. The schedule is a machine's brake, so it goes last.
API_VERSIONS: Mapping[str, str] = {
    VM: COMPUTE_API,
    NIC: NETWORK_API,
    PUBLIC_IP: NETWORK_API,
    DISK: DISKS_API,
    SCHEDULE: SCHEDULES_API,
}
_NAMES = {name.lower(): name for name in API_VERSIONS}


def list_group() -> tuple[list[OwnedResource], datetime]:
    """Everything of the types above in the group, in the order of removal, and ARM's time of the look.

    ARM answers from its own cache: for some seconds after a change the list may lag, either way.
    """
    found: list[OwnedResource] = []
    now: datetime | None = None
    for page in pages(f"{group_id()}/resources", api_version=RESOURCES_API, target="list the resource group"):
        now = now or page.date
        found += [
            OwnedResource(
                id=item["id"],
                type=_NAMES[item["type"].lower()],
                region=item.get("location", ""),
                tags=tags_of(item),
            )
            for item in page.body["value"]
            if item["type"].lower() in _NAMES
        ]
    assert now is not None  # a list has at least one page
    order = list(API_VERSIONS)
    return sorted(found, key=lambda each: (order.index(each.type), each.id.lower())), now


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    """A resource's tags, with names in lower case: ARM compares tag names without case and keeps whatever was written."""
    return {name.lower(): value for name, value in (resource.get("tags") or {}).items()}


def read(resource: OwnedResource) -> Answer:
    """The resource as its own provider knows it now; `is_missing` if it is gone."""
    return request(
        "GET",
        resource.id,
        api_version=API_VERSIONS[resource.type],
        target=f"read {resource.type} {resource.name}",
        may_be_missing=True,
    )


def delete(resource: OwnedResource) -> Answer:
    """Begin its deletion. Already gone is success. The caller has checked whose it is."""
    return request(
        "DELETE",
        resource.id,
        api_version=API_VERSIONS[resource.type],
        target=f"delete {resource.type} {resource.name}",
        may_be_missing=True,
    )
