"""The dsvm platform on Azure's bad days: what is made, what is told, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from shared.azure import arm
from shared.azure.resources import DISK, NIC, SCHEDULE, VM
from shared.azure.vm_bodies import shutdown_time
from shared.azure.vm_estate import schedule_name, vm_name
from shared.domain.errors import (
    CapacityError,
    DeniedError,
    LeaseLost,
    PlatformError,
    SpecError,
    TransientError,
)
from shared.domain.jobs import JobState
from shared.domain.lease import Lease, MachineState
from shared.domain.offers import Priority
from shared.domain.price_book import offers_for
from tests.platforms.machines import DSVM, JOBS, VMS, read, types
from tests.support.cloud import Cloud

ARM_CALLS_PER_LIFE = 15


def test_a_whole_life_takes_few_requests_and_none_too_early(cloud: Cloud, lease: Lease) -> None:
    """Every wait is the one that was told. `cloud` checks that none was shorter than Azure's Retry-After."""
    start = cloud.mark()
    cloud.ready(DSVM, lease)
    cloud.pass_time(JOBS.submit_job(lease, cloud.job("exit-0")).poll_after_s)
    cloud.settle_scripts(lease)
    assert JOBS.observe_job(lease, "b00-e1").state is JobState.SUCCEEDED

    for send in (VMS.begin_release, VMS.begin_delete):
        operation = send(lease)
        assert operation is not None
        cloud.pass_time(operation.poll_after_s)
        if send == VMS.begin_release:
            assert VMS.observe_machine(lease).state is MachineState.DEALLOCATED
    assert VMS.list_remains(lease) == ()
    cloud.pass_time(30)
    assert VMS.list_remains(lease) == ()

    requests = [f"{r['method']} {r['path']}" for r in cloud.requests(since=start)]
    assert len(requests) <= ARM_CALLS_PER_LIFE, requests


def test_a_machine_is_made_whole_braked_and_with_no_public_address(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)

    assert types(lease) == sorted([VM, NIC, DISK, SCHEDULE])
    schedule = read(SCHEDULE, schedule_name(lease)).body
    assert schedule["properties"]["dailyRecurrence"]["time"] == shutdown_time(lease.deadline)
    assert schedule["tags"] == lease.tags("muster")
    assert read(VM, vm_name(lease)).body["tags"] == lease.tags("muster")


def test_a_machine_without_its_brake_is_never_ready(cloud: Cloud, lease: Lease) -> None:
    cloud.pass_time(VMS.begin_provision(lease).poll_after_s)
    arm.request(
        "DELETE",
        arm.resource_id(SCHEDULE, schedule_name(lease)),
        api_version=arm.SCHEDULES_API,
        target="take its brake away",
    )
    cloud.pass_time(600)

    machine = VMS.observe_machine(lease)

    assert machine.state is MachineState.STARTING
    assert "shutdown schedule" in machine.message


def test_a_machine_that_nobody_releases_stops_billing_by_itself(cloud: Cloud) -> None:
    lease = cloud.lease(DSVM, ttl=timedelta(hours=1))
    cloud.ready(DSVM, lease)

    cloud.pass_time((lease.deadline - cloud.clock.now()).total_seconds() + 60)
    cloud.until(lambda: VMS.observe_machine(lease), lambda m: m.state is MachineState.DEALLOCATED)

    assert not [line for line in cloud.billing(lease) if "virtualmachines" in line["resource_id"].lower()]
    cloud.gone(DSVM, lease)


@pytest.mark.parametrize("ttl", [timedelta(hours=24), timedelta(days=3)])
def test_a_lease_longer_than_its_brake_can_say_is_refused_and_nothing_is_made(
    cloud: Cloud, ttl: timedelta
) -> None:
    lease = cloud.lease(DSVM, ttl=ttl)

    with pytest.raises(SpecError, match=r"limits\.ttl"):
        VMS.begin_provision(lease)
    assert cloud.resources(lease) == []


def test_a_lease_that_is_over_makes_nothing(cloud: Cloud) -> None:
    lease = cloud.lease(DSVM, ttl=timedelta(seconds=0))

    with pytest.raises(LeaseLost, match="nothing was created"):
        VMS.begin_provision(lease)
    assert cloud.resources(lease) == []


@pytest.mark.parametrize("preset", ["sku-not-available", "allocation-failed", "quota-family", "quota-zero"])
def test_no_room_is_told_at_once_and_leaves_nothing(cloud: Cloud, lease: Lease, preset: str) -> None:
    cloud.faults({"preset": preset}, lease=lease)

    with pytest.raises(CapacityError) as refused:
        VMS.begin_provision(lease)

    assert refused.value.correlation_id
    if preset == "quota-zero":
        assert "Current Limit: 0" in str(refused.value)


def test_no_room_found_later_is_told_and_its_carcass_is_deleted(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "allocation-failed-later"}, lease=lease)
    cloud.pass_time(VMS.begin_provision(lease).poll_after_s)

    machine = cloud.until(lambda: VMS.observe_machine(lease), lambda m: m.state is MachineState.FAILED)

    assert machine.code == "AllocationFailed"
    assert "sufficient capacity" in machine.message
    assert {VM, DISK} <= set(types(lease))
    cloud.gone(DSVM, lease)
    assert cloud.billing(lease) == []


def test_a_boot_that_never_ends_is_never_called_ready_and_can_be_deleted(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "boot-never-ready"}, lease=lease)
    cloud.pass_time(VMS.begin_provision(lease).poll_after_s)

    for _ in range(30):
        assert VMS.observe_machine(lease).state in (MachineState.CREATING, MachineState.STARTING)
        cloud.pass_time(60)


def test_a_lost_answer_is_unknown_and_the_next_try_finds_the_machine(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "lost-response"}, lease=lease)
    start = cloud.mark()

    with pytest.raises(TransientError) as lost:
        VMS.begin_provision(lease)
    assert lost.value.code == "NoAnswer"
    cloud.pass_time(60)
    cloud.ready(DSVM, lease)

    made = [
        r for r in cloud.requests(lease, since=start) if r["method"] == "PUT" and r["action"] == f"{VM}/write"
    ]
    assert len(made) == 1
    assert SCHEDULE in types(lease)


@pytest.mark.parametrize("preset", ["script-fails", "run-command-stuck"])
def test_a_job_that_azure_fails_to_run_is_not_called_running(cloud: Cloud, lease: Lease, preset: str) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": preset}, lease=lease)

    cloud.pass_time(JOBS.submit_job(lease, cloud.job("exit-0")).poll_after_s)

    look = JOBS.observe_job(lease, "b00-e1")
    assert look.state is (JobState.FAILED if preset == "script-fails" else JobState.PENDING)
    assert look.exit_code == (1 if preset == "script-fails" else None)


def test_a_job_that_hangs_ends_with_its_machine(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    cloud.faults({"preset": "script-hangs"}, lease=lease)
    cloud.pass_time(JOBS.submit_job(lease, cloud.job("exit-0")).poll_after_s)
    assert JOBS.observe_job(lease, "b00-e1").state is JobState.RUNNING

    cloud.gone(DSVM, lease)

    assert JOBS.observe_job(lease, "b00-e1").machine_lost


@pytest.mark.parametrize(
    ("preset", "priority"), [("vm-vanishes", Priority.REGULAR), ("spot-evicted", Priority.SPOT)]
)
def test_a_machine_that_azure_takes_away_is_told_as_lost_and_leaves_nothing_that_bills(
    cloud: Cloud, preset: str, priority: Priority
) -> None:
    lease = cloud.lease(DSVM, priority=priority)
    cloud.faults({"preset": preset, "after_s": 900}, lease=lease)
    cloud.ready(DSVM, lease)
    cloud.pass_time(JOBS.submit_job(lease, cloud.job("sleep")).poll_after_s)
    cloud.until(lambda: JOBS.observe_job(lease, "b00-e1"), lambda look: look.state is JobState.RUNNING)

    cloud.pass_time(1200)

    assert JOBS.observe_job(lease, "b00-e1").machine_lost
    assert VMS.observe_machine(lease).state is MachineState.ABSENT
    assert cloud.billing(lease) == []
    cloud.gone(DSVM, lease)


def test_a_job_for_a_machine_that_is_deallocated_is_told_as_a_lost_lease(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(DSVM, lease)
    operation = VMS.begin_release(lease)
    assert operation is not None
    cloud.pass_time(max(operation.poll_after_s, 120))

    with pytest.raises(LeaseLost):
        JOBS.submit_job(lease, cloud.job("exit-0"))


def test_throttling_is_told_with_its_wait_and_never_slept(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "compute-throttled"}, lease=lease)

    with pytest.raises(TransientError) as throttled:
        VMS.observe_machine(lease)

    assert throttled.value.retry_after_s == 1200.0
    cloud.pass_time(1200)


def test_a_missing_role_is_told_with_its_scope(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "authorization-failed"}, lease=lease)

    with pytest.raises(DeniedError) as denied:
        VMS.begin_provision(lease)

    assert denied.value.role == "one that allows Microsoft.Compute/virtualMachines/write"
    assert denied.value.scope and denied.value.scope.endswith(vm_name(lease))


@pytest.mark.parametrize("preset", ["scope-locked", "disallowed-by-policy"])
def test_what_only_an_administrator_can_change_is_not_worth_another_try(
    cloud: Cloud, lease: Lease, preset: str
) -> None:
    cloud.faults({"preset": preset}, lease=lease)

    with pytest.raises(PlatformError) as refused:
        if preset == "scope-locked":
            cloud.ready(DSVM, lease)
            VMS.begin_delete(lease)
        else:
            VMS.begin_provision(lease)

    assert not isinstance(refused.value, TransientError | CapacityError)


def test_preflight_names_limit_usage_and_need(cloud: Cloud) -> None:
    offers = offers_for(["Standard_NC24ads_A100_v4", "Standard_D2s_v5"], ["westeurope", "northeurope"])

    looks = VMS.check_headroom(offers, nodes=2)

    assert [look.available for look in looks] == [False, True, False, True]
    assert (
        "limit 0" in looks[0].reason
        and "needed 48" in looks[0].reason
        and "portal.azure.com" in looks[0].reason
    )
    assert looks[2].limit == 24


def test_importing_every_platform_loads_no_azure_sdk() -> None:
    script = (
        "import sys, shared.platforms; shared.platforms.platforms(); import shared.azure.blob; "
        "print([m for m in sys.modules if m.split('.')[0] in ('azure', 'msal', 'requests', 'cryptography')])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
