"""What every platform promises. A file in shared/platforms that exports PLATFORM is held to it; nothing changes here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.domain.errors import ConflictError, LeaseLost
from shared.domain.jobs import JobState
from shared.domain.lease import (
    TAG_APP,
    TAG_DEADLINE,
    TAG_EPOCH,
    TAG_LEASE,
    TAG_MANAGED_BY,
    TAG_OWNER,
    Lease,
    MachineState,
)
from shared.domain.price_book import offers_for
from shared.platforms import platforms, with_machines
from shared.platforms.base import Platform
from tests.support.cloud import Cloud


@pytest.fixture(params=sorted(with_machines()))
def platform(request: pytest.FixtureRequest) -> Platform:
    return platforms()[request.param]


@pytest.fixture
def lease(cloud: Cloud, platform: Platform) -> Iterator[Lease]:
    lease = cloud.lease(platform)
    yield lease
    cloud.control.clear_faults()
    cloud.gone(platform, lease)


@pytest.fixture
def ready(cloud: Cloud, platform: Platform, lease: Lease) -> Lease:
    """A lease whose machine is up."""
    cloud.ready(platform, lease)
    return lease


def test_headroom_answers_every_offer_in_its_order_and_buys_nothing(cloud: Cloud, platform: Platform) -> None:
    offers = offers_for(["Standard_D4s_v5", "Standard_D2s_v5"], ["westeurope", "northeurope"])
    before = cloud.control.resources()

    looks = platform.provisioner.check_headroom(offers, nodes=1)

    assert tuple(look.offer for look in looks) == offers
    assert all(look.available for look in looks)
    assert cloud.control.resources() == before


def test_a_machine_that_is_not_there_is_absent_and_nothing_of_it_is_left(
    cloud: Cloud, platform: Platform, lease: Lease
) -> None:
    provisioner = platform.provisioner

    assert provisioner.observe_machine(lease).state is MachineState.ABSENT
    assert provisioner.list_remains(lease) == ()
    assert provisioner.begin_release(lease) is None
    assert provisioner.begin_delete(lease) is None


def test_a_machine_comes_up_and_carries_its_lease_s_tags(
    cloud: Cloud, platform: Platform, lease: Lease
) -> None:
    assert cloud.ready(platform, lease).state is MachineState.READY

    remains = platform.provisioner.list_remains(lease)
    assert remains
    machine = remains[0]
    assert {key: machine.tags[key] for key in (TAG_LEASE, TAG_OWNER, TAG_EPOCH, TAG_APP)} == {
        TAG_LEASE: lease.id,
        TAG_OWNER: lease.owner,
        TAG_EPOCH: "1",
        TAG_APP: "muster",
    }
    assert {TAG_DEADLINE, TAG_MANAGED_BY} <= machine.tags.keys()


def test_provisioning_twice_makes_one_machine(cloud: Cloud, platform: Platform, ready: Lease) -> None:
    before = platform.provisioner.list_remains(ready)

    cloud.pass_time(platform.provisioner.begin_provision(ready).poll_after_s)

    assert platform.provisioner.list_remains(ready) == before
    assert platform.provisioner.observe_machine(ready).state is MachineState.READY


@pytest.mark.parametrize(
    ("told", "state", "exit_code"), [("exit-0", JobState.SUCCEEDED, 0), ("exit-3", JobState.FAILED, 3)]
)
def test_a_job_ends_as_its_agent_does(
    cloud: Cloud, platform: Platform, ready: Lease, told: str, state: JobState, exit_code: int
) -> None:
    cloud.pass_time(platform.jobs.submit_job(ready, cloud.job(told)).poll_after_s)

    look = cloud.job_over(platform, ready, "b00-e1")

    assert (look.state, look.exit_code, look.machine_lost) == (state, exit_code, False)


def test_a_job_submitted_twice_is_one_job(cloud: Cloud, platform: Platform, ready: Lease) -> None:
    cloud.pass_time(platform.jobs.submit_job(ready, cloud.job("exit-3")).poll_after_s)
    first = cloud.job_over(platform, ready, "b00-e1")

    cloud.pass_time(platform.jobs.submit_job(ready, cloud.job("exit-3")).poll_after_s)

    assert platform.jobs.observe_job(ready, "b00-e1") == first


def test_a_job_that_was_never_submitted_is_absent(cloud: Cloud, platform: Platform, ready: Lease) -> None:
    look = platform.jobs.observe_job(ready, "b07-e1")

    assert look.state is JobState.ABSENT and not look.machine_lost


def test_a_cancelled_job_does_not_succeed(cloud: Cloud, platform: Platform, ready: Lease) -> None:
    cloud.pass_time(platform.jobs.submit_job(ready, cloud.job("sleep")).poll_after_s)
    cloud.until(
        lambda: platform.jobs.observe_job(ready, "b00-e1"), lambda look: look.state is JobState.RUNNING
    )

    platform.jobs.cancel_job(ready, "b00-e1")
    cloud.pass_time(10)

    assert cloud.job_over(platform, ready, "b00-e1").state in (JobState.CANCELED, JobState.ABSENT)
    platform.jobs.cancel_job(ready, "b00-e1")


def test_a_released_machine_bills_no_compute_and_runs_no_job(
    cloud: Cloud, platform: Platform, ready: Lease
) -> None:
    cloud.pass_time(platform.jobs.submit_job(ready, cloud.job("sleep")).poll_after_s)

    operation = platform.provisioner.begin_release(ready)
    assert operation is not None
    cloud.pass_time(operation.poll_after_s)
    cloud.until(
        lambda: platform.provisioner.observe_machine(ready), lambda m: m.state is MachineState.DEALLOCATED
    )

    assert platform.provisioner.begin_release(ready) is None
    assert platform.jobs.observe_job(ready, "b00-e1").machine_lost
    assert not [line for line in cloud.billing(ready) if "virtualmachines" in line["resource_id"].lower()]


def test_a_machine_that_vanishes_takes_its_job_s_state_along(
    cloud: Cloud, platform: Platform, ready: Lease
) -> None:
    cloud.pass_time(platform.jobs.submit_job(ready, cloud.job("sleep")).poll_after_s)
    cloud.gone(platform, ready)

    assert platform.jobs.observe_job(ready, "b00-e1").machine_lost
    with pytest.raises(LeaseLost):
        platform.jobs.submit_job(ready, cloud.job("exit-0", id="b01-e1"))


def test_deleting_leaves_nothing_and_may_be_repeated(cloud: Cloud, platform: Platform, ready: Lease) -> None:
    cloud.gone(platform, ready)

    assert platform.provisioner.list_remains(ready) == ()
    assert platform.provisioner.begin_delete(ready) is None
    assert platform.provisioner.observe_machine(ready).state is MachineState.ABSENT
    assert cloud.resources(ready) == [] and cloud.billing(ready) == []


def test_one_lease_s_release_leaves_another_s_machine_alone(
    cloud: Cloud, platform: Platform, ready: Lease
) -> None:
    other = cloud.lease(platform)
    cloud.ready(platform, other)

    cloud.gone(platform, other)

    assert platform.provisioner.observe_machine(ready).state is MachineState.READY


def test_the_reaper_finds_everything_by_its_tags_and_by_azure_s_time(
    cloud: Cloud, platform: Platform, ready: Lease
) -> None:
    inventory = platform.provisioner.list_owned()

    mine = [each for each in inventory.resources if each.tags.get(TAG_LEASE) == ready.id]
    assert {each.id for each in mine} == {each.id for each in platform.provisioner.list_remains(ready)}
    assert all(each.tags[TAG_DEADLINE] == ready.tags("muster")[TAG_DEADLINE] for each in mine)
    assert abs((inventory.now - cloud.clock.now()).total_seconds()) < 60


def test_the_reaper_takes_away_all_it_found_pass_by_pass(
    cloud: Cloud, platform: Platform, ready: Lease
) -> None:
    for _ in range(10):
        mine = [r for r in platform.provisioner.list_owned().resources if r.tags.get(TAG_LEASE) == ready.id]
        if not mine:
            break
        for resource in mine:
            platform.provisioner.begin_removal(resource)
        cloud.pass_time(60.0)

    assert platform.provisioner.list_remains(ready) == ()
    assert cloud.resources(ready) == []


def test_the_reaper_leaves_alone_what_is_no_longer_what_it_found(
    cloud: Cloud, platform: Platform, ready: Lease
) -> None:
    for found in platform.provisioner.list_remains(ready):
        if TAG_LEASE not in found.tags:
            continue
        stale = found.model_copy(update={"tags": {**found.tags, TAG_LEASE: "0" * 16}})
        with pytest.raises(ConflictError):
            platform.provisioner.begin_removal(stale)

    assert platform.provisioner.observe_machine(ready).state is MachineState.READY


def test_removing_what_is_already_gone_is_success(cloud: Cloud, platform: Platform, ready: Lease) -> None:
    found = platform.provisioner.list_remains(ready)
    cloud.gone(platform, ready)

    for resource in found:
        platform.provisioner.begin_removal(resource)
