"""Scoring on an Azure ML cluster: one lease, a node for each batch, and the bytes that any other platform gives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from localdev.demo.world import ROOT
from shared.domain import names
from shared.domain.price_book import sizes
from shared.domain.workload import parse_workload
from shared.platforms import with_machines
from tests.support.estate import PATIENCE_S, Estate, Ran, wait

ML = "Microsoft.MachineLearningServices/workspaces"
RESIZE, CREATE, SUBMIT = f"{ML}/computes/resize", f"{ML}/computes/write", f"{ML}/jobs/write"

ALIKE = ("alike-local", "alike-dsvm", "alike-cluster", "node-preempted")
TOGETHER = ("plain-cluster", *ALIKE, "node-lost", "job-fails-on-a-node")


def parts(here: Estate, run: Ran, workload: str) -> dict[str, bytes]:
    return {n: d for n, d in here.published(run, workload).items() if n.startswith("part-")}


def statuses(here: Estate, run: Ran) -> dict[str, list[str]]:
    """What each job of the run went through, as Azure ML tells it."""
    seen: dict[str, list[str]] = {}
    for event in here.world.control.events(type_="job"):
        if event["tags"].get("muster-owner") == run.id:
            seen.setdefault(event["resource_id"].rsplit("/", 1)[-1], []).append(event["status"])
    return seen


def node_bill(here: Estate, cluster: str) -> list[dict[str, Any]]:
    return [line for line in here.world.control.bill()["lines"] if f"/{cluster}/" in line["resource_id"]]


@pytest.fixture(scope="module")
def nights(shared_estate: Estate) -> dict[str, Ran]:
    """Runs that have nothing to do with each other, at the same time."""
    here = shared_estate
    runs = {name: here.expect(name) for name in TOGETHER}
    for prefix, files in (("plain-cluster", 5), ("alike", 6), ("node-lost", 3), ("job-fails-on-a-node", 3)):
        here.land(prefix, files)
    here.fault(vm=runs["node-preempted"].cluster_of(1), kind="evict", operation=RESIZE, after_s=20)
    here.fault(vm=runs["node-lost"].cluster_of(1), kind="vanish", operation=RESIZE, after_s=20)
    failing = f"{names.lease_id(runs['job-fails-on-a-node'].id, 'score', 0)}-e1-b01-e1"
    here.fault(vm=failing, kind="script_fails", operation=SUBMIT, exit_code=3)
    for name in TOGETHER:
        here.start(name)
    for run in runs.values():
        here.finish(run, seconds=2 * PATIENCE_S)
    here.world.control.clear_faults()
    return runs


def test_batches_run_at_once_on_the_nodes_of_one_cluster_that_is_gone_afterwards(
    here: Estate, nights: dict[str, Ran]
) -> None:
    run = nights["plain-cluster"]

    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["receipt"]["listed"] == 5
    (charge,) = run.outcome["charges"]
    assert (charge["nodes"], charge["epoch"]) == (3, 1)
    jobs = statuses(here, run)
    assert len(jobs) == 3 and all(each[-1] == "Completed" for each in jobs.values())
    bill = node_bill(here, run.cluster_of(1))
    assert len({line["resource_id"] for line in bill}) == 3
    assert all(line["ended"] for line in bill)
    assert sum(float(line["usd"]) for line in bill) <= run.outcome["usd"]


def test_a_cluster_with_a_node_taken_away_publishes_the_bytes_of_every_other_platform(
    here: Estate, nights: dict[str, Ran]
) -> None:
    published = [parts(here, nights[name], name) for name in ALIKE]

    run = nights["node-preempted"]
    assert run.outcome["state"] == "Completed", run.report
    assert any(each.count("Running") == 2 for each in statuses(here, run).values())
    assert len(run.outcome["charges"]) == 1
    assert len(published[0]) == 6
    assert published[0] == published[1] == published[2] == published[3]


def test_a_job_that_azure_gives_up_with_its_node_is_followed_by_another(
    here: Estate, nights: dict[str, Ran]
) -> None:
    run = nights["node-lost"]

    assert run.outcome["state"] == "Completed", run.report
    jobs = statuses(here, run)
    lost = [name for name, each in jobs.items() if each[-1] == "Failed"]
    assert len(lost) == 1
    assert jobs[f"{lost[0]}r2"][-1] == "Completed"
    assert len(run.outcome["charges"]) == 1


def test_a_job_that_fails_fails_the_run_with_its_reason_and_after_the_others(
    here: Estate, nights: dict[str, Ran]
) -> None:
    run = nights["job-fails-on-a-node"]

    assert run.outcome["state"] == "Failed", run.report
    assert "b01-e1" in run.outcome["reason"] and "status code 3" in run.outcome["reason"]
    ends = sorted(each[-1] for each in statuses(here, run).values())
    assert ends == ["Completed", "Completed", "Failed"]


def test_no_quota_for_low_priority_takes_dedicated_nodes(here: Estate) -> None:
    here.land("no-low-priority")
    here.world.control.set_ml_quota("westeurope", "lowPriorityCores", 0)
    try:
        run = here.score("no-low-priority")
    finally:
        here.world.control.set_ml_quota("westeurope", "lowPriorityCores", 100)

    assert run.outcome["state"] == "Completed", run.report
    assert [charge["offer"]["priority"] for charge in run.outcome["charges"]] == ["Regular"]
    assert any("LowPriority" in line and "limit 0" in line for line in run.outcome["offers"])


def test_a_cluster_whose_nodes_never_come_is_given_up_for_the_next_offer(here: Estate) -> None:
    here.land("no-node-comes")
    run = here.expect("no-node-comes")
    here.fault(vm=run.cluster_of(1), kind="resize_stuck", operation=RESIZE)
    here.start("no-node-comes")
    here.until(run, lambda report: "jobs on" in report["waiting_for"])
    here.world.clock.advance(timedelta(minutes=21))
    here.finish(run)

    assert run.outcome["state"] == "Completed", run.report
    assert [charge["offer"]["priority"] for charge in run.outcome["charges"]] == ["Spot", "Regular"]
    assert node_bill(here, run.cluster_of(1)) == []


def test_a_cluster_that_cannot_be_made_is_made_elsewhere(here: Estate) -> None:
    here.land("cluster-fails")
    run = here.expect("cluster-fails")
    here.fault(
        vm=run.cluster_of(1),
        kind="async_failure",
        operation=CREATE,
        code="AllocationFailed",
        message="No room.",
    )
    here.start("cluster-fails")
    here.finish(run)

    assert run.outcome["state"] == "Completed", run.report
    assert [charge["offer"]["region"] for charge in run.outcome["charges"]] == ["westeurope", "northeurope"]


def test_cancelling_ends_the_jobs_and_the_cluster(here: Estate) -> None:
    here.land("cluster-cancelled")
    run = here.expect("cluster-cancelled")
    here.fault(vm="-b0?-e1", kind="script_hangs", operation=SUBMIT, times=0)
    here.start("cluster-cancelled")
    wait(lambda: "Running" in str(statuses(here, run)), "a job to run")
    status, _ = here.world.api(f"runs/{run.id}/cancel", method="POST")
    assert status == 202
    here.finish(run)

    assert run.outcome["state"] == "Cancelled", run.report
    assert {each[-1] for each in statuses(here, run).values()} == {"Canceled"}
    assert here.published(run, "cluster-cancelled") == {}


def test_a_terminated_run_loses_its_cluster_to_the_reaper(here: Estate) -> None:
    here.land("cluster-terminated")
    run = here.expect("cluster-terminated")
    here.fault(vm="-b0?-e1", kind="script_hangs", operation=SUBMIT, times=0)
    here.start("cluster-terminated")
    wait(lambda: "Running" in str(statuses(here, run)), "a job to run")
    here.world.terminate(run.id)

    wait(lambda: not here.machines(), "the reaper to take the cluster")
    wait(lambda: here.world.api("leases")[1]["leases"] == [], "the reaper to close the lease")
    assert all(line["ended"] for line in node_bill(here, run.cluster_of(1)))


def test_the_nightly_flights_run_on_a_cluster_by_one_line() -> None:
    text = (ROOT / "workloads" / "flights-nightly.yaml").read_text()
    (line,) = [line for line in text.splitlines() if "platform:" in line]

    workload = parse_workload(
        text.replace(line, "  platform: amlcompute"),
        source="flights-nightly.yaml",
        platforms=with_machines(),
        sizes=sizes(),
    )

    assert workload.name == "flights-nightly"
