"""The end of a dsvm: everything of the lease goes, and nothing of anybody else's is ever touched."""

from __future__ import annotations

from typing import Any

import pytest

from shared.azure import arm, compute
from shared.azure.resources import DISK, NIC, SCHEDULE, VM
from shared.azure.vm_bodies import vm_body
from shared.azure.vm_estate import nic_name, vm_name
from shared.config import settings
from shared.domain.errors import ConflictError, TransientError
from shared.domain.lease import Lease, MachineState
from shared.platforms import dsvm
from tests.platforms.machines import DSVM, VMS, read, types
from tests.support.cloud import Cloud


def test_a_failed_carcass_is_taken_away_by_the_reaper_too(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "allocation-failed-later"}, lease=lease)
    cloud.pass_time(VMS.begin_provision(lease).poll_after_s)
    cloud.until(lambda: VMS.observe_machine(lease), lambda m: m.state is MachineState.FAILED)

    for _ in range(6):
        for resource in VMS.list_owned().resources:
            if resource.tags.get("muster-lease") == lease.id:
                VMS.begin_removal(resource)
        cloud.pass_time(60)

    assert cloud.resources(lease) == []


def test_a_refused_delete_is_asked_again_until_it_is_done(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": "conflict"}, {"preset": "delete-throttled", "nth": 2}, lease=lease)

    for expected in ("Conflict", "SubscriptionRequestsThrottled"):
        with pytest.raises(TransientError) as refused:
            VMS.begin_delete(lease)
        assert refused.value.code == expected
        assert SCHEDULE in types(lease), "the brake stays as long as the machine does"
        cloud.pass_time(refused.value.retry_after_s or 30)

    cloud.gone(DSVM, lease)


def test_what_a_deletion_leaves_behind_is_swept(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": "left-behind"}, lease=lease)
    operation = VMS.begin_delete(lease)
    assert operation is not None
    cloud.pass_time(max(operation.poll_after_s, 300))
    assert types(lease) == sorted([NIC, DISK])

    cloud.gone(DSVM, lease)

    assert cloud.resources(lease) == []


def test_a_nic_left_behind_is_found_by_the_reaper_though_it_has_no_tags(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": "nic-left-behind"}, lease=lease)
    VMS.begin_delete(lease)
    cloud.pass_time(600)
    assert types(lease) == [NIC]

    (nic,) = [r for r in VMS.list_owned().resources if nic_name(lease) in r.id]
    VMS.begin_removal(nic)
    cloud.pass_time(60)

    assert cloud.resources(lease) == []


def test_the_reaper_does_not_pull_pieces_from_under_a_living_machine(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    for resource in VMS.list_owned().resources:
        if lease.id in resource.id and resource.type != VM:
            VMS.begin_removal(resource)
    cloud.pass_time(60)

    assert types(lease) == sorted([VM, NIC, DISK, SCHEDULE])
    assert VMS.observe_machine(lease).state is MachineState.READY


def _stranger(cloud: Cloud, lease: Lease, tags: dict[str, str], name: str = "") -> str:
    """Somebody else's machine, under the name of the lease's (or `name`)."""
    body: dict[str, Any] = vm_body(
        lease, settings(), image=dsvm.IMAGE, disk_gib=dsvm.OS_DISK_GIB, disk_type=dsvm.OS_DISK_TYPE
    )
    body["tags"] = tags
    if name:
        body["properties"]["storageProfile"]["osDisk"]["name"] = f"{name}-disk"
        body["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]["name"] = (
            f"{name}-interface"
        )
    compute.begin_create_vm(name or vm_name(lease), body)
    cloud.pass_time(600)
    return name or vm_name(lease)


def _remove_stranger(cloud: Cloud, name: str) -> None:
    compute.begin_delete_vm(name)
    cloud.pass_time(600)


@pytest.mark.parametrize(
    "changes",
    [{}, {"muster-app": "muster2"}, {"muster-lease": "0" * 16}, {"muster-epoch": "11"}],
    ids=["untagged", "other-app", "other-lease", "other-epoch"],
)
def test_somebody_else_s_machine_of_our_name_is_never_touched(cloud: Cloud, changes: dict[str, str]) -> None:
    lease = cloud.lease(DSVM)
    tags = {**lease.tags("muster"), **changes} if changes else {"team": "finance"}
    name = _stranger(cloud, lease, tags)
    start = cloud.mark()

    for forbidden in (VMS.begin_provision, VMS.begin_release, VMS.begin_delete):
        with pytest.raises(ConflictError):
            forbidden(lease)
    assert VMS.observe_machine(lease).state is MachineState.ABSENT
    assert not any(each.type == VM for each in VMS.list_remains(lease))

    assert {r["method"] for r in cloud.requests(since=start)} == {"GET"}
    assert read(VM, name).body["tags"] == tags
    _remove_stranger(cloud, name)


def test_a_stranger_that_comes_between_look_and_create_wins_and_is_left_alone(
    cloud: Cloud, lease: Lease
) -> None:
    """The look sees nothing (reads lag), the create is refused by If-None-Match, the second look tells whose it is."""
    name = _stranger(cloud, lease, {"team": "finance"})
    cloud.faults({"preset": "read-after-write"}, lease=lease)
    before = _disk_ids(cloud)

    with pytest.raises(ConflictError, match="left alone"):
        VMS.begin_provision(lease)

    cloud.control.clear_faults()
    assert read(VM, name).body["tags"] == {"team": "finance"}
    assert _disk_ids(cloud) == before
    _remove_stranger(cloud, name)


def _disk_ids(cloud: Cloud) -> list[str]:
    return sorted(r["id"] for r in cloud.control.resources() if "/disks/" in r["id"])


def test_our_own_twin_between_look_and_create_is_welcome(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": "read-after-write"}, lease=lease)

    cloud.pass_time(VMS.begin_provision(lease).poll_after_s)

    assert VMS.observe_machine(lease).state is MachineState.READY


def test_decoys_with_tags_that_are_nearly_ours_survive_release_and_reaper(cloud: Cloud) -> None:
    lease = cloud.lease(DSVM)
    own = lease.tags("muster")
    decoys = {
        "decoy-app": {**own, "muster-app": "muster-staging"},
        "decoy-lease": {**own, "muster-lease": lease.id[:-1]},
        "decoy-managed": {"muster-managed-by": "muster", "muster-owner": lease.owner},
    }
    for name, tags in decoys.items():
        _stranger(cloud, lease, tags, name)
    cloud.ready(DSVM, lease)

    cloud.gone(DSVM, lease)
    owned = {each.name for each in VMS.list_owned().resources}

    for name, tags in decoys.items():
        assert read(VM, name).body["tags"] == tags
    assert "decoy-app" not in owned and "decoy-managed" not in owned
    for name in decoys:
        _remove_stranger(cloud, name)


def test_a_machine_that_is_only_stopped_still_bills_and_is_deallocated(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    client = compute.client().virtual_machines
    client.begin_power_off(
        settings().resource_group, vm_name(lease), polling=False, api_version=arm.COMPUTE_API
    )
    cloud.pass_time(120)

    assert VMS.observe_machine(lease).state is MachineState.STOPPED
    operation = VMS.begin_release(lease)
    assert operation is not None
    cloud.pass_time(max(operation.poll_after_s, 120))
    assert VMS.observe_machine(lease).state is MachineState.DEALLOCATED
