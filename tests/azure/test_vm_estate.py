"""Whose a resource is: exactly the lease's own, found by tags, and a NIC without tags by its name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.azure.resources import DISK, NIC, SCHEDULE, VM, tags_of
from shared.azure.vm_estate import is_ours, is_still_owned, owned_by, pieces_of
from shared.domain.errors import ConflictError
from shared.domain.lease import Lease, OwnedResource, TagFault, deadline_of
from shared.domain.offers import Offer

_LEASE = Lease(
    id="0123456789abcdef",
    owner="run-1",
    epoch=2,
    platform="dsvm",
    offer=Offer(size="Standard_D4s_v5", region="westeurope"),
    deadline=datetime(2026, 3, 1, 5, tzinfo=UTC),
)
_TAGS = _LEASE.tags("muster")
_NAME = "vm-0123456789abcdef-e2"


def _found(type_: str, name: str, tags: dict[str, str] | None = None) -> OwnedResource:
    return OwnedResource(id=f"/g/providers/{type_}/{name}", type=type_, tags=tags or {})


@pytest.mark.parametrize(
    "changes",
    [
        {"muster-app": "muster2"},
        {"muster-app": "Muster"},
        {"muster-lease": "0123456789abcdef0"},
        {"muster-lease": "0123456789abcde"},
        {"muster-epoch": "20"},
        {"muster-epoch": "02"},
        {"muster-lease": ""},
    ],
)
def test_near_miss_tags_are_somebody_else_s(changes: dict[str, str]) -> None:
    assert is_ours(_TAGS, _LEASE, "muster")
    assert not is_ours({**_TAGS, **changes}, _LEASE, "muster")


def test_tag_names_are_known_in_any_case() -> None:
    shouted = {"tags": {key.upper(): value for key, value in _TAGS.items()}}

    assert is_ours(tags_of(shouted), _LEASE, "muster")
    assert tags_of({}) == tags_of({"tags": None}) == {}


def test_a_lease_s_pieces_are_found_by_tags_and_a_bare_nic_by_its_name() -> None:
    ours = [
        _found(VM, _NAME, _TAGS),
        _found(NIC, f"{_NAME}-nic"),
        _found(NIC, f"{_NAME}-nic-3f2a91bc"),
        _found(DISK, "data-7", _TAGS),
        _found(SCHEDULE, f"shutdown-computevm-{_NAME}", _TAGS),
    ]
    others = [
        _found(NIC, "vm-0123456789abcdef-e20-nic"),
        _found(NIC, "jumpbox-nic"),
        _found(VM, "jumpbox"),
        _found(DISK, "database"),
        _found(VM, "vm-0123456789abcdef-e3", {**_TAGS, "muster-epoch": "3"}),
    ]

    assert pieces_of([*ours, *others], _LEASE, "muster") == ours


@pytest.mark.parametrize(
    "foreign",
    [
        _found(VM, _NAME, {"team": "finance"}),
        _found(VM, _NAME, {**_TAGS, "muster-app": "muster2"}),
        _found(DISK, f"{_NAME}-os", {"keep": "yes"}),
        _found(NIC, f"{_NAME}-nic", {**_TAGS, "muster-lease": "fedcba9876543210"}),
        _found(SCHEDULE, f"shutdown-computevm-{_NAME}"),
    ],
    ids=["vm", "other-app", "disk", "nic", "schedule"],
)
def test_a_derived_name_with_other_tags_stops_everything(foreign: OwnedResource) -> None:
    with pytest.raises(ConflictError, match="nothing was touched"):
        pieces_of([_found(DISK, "data-7", _TAGS), foreign], _LEASE, "muster")


def test_the_reaper_s_list_holds_what_is_under_our_tags_and_nothing_else() -> None:
    found = [
        _found(VM, _NAME, _TAGS),
        _found(NIC, f"{_NAME}-nic"),
        _found(VM, "jumpbox"),
        _found(VM, "vm-fedcba9876543210-e1", {**_TAGS, "muster-app": "muster2"}),
        _found(NIC, "vm-fedcba9876543210-e1-nic"),
    ]

    owned = owned_by("muster", found)

    assert [each.name for each in owned] == [_NAME, f"{_NAME}-nic"]
    assert owned[1].tags == _TAGS


def test_a_nic_whose_machine_is_gone_is_ours_and_nobody_needs_it() -> None:
    (nic,) = owned_by("muster", [_found(NIC, f"{_NAME}-nic")])

    assert (nic.tags["muster-lease"], nic.tags["muster-epoch"]) == ("0123456789abcdef", "2")
    with pytest.raises(TagFault):
        deadline_of(nic.tags)


def test_what_was_retagged_since_the_list_is_no_longer_ours() -> None:
    machine, nic = owned_by("muster", [_found(VM, _NAME, _TAGS), _found(NIC, f"{_NAME}-nic")])

    assert is_still_owned(machine, _TAGS, "muster")
    assert not is_still_owned(machine, {**_TAGS, "muster-lease": "fedcba9876543210"}, "muster")
    assert not is_still_owned(machine, {}, "muster")
    assert is_still_owned(nic, {}, "muster")
    assert not is_still_owned(nic, {**_TAGS, "muster-app": "muster2"}, "muster")
