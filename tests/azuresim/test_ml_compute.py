"""Clusters of the simulated workspace: their nodes, what they cost, and what goes wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from localdev.azuresim.control import ControlError
from tests.azuresim.azure_client import Azure
from tests.azuresim.ml_requests import (
    COMPUTES_API,
    JOBS_WRITE,
    PROVIDER,
    SUBSCRIPTION,
    TAGS,
    cancel,
    cluster_body,
    compute,
    compute_id,
    job,
    lived_through,
    nodes,
    put_cluster,
    put_job,
    running_lines,
    status,
)

D2_USD, D2_LOW_USD = 0.115, 0.021252  # prices.csv, Standard_D2_v5 in westeurope


def occupy(azure: Azure, *names: str, seconds: float = 110, **members: Any) -> None:
    """Jobs that hang, on nodes as far as there are any."""
    azure.control.add_faults({"operation": JOBS_WRITE, "kind": "script_hangs", "times": 0})
    for name in names:
        answer = put_job(azure, name, **members)
        assert answer.status_code == 201, answer.text
    azure.control.advance(seconds)


def code_of(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def test_a_cluster_is_made_without_nodes_and_costs_nothing(azure: Azure) -> None:
    answer = azure.send("PUT", compute_id("cpu"), cluster_body(), version=COMPUTES_API)
    assert answer.json()["properties"]["provisioningState"] == "Creating"
    assert azure.get(answer.headers["Azure-AsyncOperation"])["status"] == "InProgress"
    azure.control.advance(15)
    assert azure.get(answer.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    seen = compute(azure)
    assert (seen["properties"]["provisioningState"], seen["tags"]) == ("Succeeded", TAGS)
    inner = seen["properties"]["properties"]
    assert (inner["vmSize"], inner["allocationState"], inner["currentNodeCount"]) == (
        "STANDARD_D2S_V5",
        "Steady",
        0,
    )
    assert azure.control.bill()["lines"] == []


def test_nodes_come_for_a_job_and_go_when_idle_and_every_second_is_billed(azure: Azure) -> None:
    put_cluster(azure, size="Standard_D2_v5")
    occupy(azure, "one", seconds=5)
    assert nodes(azure) == {"preparing": 1}
    assert compute(azure)["properties"]["properties"]["allocationState"] == "Resizing"
    assert status(azure, "one") == "Queued"
    azure.control.advance(105)
    assert (nodes(azure), status(azure, "one")) == ({"running": 1}, "Running")
    cancel(azure, "one")
    azure.control.advance(10)
    assert (nodes(azure), status(azure, "one")) == ({"idle": 1}, "Canceled")
    azure.control.advance(115)
    assert nodes(azure) == {"leaving": 1}
    azure.control.advance(30)
    assert nodes(azure) == {}
    (line,) = azure.control.bill()["lines"]
    assert (line["usd_per_hour"], line["tags"]) == (D2_USD, TAGS)
    assert line["ended"] - line["started"] == pytest.approx(90 + 18 + 3 + 120 + 20, abs=10)


def test_jobs_share_the_nodes_there_may_be_in_the_order_they_came(azure: Azure) -> None:
    put_cluster(azure, high=2)
    occupy(azure, "a", "b", "c")
    assert [status(azure, name) for name in "abc"] == ["Running", "Running", "Queued"]
    cancel(azure, "a")
    azure.control.advance(20)
    assert status(azure, "c") == "Running"
    assert len(running_lines(azure)) == 2


def test_a_job_of_two_nodes_waits_for_both(azure: Azure) -> None:
    put_cluster(azure, high=2)
    occupy(azure, "a", resources={"instanceCount": 1})
    occupy(azure, "wide", resources={"instanceCount": 2})
    assert status(azure, "wide") == "Queued"
    cancel(azure, "a")
    azure.control.advance(20)
    assert (status(azure, "wide"), nodes(azure)) == ("Running", {"running": 2})


def test_a_minimum_of_nodes_stays(azure: Azure) -> None:
    put_cluster(azure, low=1)
    azure.control.advance(600)
    assert nodes(azure) == {"idle": 1}
    azure.send("PUT", compute_id("cpu"), cluster_body(low=0), version=COMPUTES_API)
    azure.control.advance(30)
    assert nodes(azure) == {}
    assert running_lines(azure) == []


def test_a_preempted_node_costs_nothing_more_and_its_job_begins_anew(azure: Azure) -> None:
    put_cluster(azure, size="Standard_D2_v5", priority="LowPriority", high=1)
    occupy(azure, "one")
    azure.control.evict("cpu")
    assert (nodes(azure), status(azure, "one")) == ({"preempted": 1}, "Queued")
    assert running_lines(azure) == []
    azure.control.advance(200)
    assert (nodes(azure), status(azure, "one")) == ({"running": 1}, "Running")
    assert lived_through(azure, "one") == [
        *("NotStarted", "Queued", "Preparing", "Running"),
        *("Queued", "Preparing", "Running"),
    ]
    assert {line["usd_per_hour"] for line in azure.control.bill()["lines"]} == {D2_LOW_USD}


def test_a_fault_preempts_the_first_node_that_comes(azure: Azure) -> None:
    azure.control.add_faults({"preset": "node-preempted"})
    put_cluster(azure, priority="LowPriority", high=1)
    occupy(azure, "one", seconds=400)
    assert lived_through(azure, "one").count("Running") == 2


def test_only_nodes_of_low_priority_are_preempted(azure: Azure) -> None:
    put_cluster(azure)
    occupy(azure, "one")
    with pytest.raises(ControlError, match="low priority"):
        azure.control.preempt_node("cpu")
    with pytest.raises(ControlError, match="nothing named gone"):
        azure.control.evict("gone")


def test_an_unusable_node_still_costs_and_its_job_has_failed(azure: Azure) -> None:
    azure.control.add_faults({"preset": "node-unusable"})
    put_cluster(azure, high=1)
    occupy(azure, "one", seconds=130)
    assert (nodes(azure), status(azure, "one")) == ({"unusable": 1}, "Failed")
    assert len(running_lines(azure)) == 1
    azure.control.advance(200)
    assert running_lines(azure) == []


def test_a_resize_that_is_stuck_ends_with_new_scale_settings(azure: Azure) -> None:
    azure.control.add_faults({"preset": "resize-stuck"})
    put_cluster(azure)
    occupy(azure, "one", seconds=3600)
    inner = compute(azure)["properties"]["properties"]
    assert (inner["allocationState"], inner["targetNodeCount"], nodes(azure)) == ("Resizing", 1, {})
    assert status(azure, "one") == "Queued"
    azure.send("PUT", compute_id("cpu"), cluster_body(high=3), version=COMPUTES_API)
    azure.control.advance(120)
    assert status(azure, "one") == "Running"


@pytest.mark.parametrize(
    ("preset", "code"),
    [("resize-timed-out", "AllocationTimedout"), ("resize-allocation-failed", "AllocationFailed")],
)
def test_a_resize_that_fails_says_so_and_is_tried_again(azure: Azure, preset: str, code: str) -> None:
    azure.control.add_faults({"preset": preset})
    put_cluster(azure)
    occupy(azure, "one", seconds=20)
    inner = compute(azure)["properties"]["properties"]
    assert (inner["errors"][0]["error"]["code"], inner["allocationState"]) == (code, "Steady")
    azure.control.advance(240)
    assert (compute(azure)["properties"]["properties"]["errors"], status(azure, "one")) == (None, "Running")


def test_a_cluster_that_no_quota_can_hold_is_made_and_failed(azure: Azure) -> None:
    answer = azure.send(
        "PUT", compute_id("gpu"), cluster_body(size="Standard_NC24ads_A100_v4"), version=COMPUTES_API
    )
    assert answer.status_code == 201
    azure.control.advance(15)
    ended = azure.get(answer.headers["Azure-AsyncOperation"])
    assert (ended["status"], ended["error"]["code"]) == ("Failed", "ClusterMinNodesExceedCoreQuota")
    assert "quota of 0 and cannot accomodate for at least 1 requested" in ended["error"]["message"]
    seen = compute(azure, "gpu")["properties"]
    assert (seen["provisioningState"], seen["provisioningErrors"][0]["error"]["code"]) == (
        "Failed",
        "ClusterMinNodesExceedCoreQuota",
    )
    assert put_job(azure, "one", cluster="gpu").status_code == 400


def test_nodes_beyond_the_quota_do_not_come_until_there_is_more(azure: Azure) -> None:
    azure.control.set_ml_quota("westeurope", "lowPriorityCores", 2)
    put_cluster(azure, priority="LowPriority")
    occupy(azure, "a", "b")
    assert [status(azure, name) for name in "ab"] == ["Running", "Queued"]
    errors = compute(azure)["properties"]["properties"]["errors"]
    assert errors[0]["error"]["code"] == "ClusterCoreQuotaReached"
    azure.control.set_ml_quota("westeurope", "lowPriorityCores", 4)
    azure.control.advance(300)
    assert status(azure, "b") == "Running"


def test_usages_count_the_cores_of_nodes(azure: Azure) -> None:
    put_cluster(azure)
    occupy(azure, "one")
    place = f"{SUBSCRIPTION}/providers/{PROVIDER}/locations/westeurope"
    used = {
        each["name"]["value"]: each["currentValue"]
        for each in azure.get(f"{place}/usages", version=COMPUTES_API)["value"]
    }
    assert used["Total Cluster Dedicated Regional vCPUs"] == 2
    assert used["Standard DSv5 Family Cluster Dedicated vCPUs"] == 2
    assert used["Total Cluster LowPriority Regional vCPUs"] == 0
    assert used["Clusters"] == 1
    sizes = azure.get(f"{place}/vmSizes", version=COMPUTES_API)["value"]
    (size,) = [each for each in sizes if each["name"] == "Standard_D2s_v5"]
    assert (size["family"], size["lowPriorityCapable"]) == ("standardDSv5Family", True)


def test_a_creation_that_fails_later_can_be_put_again(azure: Azure) -> None:
    azure.control.add_faults({"preset": "cluster-allocation-failed"})
    put_cluster(azure)
    assert compute(azure)["properties"]["provisioningState"] == "Failed"
    put_cluster(azure)
    assert compute(azure)["properties"]["provisioningState"] == "Succeeded"


def test_deleting_a_cluster_fails_its_jobs_and_ends_the_bill(azure: Azure) -> None:
    put_cluster(azure, high=1)
    occupy(azure, "busy", "waiting")
    answer = azure.send(
        "DELETE", f"{compute_id('cpu')}?underlyingResourceAction=Delete&api-version={COMPUTES_API}"
    )
    assert (answer.status_code, compute(azure)["properties"]["provisioningState"]) == (202, "Deleting")
    azure.control.advance(1)
    assert [status(azure, name) for name in ("busy", "waiting")] == ["Failed", "Failed"]
    assert len(running_lines(azure)) == 1
    azure.control.advance(60)
    assert running_lines(azure) == []
    assert azure.send("GET", compute_id("cpu"), version=COMPUTES_API).status_code == 404
    again = azure.send(
        "DELETE", f"{compute_id('cpu')}?underlyingResourceAction=Delete&api-version={COMPUTES_API}"
    )
    assert again.status_code == 204


def test_a_deletion_that_failed_leaves_nodes_that_cost(azure: Azure) -> None:
    operation = f"{PROVIDER}/workspaces/computes/delete"
    azure.control.add_faults({"operation": operation, "kind": "async_failure", "code": "InternalServerError"})
    put_cluster(azure)
    occupy(azure, "one")
    path = f"{compute_id('cpu')}?underlyingResourceAction=Delete&api-version={COMPUTES_API}"
    azure.send("DELETE", path)
    azure.control.advance(60)
    assert compute(azure)["properties"]["provisioningState"] == "Failed"
    assert len(running_lines(azure)) == 1
    azure.send("DELETE", path)
    azure.control.advance(60)
    assert running_lines(azure) == []


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("1cpu", {}, "must start with a letter"),
        ("cpu-1", {}, "at least one letter later"),
        ("a-name-of-more-than-24-letters", {}, "between 2 and 24"),
        ("cpu", {"size": "Standard_Z9"}, "is not supported in region"),
        ("cpu", {"size": "Standard_B2s", "priority": "LowPriority"}, "low priority"),
        ("cpu", {"low": 3, "high": 2}, "MinNodeCount"),
        ("cpu", {"idle": "P"}, "duration"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(
    azure: Azure, name: str, settings: dict[str, Any], text: str
) -> None:
    answer = azure.send("PUT", compute_id(name), cluster_body(**settings), version=COMPUTES_API)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_a_size_does_not_change_and_a_busy_cluster_takes_no_put(azure: Azure) -> None:
    put_cluster(azure)
    changed = azure.send("PUT", compute_id("cpu"), cluster_body(size="Standard_D4s_v5"), version=COMPUTES_API)
    assert (changed.status_code, code_of(changed)) == (400, "BadRequest")
    assert azure.send("PUT", compute_id("cpu"), cluster_body(high=4), version=COMPUTES_API).status_code == 200
    busy = azure.send("PUT", compute_id("cpu"), cluster_body(high=5), version=COMPUTES_API)
    assert (busy.status_code, code_of(busy)) == (409, "Conflict")
    azure.control.advance(10)
    assert compute(azure)["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 4


def test_scaled_to_nothing_a_cluster_keeps_the_node_of_the_job_that_runs(azure: Azure) -> None:
    put_cluster(azure)
    occupy(azure, "one")
    azure.send("PUT", compute_id("cpu"), cluster_body(high=0), version=COMPUTES_API)
    azure.control.advance(300)
    assert (nodes(azure), status(azure, "one")) == ({"running": 1}, "Running")
    cancel(azure, "one")
    azure.control.advance(60)
    assert nodes(azure) == {}


def test_an_instance_is_stopped_and_started_by_hand(azure: Azure) -> None:
    body = {
        "location": "westeurope",
        "properties": {"computeType": "ComputeInstance", "properties": {"vmSize": "Standard_D2_v5"}},
    }
    azure.send("PUT", compute_id("desk"), body, version=COMPUTES_API)
    azure.control.advance(200)
    assert compute(azure, "desk")["properties"]["properties"]["state"] == "Running"
    for verb, state, lines in (("stop", "Stopped", 0), ("start", "Running", 1), ("restart", "Running", 1)):
        answer = azure.send("POST", f"{compute_id('desk')}/{verb}", version=COMPUTES_API)
        assert answer.status_code == 202
        azure.control.advance(120)
        assert compute(azure, "desk")["properties"]["properties"]["state"] == state
        assert len(running_lines(azure)) == lines


def test_a_job_that_waits_shows_where(azure: Azure) -> None:
    put_cluster(azure)
    occupy(azure, "one", seconds=5)
    seen = job(azure, "one")
    assert seen["computeId"] == compute_id("cpu")
    assert set(seen["services"]) == {"Tracking", "Studio"}
    assert "ExperimentRun/dcid.one" in seen["outputs"]["default"]["uri"]
