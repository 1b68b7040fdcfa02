"""The amlcompute platform on Azure's bad days: what is made, what is told, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.azure import ml_clusters, ml_jobs
from shared.config import settings
from shared.domain.errors import CapacityError, ConflictError, LeaseLost, SpecError, TransientError
from shared.domain.jobs import JobLook, JobState
from shared.domain.lease import Lease, MachineState
from shared.domain.offers import Priority
from shared.domain.price_book import offers_for
from shared.platforms import platforms
from tests.support.cloud import Cloud, environment
from tests.support.estate import wait

AML = platforms()["amlcompute"]
CLUSTERS, JOBS = AML.provisioner, AML.jobs
ML = "Microsoft.MachineLearningServices/workspaces"
RESIZE, WRITE, SUBMIT = f"{ML}/computes/resize", f"{ML}/computes/write", f"{ML}/jobs/write"
ARM_CALLS_PER_LIFE = 17


@pytest.fixture
def lease(cloud: Cloud) -> Iterator[Lease]:
    lease = cloud.lease(AML).model_copy(update={"nodes": 2})
    yield lease
    cloud.control.clear_faults()
    cloud.gone(AML, lease)
    assert cloud.resources(lease) == [] and cloud.billing(lease) == []


def read(lease: Lease) -> dict[str, Any]:
    body: dict[str, Any] = ml_clusters.get_cluster(ml_clusters.cluster_name(lease)).body
    return body


def run(cloud: Cloud, lease: Lease, told: str, *, id: str = "b00-e1", timeout_s: int = 600) -> None:
    cloud.pass_time(JOBS.submit_job(lease, cloud.job(told, id=id, timeout_s=timeout_s)).poll_after_s)


def until(cloud: Cloud, lease: Lease, state: JobState, *, id: str = "b00-e1") -> JobLook:
    return cloud.until(
        lambda: JOBS.observe_job(lease, id), lambda look: look.state is state or look.machine_lost
    )


def statuses(cloud: Cloud, lease: Lease) -> list[str]:
    return [e["status"] for e in cloud.control.events(type_="job") if lease.id in e["resource_id"]]


def test_a_whole_life_takes_few_requests_and_none_too_early(cloud: Cloud, lease: Lease) -> None:
    """Every wait is the one that was told. `cloud` checks that none was shorter than Azure's Retry-After."""
    start = cloud.mark()
    cloud.ready(AML, lease)
    run(cloud, lease, "exit-0")
    cloud.pass_time(120)
    wait(
        lambda: "Finalizing" in statuses(cloud, lease), "the agent to end"
    )  # a real process; Azure is not asked
    cloud.pass_time(30)
    assert JOBS.observe_job(lease, "b00-e1").state is JobState.SUCCEEDED

    for send in (CLUSTERS.begin_release, CLUSTERS.begin_delete):
        operation = send(lease)
        assert operation is not None
        cloud.pass_time(operation.poll_after_s + 60)
        if send == CLUSTERS.begin_release:
            assert CLUSTERS.observe_machine(lease).state is MachineState.DEALLOCATED
    assert CLUSTERS.list_remains(lease) == ()

    requests = [f"{r['method']} {r['path']}" for r in cloud.requests(lease, since=start)]
    assert len(requests) <= ARM_CALLS_PER_LIFE, requests


def test_a_cluster_is_made_empty_braked_closed_and_with_its_identity(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)

    made = read(lease)
    inner = made["properties"]["properties"]
    assert made["tags"] == lease.tags("muster")
    assert [each.lower() for each in made["identity"]["userAssignedIdentities"]] == [
        settings().vm_identity_id.lower()
    ]
    assert inner["scaleSettings"]["minNodeCount"] == 0
    assert inner["scaleSettings"]["maxNodeCount"] == 2
    assert ml_clusters.duration_of(inner["scaleSettings"]["nodeIdleTimeBeforeScaleDown"]) == timedelta(
        seconds=120
    )
    assert (inner["vmPriority"], inner["remoteLoginPortPublicAccess"]) == ("Dedicated", "Disabled")
    assert made["properties"]["disableLocalAuth"] is True
    assert cloud.billing(lease) == []


def test_spot_means_low_priority_nodes(cloud: Cloud) -> None:
    lease = cloud.lease(AML, priority=Priority.SPOT)
    cloud.ready(AML, lease)

    assert read(lease)["properties"]["properties"]["vmPriority"] == "LowPriority"
    cloud.gone(AML, lease)


def test_two_jobs_run_at_once_each_on_its_node(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    for job in ("b00-e1", "b01-e1"):
        run(cloud, lease, "sleep", id=job)
    for job in ("b00-e1", "b01-e1"):
        until(cloud, lease, JobState.RUNNING, id=job)

    assert len(ml_clusters.running_jobs(ml_clusters.cluster_name(lease))) == 2
    assert len(cloud.billing(lease)) == 2


def test_nodes_without_a_job_are_given_back_by_themselves(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    run(cloud, lease, "exit-0")
    until(cloud, lease, JobState.SUCCEEDED)

    cloud.pass_time(120 + 60)

    assert cloud.billing(lease) == []
    assert CLUSTERS.observe_machine(lease).state is MachineState.READY


def test_a_cluster_of_that_name_that_is_not_ours_is_left_alone(cloud: Cloud, lease: Lease) -> None:
    stranger = lease.model_copy(update={"owner": "another-run", "id": lease.id[:12] + "0000"})
    cloud.ready(AML, stranger)
    before = read(stranger)["tags"]

    assert CLUSTERS.observe_machine(lease).state is MachineState.ABSENT
    assert CLUSTERS.list_remains(lease) == ()
    for refused in (CLUSTERS.begin_provision, CLUSTERS.begin_release, CLUSTERS.begin_delete):
        with pytest.raises(ConflictError):
            refused(lease)
    with pytest.raises(LeaseLost):
        JOBS.submit_job(lease, cloud.job("exit-0"))

    assert read(stranger)["tags"] == before
    cloud.gone(AML, stranger)


def test_a_node_taken_away_sends_its_job_back_to_the_queue_and_it_runs_again(cloud: Cloud) -> None:
    lease = cloud.lease(AML, priority=Priority.SPOT)
    cloud.ready(AML, lease)
    run(cloud, lease, "sleep")
    until(cloud, lease, JobState.RUNNING)

    cloud.control.preempt_node(ml_clusters.cluster_name(lease))

    look = JOBS.observe_job(lease, "b00-e1")
    assert (look.state, look.machine_lost, look.preempted) == (JobState.PENDING, False, False)
    until(cloud, lease, JobState.RUNNING)
    assert statuses(cloud, lease).count("Running") == 2
    cloud.gone(AML, lease)


def test_a_job_that_azure_gives_up_with_its_node_is_told_from_one_that_failed(
    cloud: Cloud, lease: Lease
) -> None:
    cloud.faults({"preset": "node-unusable"}, lease=lease)
    cloud.ready(AML, lease)
    run(cloud, lease, "sleep")

    look = cloud.job_over(AML, lease, "b00-e1")

    assert (look.state, look.preempted, look.machine_lost) == (JobState.FAILED, True, False)


def test_a_job_that_is_not_heard_of_is_not_over(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    cloud.faults({"preset": "job-not-responding", "resource": f"*{lease.id}*"})
    run(cloud, lease, "sleep")
    cloud.until(
        lambda: JOBS.observe_job(lease, "b00-e1"), lambda _: "NotResponding" in statuses(cloud, lease)
    )

    look = JOBS.observe_job(lease, "b00-e1")

    assert (look.state, look.machine_lost) == (JobState.RUNNING, False)


def test_a_job_is_cut_by_azure_at_its_time_limit(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    run(cloud, lease, "sleep", timeout_s=60)

    look = cloud.job_over(AML, lease, "b00-e1")

    assert look.state is JobState.TIMED_OUT
    assert "PT60S" in look.message


@pytest.mark.parametrize("preset", ["resize-timed-out", "resize-allocation-failed"])
def test_a_job_that_waits_says_what_keeps_its_node_from_coming(
    cloud: Cloud, lease: Lease, preset: str
) -> None:
    cloud.faults({"preset": preset, "times": 0}, lease=lease)
    cloud.ready(AML, lease)
    run(cloud, lease, "exit-0")

    look = JOBS.observe_job(lease, "b00-e1")

    assert look.state is JobState.PENDING
    assert "llocat" in look.message


def test_a_quota_used_up_meanwhile_is_told_by_the_job_that_waits(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    cloud.control.set_ml_quota("westeurope", "standardDSv5Family", 0)
    try:
        run(cloud, lease, "exit-0")
        assert "ClusterCoreQuotaReached" in JOBS.observe_job(lease, "b00-e1").message
    finally:
        cloud.control.set_ml_quota("westeurope", "standardDSv5Family", 64)


def test_a_cluster_that_failed_says_why_and_its_carcass_is_deleted(cloud: Cloud, lease: Lease) -> None:
    cloud.faults({"preset": "cluster-allocation-failed"}, lease=lease)
    cloud.pass_time(CLUSTERS.begin_provision(lease).poll_after_s)

    machine = cloud.until(lambda: CLUSTERS.observe_machine(lease), lambda m: m.state is MachineState.FAILED)

    assert machine.code == "AllocationFailed"
    assert CLUSTERS.begin_release(lease) is not None
    cloud.pass_time(60)
    assert CLUSTERS.observe_machine(lease).state is MachineState.ABSENT


def test_a_quota_that_can_never_be_met_is_no_room(cloud: Cloud, lease: Lease) -> None:
    """Azure ML has no code of its own for it: its words are read."""
    cloud.faults(
        {"kind": "status", "operation": WRITE, "status": 400, "code": "BadRequest",
         "message": "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 "
                    "requested managed compute node which maps to 2 vCPUs."},
        lease=lease,
    )  # fmt: skip

    with pytest.raises(CapacityError, match="quota of 0"):
        CLUSTERS.begin_provision(lease)
    assert cloud.resources(lease) == []


@pytest.mark.parametrize(("operation", "made"), [(WRITE, "computes"), (SUBMIT, "jobs")])
def test_a_lost_answer_is_unknown_and_the_next_try_makes_nothing_twice(
    cloud: Cloud, lease: Lease, operation: str, made: str
) -> None:
    start = cloud.mark()
    cloud.faults({"kind": "lost_response", "operation": operation}, lease=lease)
    if operation == WRITE:
        with pytest.raises(TransientError) as lost:
            CLUSTERS.begin_provision(lease)
    cloud.pass_time(60)
    cloud.ready(AML, lease)
    if operation == SUBMIT:
        with pytest.raises(TransientError) as lost:
            JOBS.submit_job(lease, cloud.job("exit-0"))
        cloud.pass_time(60)
    run(cloud, lease, "exit-0")

    assert lost.value.code == "NoAnswer"
    puts = [
        r for r in cloud.requests(lease, since=start) if r["method"] == "PUT" and f"/{made}/" in r["path"]
    ]
    assert len(puts) == 1


def test_cancelling_is_read_back_and_may_be_repeated(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    run(cloud, lease, "sleep")
    until(cloud, lease, JobState.RUNNING)

    JOBS.cancel_job(lease, "b00-e1")
    JOBS.cancel_job(lease, "b00-e1")

    assert statuses(cloud, lease)[-1] == "CancelRequested"
    cloud.pass_time(10)
    JOBS.cancel_job(lease, "b00-e1")
    JOBS.cancel_job(lease, "b07-e1")
    assert statuses(cloud, lease)[-1] == "Canceled"


def test_a_cancellation_that_does_not_show_is_not_believed(cloud: Cloud, lease: Lease) -> None:
    cloud.ready(AML, lease)
    run(cloud, lease, "sleep")
    until(cloud, lease, JobState.RUNNING)
    cloud.faults({"kind": "stuck", "operation": f"{ML}/jobs/cancel/action"}, lease=lease)

    with pytest.raises(TransientError, match="is Running"):
        JOBS.cancel_job(lease, "b00-e1")

    cloud.pass_time(5)
    JOBS.cancel_job(lease, "b00-e1")
    assert statuses(cloud, lease)[-1] == "CancelRequested"
    cloud.pass_time(10)  # the release asks again, and not before the time Azure named


def test_release_cancels_what_works_and_spares_a_job_that_has_said_its_last_word(
    cloud: Cloud, lease: Lease
) -> None:
    from shared.azure import blob

    cloud.ready(AML, lease)
    for job in ("b00-e1", "b01-e1"):
        run(cloud, lease, "sleep", id=job)
    for job in ("b00-e1", "b01-e1"):
        until(cloud, lease, JobState.RUNNING, id=job)
    blob.create_only("muster", f"runs/{lease.owner}/progress/b01-e1.json", b'{"state":"succeeded"}')

    CLUSTERS.begin_release(lease)

    cancelled = {e["resource_id"][-6:] for e in cloud.control.events(type_="job")
                 if lease.id in e["resource_id"] and e["status"] == "CancelRequested"}  # fmt: skip
    assert cancelled == {"b00-e1"}
    cloud.control.clear_faults()
    JOBS.cancel_job(lease, "b01-e1")


def test_a_lease_that_is_over_makes_nothing(cloud: Cloud) -> None:
    lease = cloud.lease(AML, ttl=timedelta(seconds=0))

    with pytest.raises(LeaseLost, match="nothing was created"):
        CLUSTERS.begin_provision(lease)
    assert cloud.resources(lease) == []


def test_headroom_knows_gpu_sizes_and_their_quota(cloud: Cloud) -> None:
    offers = offers_for(
        ["Standard_NC24ads_A100_v4", "Standard_NC4as_T4_v3"], ["westeurope"], "spot-then-dedicated"
    )

    looks = CLUSTERS.check_headroom(offers, nodes=2)

    assert tuple(look.offer for look in looks) == offers
    told = {str(look.offer): (look.available, look.reason) for look in looks}
    assert told["Standard_NC24ads_A100_v4 in westeurope"][0] is False
    assert "limit 0" in told["Standard_NC24ads_A100_v4 in westeurope"][1]


def test_without_a_workspace_the_platform_says_which_setting_it_needs(cloud: Cloud) -> None:
    lease = cloud.lease(AML)
    with environment({"MUSTER_ML_WORKSPACE": ""}):
        with pytest.raises(SpecError, match="MUSTER_ML_WORKSPACE"):
            CLUSTERS.begin_provision(lease)
        with pytest.raises(SpecError, match="MUSTER_ML_WORKSPACE"):
            CLUSTERS.check_headroom([lease.offer], 1)
        assert CLUSTERS.list_owned().resources == ()
    with (
        environment({"MUSTER_ML_WORKSPACE": "/subscriptions/s/resourceGroups/g"}),
        pytest.raises(SpecError, match="not the"),
    ):
        CLUSTERS.check_headroom([lease.offer], 1)


def test_a_job_of_another_cluster_under_that_name_is_left_alone(cloud: Cloud, lease: Lease) -> None:
    other = cloud.lease(AML)
    cloud.ready(AML, lease)
    cloud.ready(AML, other)
    run(cloud, other, "exit-0")
    body = ml_jobs.get_job(ml_jobs.job_name(other, "b00-e1")).body["properties"]
    kept = {
        name: body[name] for name in ("jobType", "computeId", "environmentId", "command", "experimentName")
    }
    ml_jobs.put_job(ml_jobs.job_name(lease, "b00-e1"), {"properties": kept})

    with pytest.raises(ConflictError):
        JOBS.submit_job(lease, cloud.job("exit-0"))
    cloud.gone(AML, other)
