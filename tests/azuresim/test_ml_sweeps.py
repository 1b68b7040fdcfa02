"""Sweeps of the simulated workspace: what is refused, what stops a trial early, and metrics by MLflow's API."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from localdev.azuresim import Simulator
from localdev.azuresim.ml.early_termination import is_to_stop
from localdev.azuresim.ml.search_space import draw, next_point
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure
from tests.azuresim.conftest import START
from tests.azuresim.ml_requests import ENVIRONMENT, JOBS_API, WORKSPACE, compute_id, job, put_cluster, put_job

MLFLOW = f"https://westeurope.api.azureml.ms/mlflow/v1.0{WORKSPACE}/api/2.0/mlflow"
BANDIT = {"policyType": "Bandit", "slackFactor": 0.2}
HALF = {"policyType": "TruncationSelection", "truncationPercentage": 50}
METRIC = {"run_id": "reported", "key": "auc", "value": 0.7, "timestamp": 1772330400000, "step": 1}


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """Without Azurite, on a clock that stands still: no job of these tests gets as far as a node."""
    clock = Clock.create(tmp_path_factory.mktemp("clock") / "clock.json", start=START, speed=0)
    with Simulator(clock=clock, storage=False) as simulator:
        caller = Azure(simulator)
        put_cluster(caller, "cpu")
        put_job(caller, "reported")
        yield caller


def _put(azure: Azure, **members: Any) -> requests.Response:
    body = {
        "jobType": "Sweep", "computeId": compute_id("cpu"),
        "objective": {"goal": "Maximize", "primaryMetric": "auc"},
        "samplingAlgorithm": {"samplingAlgorithmType": "Random"},
        "searchSpace": {"x": ["uniform", [0, 1]]},
        "trial": {"command": "echo ${{search_space.x}}", "environmentId": ENVIRONMENT},
    }  # fmt: skip
    return azure.send("PUT", f"{WORKSPACE}/jobs/refused", {"properties": body | members}, version=JOBS_API)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"searchSpace": {"x": ["uniform", [1, 0]]}}, "minimum of 'x'"),
        ({"searchSpace": {"x": ["uniform", [0]]}}, "takes 2 numbers"),
        ({"searchSpace": {"x": ["quniform", [0, 1, 0]]}}, "step of 'x'"),
        ({"searchSpace": {"x": ["choice", [[]]]}}, "has no values"),
        ({"searchSpace": {"x": ["zipf", [1]]}}, "'zipf' is not supported"),
        ({"searchSpace": {"x": [0, 1]}}, "is not a type"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Sobol"}}, "Sobol"),
        (
            {
                "samplingAlgorithm": {"samplingAlgorithmType": "Bayesian"},
                "searchSpace": {"x": ["normal", [0, 1]]},
            },
            "'x' is normal",
        ),
        (
            {"samplingAlgorithm": {"samplingAlgorithmType": "Bayesian"}, "earlyTermination": BANDIT},
            "does not support",
        ),
        ({"limits": {"jobLimitsType": "Sweep", "maxTotalTrials": 1001}}, "between 1 and 1000"),
        ({"limits": {"jobLimitsType": "Sweep", "maxConcurrentTrials": 0}}, "between 1 and 1000"),
        ({"limits": {"jobLimitsType": "Command", "timeout": "PT5M"}}, "of type Sweep"),
        ({"limits": {"jobLimitsType": "Sweep", "trialTimeout": "5 minutes"}}, "5 minutes"),
        ({"objective": {"goal": "Maximize"}}, "primaryMetric"),
        ({"earlyTermination": {"policyType": "Bandit"}}, "slackFactor or slackAmount"),
        ({"earlyTermination": {"policyType": "Patience"}}, "Patience"),
        ({"earlyTermination": {**BANDIT, "truncationPercentage": 3}}, "truncationPercentage"),
        ({"earlyTermination": {"policyType": "TruncationSelection"}}, "between 1 and 99"),
        (
            {"inputs": {"d": {"jobInputType": "uri_file", "uri": "azureml:none:1", "mode": "Direct"}}},
            "Data none",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(azure: Azure, members: dict[str, Any], words: str) -> None:
    answer = _put(azure, **members)
    assert (answer.status_code, words in answer.text) == (400, True), answer.text


@pytest.mark.parametrize(
    ("policy", "goal", "mine", "others", "stops"),
    [
        (BANDIT, "Maximize", [0.5], [[0.7]], True),
        (BANDIT, "Maximize", [0.6], [[0.7]], False),
        (BANDIT, "Minimize", [0.9], [[0.7]], True),
        (BANDIT, "Minimize", [0.8], [[0.7]], False),
        ({"policyType": "Bandit", "slackAmount": 0.1}, "Maximize", [0.59], [[0.7]], True),
        ({**BANDIT, "delayEvaluation": 2}, "Maximize", [0.1], [[0.7, 0.7]], False),
        ({**BANDIT, "evaluationInterval": 2}, "Maximize", [0.1, 0.1, 0.1], [[0.7]], False),
        ({**BANDIT, "evaluationInterval": 2}, "Maximize", [0.1, 0.1], [[0.7]], True),
        (BANDIT, "Maximize", [0.1], [[], []], False),
        ({"policyType": "MedianStopping"}, "Maximize", [0.1, 0.2], [[0.5, 0.6], [0.3, 0.4]], True),
        ({"policyType": "MedianStopping"}, "Maximize", [0.1, 0.9], [[0.5, 0.6], [0.3, 0.4]], False),
        (HALF, "Maximize", [0.1], [[0.5], [0.6], [0.7]], True),
        (HALF, "Maximize", [0.6], [[0.5], [0.4], [0.7]], False),
        ({**HALF, "truncationPercentage": 20}, "Maximize", [0.1], [[0.5]], False),
    ],
)  # fmt: skip
def test_a_trial_is_stopped_where_its_policy_says_so(
    policy: dict[str, Any], goal: str, mine: list[float], others: list[list[float]], stops: bool
) -> None:
    assert is_to_stop(policy, goal, mine, others) is stops


def test_what_stands_for_bayesian_sampling_draws_near_the_best_and_within_its_bounds() -> None:
    space = {"x": ["uniform", [0, 1]], "n": ["quniform", [0, 10, 5]], "c": ["choice", [["a", "b"]]]}
    known = [
        ({"x": 0.2, "n": 5, "c": "a"}, 1.0),
        ({"x": 0.8, "n": 0, "c": "b"}, 0.1),
        ({"x": 0.5, "n": 0, "c": "b"}, 0.2),
    ]
    drawn = [next_point(space, known, str(seed)) for seed in range(200)]

    assert all(0 <= each["x"] <= 1 and each["n"] in (0, 5, 10) and each["c"] in "ab" for each in drawn)
    assert sum(abs(each["x"] - 0.2) < 0.1 for each in drawn) > 60
    assert drawn[0] == next_point(space, known, "0")
    assert 0.9 < draw(random.Random(1), "loguniform", [math.log(0.95), math.log(1.05)]) < 1.1


def _mlflow(azure: Azure, method: str, path: str, **options: Any) -> requests.Response:
    bearer = azure.identity(resource="https://ml.azure.com").json()["access_token"]
    return azure.plain(method, f"{MLFLOW}/{path}", headers={"Authorization": f"Bearer {bearer}"}, **options)


def test_a_run_keeps_the_metrics_that_are_reported_to_it(azure: Azure) -> None:
    assert _mlflow(azure, "POST", "runs/log-metric", json=METRIC).status_code == 200
    batch = {"run_id": "reported", "metrics": [{**METRIC, "value": 0.8, "step": 2}]}
    assert _mlflow(azure, "POST", "runs/log-batch", json=batch).status_code == 200

    history = _mlflow(azure, "GET", "metrics/get-history?run_id=reported&metric_key=auc").json()["metrics"]
    run = _mlflow(azure, "GET", "runs/get?run_id=reported").json()["run"]
    assert [(each["step"], each["value"]) for each in history] == [(1, 0.7), (2, 0.8)]
    assert [each["value"] for each in run["data"]["metrics"]] == [0.8]
    assert job(azure, "reported")["status"] != "Failed"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"run_id": "unheard-of"}, 404),
        ({"key": ""}, 400),
        ({"value": "0.7"}, 400),
        ({"value": True}, 400),
        ({"timestamp": 1.5}, 400),
        ({"step": "one"}, 400),
    ],
)
def test_a_metric_that_is_none_is_refused(azure: Azure, changes: dict[str, Any], status: int) -> None:
    assert _mlflow(azure, "POST", "runs/log-metric", json=METRIC | changes).status_code == status


def test_nobody_reports_without_a_token(azure: Azure) -> None:
    for headers in ({}, {"Authorization": "Bearer none-of-ours"}):
        answer = azure.plain("POST", f"{MLFLOW}/runs/log-metric", json=METRIC, headers=headers)
        assert answer.status_code == 401
