"""A sweep is written once for the trials that are open, and what its children could not record is recorded for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from activities import sweeps, training
from node.sweep import as_child, parse_sweep
from node.train_job import parse_train_job
from shared.azure import blob, ledger
from shared.domain.lease import Lease
from shared.domain.sweep import SweepClosing, SweepQuery, SweepRequest, SweepSpec, SweepStep
from shared.platforms import platforms
from tests.activities.retrainings import Retrained
from tests.support.cloud import Cloud, environment

AML = platforms()["amlcompute"]
ON_A_CLUSTER = {"platform": "amlcompute"}
DAYS = tuple(f"2026-03-{day:02d}.parquet" for day in range(1, 4))
GRID = {"sampling": "grid", "count": None, "space": {"rate": {"choice": [1, 2, 3, 4]}}}


def _swept(**trials: Any) -> Retrained:
    retrained = Retrained({"compute": ON_A_CLUSTER, "trials": {"engine": "sweep", **trials}})
    retrained.land(*DAYS)
    return retrained


def _write(retrained: Retrained, lease: Lease) -> SweepSpec | None:
    trials = retrained.job(0).trials
    return sweeps.write_sweep(SweepRequest(trials=trials, lease=lease, within_s=3600)).sweep


def _limits(sweep: SweepSpec) -> dict[str, Any]:
    return dict(blob.read_json(sweep.search.container, sweep.search.blob)["limits"])


@pytest.fixture
def lease(cloud: Cloud) -> Lease:
    return cloud.lease(AML)


def test_a_sweep_is_written_once_and_each_child_finds_its_trial_in_it(lease: Lease) -> None:
    retrained = _swept()
    retrained.record("t001")

    first = _write(retrained, lease)
    assert first is not None and first == _write(retrained, lease)
    assert (first.id, first.trials, _limits(first)["maxTotalTrials"]) == ("sweep-e1", 3, 3)
    assert first.data_asset == retrained.data.asset != ""
    raw = blob.read(first.job.container, first.job.blob)
    job = parse_train_job(raw, json.loads(raw)["account_url"])
    environment = {"AZUREML_RUN_ID": f"{lease.id}-e1-sweep-e1_1", "AZUREML_SWEEP_rate": "0.5"}
    child = as_child(job, parse_sweep(job.sweep), environment)
    assert (child.trials[0].id, child.parameters, child.metric) == ("t002", {"rate": 0.5}, "auc")
    assert child.data.sha256 == retrained.data.manifest.sha256


def test_without_a_workspace_frozen_data_are_no_asset_and_that_is_said(cloud: Cloud) -> None:
    retrained = Retrained()
    retrained.land(*DAYS)
    with environment({"MUSTER_ML_WORKSPACE": ""}):
        frozen = retrained.freeze()

    assert frozen.asset == "" and "MUSTER_ML_WORKSPACE is not set" in frozen.note
    assert retrained.freeze().asset.endswith(
        f"/data/{retrained.model}-data/versions/{frozen.manifest.sha256[:16]}"
    )


def test_points_of_a_grid_are_known_before_and_another_cluster_draws_other_random_ones(lease: Lease) -> None:
    grid = _swept(**GRID)
    grid.record("t001")
    sweep = _write(grid, lease)
    assert sweep is not None and _limits(sweep)["maxTotalTrials"] == 4
    assert [trial.parameters for trial in training.read_plan(grid.plan)][3] == {"rate": 4}

    random = _swept()
    seeds = []
    for epoch in (1, 2):
        sweep = _write(random, lease.model_copy(update={"epoch": epoch}))
        assert sweep is not None
        seeds.append(blob.read_json("muster", sweep.search.blob)["samplingAlgorithm"]["seed"])
    assert seeds == [7, 8]


def test_there_is_no_sweep_where_every_trial_has_its_record(lease: Lease) -> None:
    retrained = _swept()
    for number in range(4):
        retrained.record(f"t{number:03d}")

    assert _write(retrained, lease) is None


def test_children_that_failed_without_a_word_are_put_on_record_once(cloud: Cloud, lease: Lease) -> None:
    retrained, lease = _swept(), lease.model_copy(update={"nodes": 2})
    cloud.ready(AML, lease)
    written = _write(retrained, lease)
    assert written is not None
    job = cloud.job("exit-4")  # as the agent ends where storage refuses it
    sweep = written.model_copy(update={"agent": job.agent, "job": job.job})
    sweeps.submit_sweep(SweepStep(lease=lease, sweep=sweep))
    query = SweepQuery(lease=lease, sweep=sweep.id)
    look = cloud.until(lambda: sweeps.observe_sweep(query), lambda look: look.is_over)
    retrained.record("t000")

    closing = SweepClosing(run=retrained.run, lease=lease, sweep=written)
    assert (look.failed, sweeps.close_sweep(closing).recorded, sweeps.close_sweep(closing).recorded) == (
        4,
        3,
        0,
    )
    record = ledger.read(f"runs/{retrained.run}/trials/t003.json") or {}
    assert record["status"] == "failed" and "status code 4" in record["reason"]
    assert 0 <= record["parameters"]["rate"] <= 1
    results = retrained.results()
    assert (results.valid, results.failed, results.missing) == (1, 3, 0)
    cloud.gone(AML, lease)
