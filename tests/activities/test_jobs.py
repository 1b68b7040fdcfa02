"""Jobs as the activities see them: the agent's own word first, Azure where it does not move, and what an end means."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from activities import jobs
from shared.azure import blob, ml_jobs
from shared.domain.jobs import JobGlance, JobQuery, JobSeen, JobsQuery, JobsReport, JobState
from shared.domain.lease import Lease
from shared.platforms import platforms
from tests.support.cloud import Cloud

AML = platforms()["amlcompute"]


@pytest.fixture
def lease(cloud: Cloud) -> Iterator[Lease]:
    """A cluster of two nodes that is ready."""
    lease = cloud.lease(AML).model_copy(update={"nodes": 2})
    cloud.ready(AML, lease)
    yield lease
    cloud.gone(AML, lease)


def submit(cloud: Cloud, lease: Lease, told: str, id: str) -> None:
    cloud.pass_time(AML.jobs.submit_job(lease, cloud.job(told, id=id)).poll_after_s)


def look(lease: Lease, *ids: str, seen: str = "") -> JobsReport:
    return jobs.observe_jobs(JobsQuery(lease=lease, jobs=tuple(JobSeen(id=id, seen=seen) for id in ids)))


def until_running(cloud: Cloud, lease: Lease, *ids: str) -> None:
    cloud.until(
        lambda: [AML.jobs.observe_job(lease, id) for id in ids],
        lambda seen: all(each.state is JobState.RUNNING for each in seen),
    )


def say(lease: Lease, id: str, **progress: object) -> None:
    """What the agent of a job writes."""
    blob.create_only(
        "muster", f"runs/{lease.owner}/progress/{id}.json", json.dumps({"job": id, **progress}).encode()
    )


def test_one_glance_tells_of_every_job_in_the_order_asked(cloud: Cloud, lease: Lease) -> None:
    submit(cloud, lease, "sleep", "b00-e1")
    submit(cloud, lease, "exit-3", "b01-e1")
    until_running(cloud, lease, "b00-e1")
    cloud.job_over(AML, lease, "b01-e1")

    report = look(lease, "b01-e1", "b00-e1")

    assert report.jobs == (
        JobGlance(id="b01-e1", state=JobState.FAILED, is_over=True),
        JobGlance(id="b00-e1", state=JobState.RUNNING),
    )
    assert report.poll_after_s > 0
    assert not report.cancel_requested


def test_azure_is_not_asked_about_a_job_whose_agent_speaks(cloud: Cloud, lease: Lease) -> None:
    say(lease, "b00-e1", state="running", updated="2026-03-01T02:00:00.000000+00:00")
    start = cloud.mark()

    (glance,) = look(lease, "b00-e1").jobs

    assert (glance.state, glance.is_over, glance.seen) == (
        JobState.RUNNING,
        False,
        "2026-03-01T02:00:00.000000+00:00",
    )
    assert cloud.requests(since=start) == []


def test_a_job_that_somebody_else_cancelled_lost_its_node_and_is_worth_another(
    cloud: Cloud, lease: Lease
) -> None:
    """Azure gives up a job as cancelled when the whole of a low-priority cluster is taken away."""
    submit(cloud, lease, "sleep", "b00-e1")
    until_running(cloud, lease, "b00-e1")
    ml_jobs.begin_cancel_job(ml_jobs.job_name(lease, "b00-e1"))
    cloud.pass_time(10)

    report = jobs.observe_job(JobQuery(lease=lease, job="b00-e1"))

    assert (report.look.state, report.look.preempted) == (JobState.CANCELED, True)


def test_a_job_that_said_its_last_word_is_not_taken_for_one_without_its_node(
    cloud: Cloud, lease: Lease
) -> None:
    submit(cloud, lease, "sleep", "b00-e1")
    until_running(cloud, lease, "b00-e1")
    say(lease, "b00-e1", state="failed", exit_code=3, error={"type": "ModelLoadError", "message": "no model"})
    ml_jobs.begin_cancel_job(ml_jobs.job_name(lease, "b00-e1"))
    cloud.pass_time(10)

    report = jobs.observe_job(JobQuery(lease=lease, job="b00-e1"))

    assert (report.look.state, report.look.exit_code, report.look.preempted) == (JobState.FAILED, 3, False)


def test_a_cluster_that_is_gone_ends_every_job_of_it(cloud: Cloud, lease: Lease) -> None:
    for id in ("b00-e1", "b01-e1"):
        submit(cloud, lease, "sleep", id)
    cloud.gone(AML, lease)

    report = look(lease, "b00-e1", "b01-e1")

    assert all(glance.is_over for glance in report.jobs)
    assert jobs.observe_job(JobQuery(lease=lease, job="b00-e1")).look.machine_lost
