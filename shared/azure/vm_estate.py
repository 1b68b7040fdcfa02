"""Everything that exists because of a leased machine, and whose it is.

A piece is ours if it carries the lease's tags. A NIC made with its machine has none (inline tags came with API version
2025-04-01), so a NIC without any lease tag is known by its derived name, which holds lease and epoch. Anything else of a
derived name that does not carry our tags is not ours, and stops us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from shared.azure.resources import DISK, NIC, SCHEDULE, VM
from shared.domain import names
from shared.domain.errors import ConflictError
from shared.domain.lease import TAG_APP, TAG_EPOCH, TAG_LEASE, Lease, OwnedResource

# Azure may append a dash and some characters to the name of a NIC it makes.
_NIC_NAME = re.compile(r"(?P<vm>.+)-nic(-.+)?")


def vm_name(lease: Lease) -> str:
    return names.vm_name(lease.id, lease.epoch)


def nic_name(lease: Lease) -> str:
    return f"{vm_name(lease)}-nic"


def os_disk_name(lease: Lease) -> str:
    return f"{vm_name(lease)}-os"


def schedule_name(lease: Lease) -> str:
    """The name is Azure's: the portal and DevTest Labs find a machine's shutdown schedule by it."""
    return f"shutdown-computevm-{vm_name(lease)}"


def is_ours(tags: Mapping[str, str], lease: Lease, app: str) -> bool:
    """Exactly this app's, this lease's and this epoch's: a longer or shorter value is somebody else's."""
    own = lease.tags(app)
    found = {
        key.lower(): value for key, value in tags.items()
    }  # ARM keeps no promise about the case of tag names
    return all(found.get(key) == own[key] for key in (TAG_APP, TAG_LEASE, TAG_EPOCH))


def pieces_of(found: Iterable[OwnedResource], lease: Lease, app: str) -> list[OwnedResource]:
    """The lease's pieces among `found`, in its order. Raises ConflictError if a derived name is somebody else's."""
    pieces: list[OwnedResource] = []
    for each in found:
        if is_ours(each.tags, lease, app) or vm_name_of(each) == vm_name(lease):
            pieces.append(each)
        elif _has_derived_name(each, lease):
            raise ConflictError(
                f"{each.type} {each.name} has the name of a piece of lease {lease.id}, epoch {lease.epoch}, "
                f"but not its tags ({TAG_APP}={each.tags.get(TAG_APP)}, {TAG_LEASE}={each.tags.get(TAG_LEASE)}); "
                "nothing was touched",
                code="NotOurs",
                target=each.id,
            )
    return pieces


def owned_by(app: str, found: Iterable[OwnedResource]) -> list[OwnedResource]:
    """Everything under the app's tags. A NIC without any is given its machine's.

    Where its machine is gone too, lease and epoch come from the name and there is no deadline: whoever reads it knows
    that nobody needs it any more.
    """
    found = list(found)
    tags_of_vm = {each.name.lower(): each.tags for each in found if each.type == VM}
    owned: list[OwnedResource] = []
    for each in found:
        if vm := vm_name_of(each):
            inherited = tags_of_vm.get(vm) or _tags_by_name(vm, app)
            each = each.model_copy(update={"tags": {**each.tags, **inherited}})
        if each.tags.get(TAG_APP) == app:
            owned.append(each)
    return owned


def is_still_owned(resource: OwnedResource, tags: Mapping[str, str], app: str) -> bool:
    """Whether `tags`, read right now, still say what `owned_by` found."""
    if TAG_LEASE not in tags and vm_name_of(resource.model_copy(update={"tags": dict(tags)})):
        return resource.tags.get(TAG_APP) == app
    return tags.get(TAG_APP) == app and all(
        tags.get(key) == resource.tags.get(key) for key in (TAG_LEASE, TAG_EPOCH)
    )


def vm_name_of(resource: OwnedResource) -> str | None:
    """The machine whose NIC this is by its name; None for anything else, and for a NIC that has lease tags."""
    if resource.type != NIC or TAG_LEASE in resource.tags:
        return None
    match = _NIC_NAME.fullmatch(resource.name.lower())
    return match["vm"] if match and names.parse_vm_name(match["vm"]) else None


def _tags_by_name(vm: str, app: str) -> dict[str, str]:
    parsed = names.parse_vm_name(vm)
    return {TAG_APP: app, TAG_LEASE: parsed[0], TAG_EPOCH: str(parsed[1])} if parsed else {}


def _has_derived_name(resource: OwnedResource, lease: Lease) -> bool:
    name_by_type = {
        VM: vm_name(lease),
        NIC: nic_name(lease),
        DISK: os_disk_name(lease),
        SCHEDULE: schedule_name(lease),
    }
    return resource.name.lower() == name_by_type.get(resource.type)
