"""Machines as the activities make, see and take them away, against the simulated Azure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from activities import compute, leases
from shared.azure import ledger
from shared.domain.errors import Cancelled, CapacityError, LeaseLost
from shared.domain.lease import TAG_LEASE, Lease, LeaseClosing, LeaseOpening, MachineState
from shared.domain.upkeep import GRACE, MAX_PER_PASS, Overdue, ReapRequest
from shared.platforms import platforms
from tests.support.cloud import Cloud

DSVM = platforms()["dsvm"]


@pytest.fixture
def lease(cloud: Cloud) -> Iterator[Lease]:
    lease = cloud.lease(DSVM)
    yield lease
    cloud.control.clear_faults()
    cloud.gone(DSVM, lease)
    ledger.settle_lease(LeaseClosing(lease=lease, at=cloud.clock.now()))


def _open(cloud: Cloud, lease: Lease) -> None:
    leases.open_lease(LeaseOpening(lease=lease, at=cloud.clock.now()))


def _close(cloud: Cloud, lease: Lease) -> None:
    leases.close_lease(LeaseClosing(lease=lease, at=cloud.clock.now()))


def _pass(*owners_over: str) -> Overdue:
    return leases.list_leases(ReapRequest(owners_over=owners_over))


def _removed(overdue: Overdue, lease: Lease) -> list[str]:
    return [r.reason for r in overdue.removals if r.resource.tags.get(TAG_LEASE) == lease.id]


def _until_after(cloud: Cloud, lease: Lease) -> None:
    """Until the lease's deadline and the grace are past."""
    cloud.pass_time((lease.deadline + GRACE - cloud.clock.now()).total_seconds() + 1)


def test_a_machine_whose_making_was_preempted_is_lost_and_not_waited_for(cloud: Cloud, lease: Lease) -> None:
    """The code says "look again", but what has failed stays failed: only another machine helps."""
    _open(cloud, lease)
    cloud.faults(
        {"kind": "async_failure", "operation": "Microsoft.Compute/virtualMachines/write", "code": "OperationPreempted",
         "message": "Operation execution has been preempted by a more recent operation."},
        lease=lease,
    )  # fmt: skip
    cloud.pass_time(compute.begin_provision(lease).poll_after_s)

    with pytest.raises(LeaseLost, match="OperationPreempted"):
        cloud.until(lambda: compute.observe_machine(lease), lambda _: False)


def test_nothing_is_created_under_a_lease_that_is_closed(cloud: Cloud, lease: Lease) -> None:
    _open(cloud, lease)
    _close(cloud, lease)
    start = cloud.mark()

    with pytest.raises(LeaseLost, match="is closed"):
        compute.begin_provision(lease)

    assert cloud.requests(since=start) == []


def test_the_next_epoch_of_a_closed_lease_is_another_machine(cloud: Cloud, lease: Lease) -> None:
    _close(cloud, lease)
    successor = lease.model_copy(update={"epoch": 2})

    cloud.pass_time(compute.begin_provision(successor).poll_after_s)

    assert len(cloud.resources(lease)) > 0
    cloud.gone(DSVM, successor)


def test_nothing_is_created_for_a_run_that_is_cancelled(cloud: Cloud, lease: Lease) -> None:
    ledger.request_cancel(lease.owner, who="test", reason="enough")
    start = cloud.mark()

    with pytest.raises(Cancelled):
        compute.begin_provision(lease)

    assert cloud.requests(since=start) == []


def test_a_machine_that_azure_failed_to_make_is_told_as_what_it_means(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "allocation-failed-later"}, lease=lease)
    cloud.pass_time(compute.begin_provision(lease).poll_after_s)

    with pytest.raises(CapacityError):
        cloud.until(lambda: compute.observe_machine(lease), lambda m: m.state is MachineState.READY)


def test_a_machine_that_was_stopped_before_it_was_ready_is_lost(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.pass_time(compute.begin_release(lease).poll_after_s)

    with pytest.raises(LeaseLost, match="deallocat"):
        compute.observe_machine(lease)


def test_what_a_machine_left_behind_keeps_its_release_from_being_over(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": "left-behind"}, lease=lease)
    cloud.pass_time(compute.begin_release(lease).poll_after_s)
    cloud.pass_time(max(compute.begin_delete(lease).poll_after_s, 300))

    remains = compute.observe_release(lease)

    assert remains.machine is MachineState.ABSENT and not remains.is_gone
    assert compute.confirm_release(lease).resources == remains.resources


def test_the_reaper_leaves_a_living_lease_alone(cloud: Cloud, lease: Lease) -> None:
    _open(cloud, lease)
    cloud.ready(DSVM, lease)

    overdue = _pass("score-somebody-else")

    assert _removed(overdue, lease) == [] and lease not in overdue.settled


def test_the_reaper_names_every_piece_of_a_lease_that_is_over_and_why(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)

    early = _removed(_pass(lease.owner), lease)
    _until_after(cloud, lease)
    late = _removed(_pass(), lease)

    pieces = len(DSVM.provisioner.list_remains(lease))
    assert early == [f"its owner {lease.owner} is over"] * pieces
    assert late == [f"its deadline {lease.deadline.isoformat()} passed"] * pieces


def test_a_machine_that_a_late_call_made_after_the_release_is_taken_away(cloud: Cloud, lease: Lease) -> None:
    _open(cloud, lease)
    cloud.ready(DSVM, lease)
    assert _removed(_pass(), lease) == []

    _close(cloud, lease)

    assert all("closed under epoch 1" in reason for reason in _removed(_pass(), lease))
    assert _removed(_pass(), lease)


def test_the_reaper_takes_everything_away_pass_by_pass(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    for _ in range(10):
        for removal in _pass(lease.owner).removals:
            leases.remove_resource(removal)
        cloud.pass_time(60)

    assert cloud.resources(lease) == []


def test_one_pass_removes_a_dozen_at_most(cloud: Cloud) -> None:
    crowd = [cloud.lease(DSVM) for _ in range(4)]
    for lease in crowd:
        cloud.ready(DSVM, lease)

    overdue = _pass(*(lease.owner for lease in crowd))

    assert sum(len(DSVM.provisioner.list_remains(lease)) for lease in crowd) > MAX_PER_PASS
    assert len(overdue.removals) == MAX_PER_PASS
    for lease in crowd:
        cloud.gone(DSVM, lease)


def test_the_books_of_a_dead_run_are_closed_once_nothing_of_it_is_left(cloud: Cloud, lease: Lease) -> None:
    _open(cloud, lease)
    cloud.ready(DSVM, lease)
    assert lease not in _pass(lease.owner).settled

    cloud.gone(DSVM, lease)

    assert lease not in _pass("score-somebody-else").settled
    assert lease in _pass(lease.owner).settled


def test_a_lease_whose_deadline_passed_is_settled_without_anybody_s_word(cloud: Cloud) -> None:
    lease = cloud.lease(DSVM, ttl=timedelta(minutes=10))
    _open(cloud, lease)
    assert lease not in _pass().settled

    _until_after(cloud, lease)

    assert lease in _pass().settled
    leases.settle_lease(LeaseClosing(lease=lease, at=cloud.clock.now()))
    assert lease not in _pass().settled
