"""Sweep jobs on the amlcompute platform: what Azure ML is sent, once, and what is told of a sweep and its children."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from shared.azure import blob, ml_jobs, ml_sweeps
from shared.config import settings
from shared.domain.errors import LeaseLost, PlatformError
from shared.domain.jobs import BlobRef
from shared.domain.lease import Lease
from shared.domain.retraining import Trials
from shared.domain.sweep import SweepLook, SweepSpec
from shared.platforms import platforms
from tests.support.cloud import Cloud

AML = platforms()["amlcompute"]
SWEEPS = AML.sweeps
TRIALS = {
    "engine": "sweep", "count": 3, "concurrency": 2, "seed": 7, "goal": "minimize", "metric": "logLoss",
    "space": {"rate": {"logUniform": [0.1, 10]}, "kind": {"choice": ["a b", True]}, "leaves": {"quniform": [1, 9, 2]}},
    "earlyTermination": {"type": "truncation_selection", "truncationPercentage": 20, "delayEvaluation": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def lease(inhabited: Cloud) -> Iterator[Lease]:
    """One cluster for all sweeps of this module."""
    lease = inhabited.lease(AML).model_copy(update={"nodes": 2})
    inhabited.ready(AML, lease)
    yield lease
    inhabited.gone(AML, lease)
    assert inhabited.resources(lease) == [] and inhabited.billing(lease) == []


def _search(**changes: Any) -> dict[str, Any]:
    trials = Trials.model_validate(TRIALS)
    return ml_sweeps.search(trials, total=3, epoch=2, trial_timeout_s=900, timeout_s=3600) | changes


def _sweep(cloud: Cloud, told: str, search: dict[str, Any] | None = None) -> SweepSpec:
    """A sweep whose children are the tiny agent, which does as it is told."""
    job = cloud.job(told)
    id_ = f"sweep-{uuid.uuid4().hex[:6]}"
    blob.create_only("muster", f"{id_}.json", json.dumps(search or _search()).encode())
    place = BlobRef(container="muster", blob=f"{id_}.json")
    return SweepSpec(id=id_, agent=job.agent, job=job.job, search=place, trials=3)


def _body(lease: Lease, sweep: SweepSpec) -> dict[str, Any]:
    return dict(ml_jobs.get_job(ml_jobs.job_name(lease, sweep.id)).body["properties"])


def test_a_sweep_submitted_twice_is_one_that_carries_its_lease_and_its_limits(
    cloud: Cloud, lease: Lease
) -> None:
    sweep, since = _sweep(cloud, "exit-0"), cloud.mark()
    SWEEPS.submit_sweep(lease, sweep)
    SWEEPS.submit_sweep(lease, sweep)

    sent = [
        each for each in cloud.requests(since=since) if each["method"] == "PUT" and sweep.id in each["path"]
    ]
    assert len(sent) == 1
    body = _body(lease, sweep)
    assert body["tags"] == {**lease.tags("muster"), "muster-job": sweep.id}
    assert body["identity"] == {"identityType": "Managed", "clientId": settings().vm_identity_client_id}
    assert body["objective"] == {"primaryMetric": "logLoss", "goal": "Minimize"}
    assert body["samplingAlgorithm"] == {"samplingAlgorithmType": "Random", "rule": "Random", "seed": 8}
    assert body["limits"] == {
        "jobLimitsType": "Sweep", "maxTotalTrials": 3, "maxConcurrentTrials": 2, "trialTimeout": "PT900S",
        "timeout": "PT3600S",
    }  # fmt: skip
    assert body["earlyTermination"] == {
        "policyType": "TruncationSelection", "truncationPercentage": 20, "evaluationInterval": 1, "delayEvaluation": 3,
    }  # fmt: skip
    rate = body["searchSpace"].pop("rate")
    assert body["searchSpace"] == {
        "kind": ["choice", [["a b", "true"]]],
        "leaves": ["quniform", [1.0, 9.0, 2.0]],
    }
    assert rate[0] == "loguniform" and rate[1] == pytest.approx([-2.302585, 2.302585])
    look = cloud.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.is_over)
    assert look.succeeded and (look.children, look.done) == (3, 3)
    assert SWEEPS.list_unfinished(lease, sweep.id) == ()


def test_a_cancelled_sweep_ends_with_its_children_and_blames_none_of_them(cloud: Cloud, lease: Lease) -> None:
    sweep = _sweep(cloud, "sleep")
    SWEEPS.submit_sweep(lease, sweep)
    cloud.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.running == 2)

    AML.jobs.cancel_job(lease, sweep.id)

    look = cloud.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.is_over)
    assert (look.state, look.succeeded, look.stopped) == ("Canceled", False, 2)
    assert SWEEPS.list_unfinished(lease, sweep.id) == ()


def test_a_sweep_all_of_whose_children_fail_says_so_of_each(cloud: Cloud, lease: Lease) -> None:
    sweep = _sweep(cloud, "exit-4")
    SWEEPS.submit_sweep(lease, sweep)

    look = cloud.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.is_over)
    assert (look.state, look.failed) == ("Failed", 3) and "child runs" in look.message
    children = SWEEPS.list_unfinished(lease, sweep.id)
    assert [child.number for child in children] == [0, 1, 2]
    assert all("status code 4" in child.reason and child.parameters["kind"] for child in children)


def _has_begun(number: int, look: SweepLook) -> bool:
    return look.children > number


def test_children_that_were_stopped_are_told_of_though_none_of_the_sweep_completed(
    cloud: Cloud, lease: Lease
) -> None:
    sweep = _sweep(cloud, "sleep")
    SWEEPS.submit_sweep(lease, sweep)
    for number in range(3):
        cloud.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), partial(_has_begun, number))
        ml_jobs.begin_cancel_job(f"{ml_jobs.job_name(lease, sweep.id)}_{number}")

    look = cloud.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.is_over)
    assert (look.state, look.stopped) == ("Failed", 3)
    children = SWEEPS.list_unfinished(lease, sweep.id)
    assert [(child.number, child.stopped) for child in children] == [(0, True), (1, True), (2, True)]


def test_a_sweep_ends_with_the_cluster_it_loses(inhabited: Cloud) -> None:
    lease = inhabited.lease(AML).model_copy(update={"nodes": 2})
    inhabited.ready(AML, lease)
    sweep = _sweep(inhabited, "sleep")
    SWEEPS.submit_sweep(lease, sweep)
    inhabited.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.running == 2)

    inhabited.gone(AML, lease)

    look = inhabited.until(lambda: SWEEPS.observe_sweep(lease, sweep.id), lambda look: look.is_over)
    assert (look.state, look.succeeded, look.machine_lost) == ("Failed", False, True), look


def test_a_search_that_azure_ml_refuses_is_told_in_its_words(cloud: Cloud, lease: Lease) -> None:
    space = {"rate": ["uniform", [2, 1]]}

    with pytest.raises(PlatformError, match="minimum of 'rate'"):
        SWEEPS.submit_sweep(lease, _sweep(cloud, "exit-0", _search(searchSpace=space)))


def test_a_sweep_needs_the_cluster_of_its_own_lease(cloud: Cloud, lease: Lease) -> None:
    absent = cloud.lease(AML)
    with pytest.raises(LeaseLost):
        SWEEPS.submit_sweep(absent, _sweep(cloud, "exit-0"))
    assert SWEEPS.observe_sweep(absent, "sweep-e1").is_over
