"""A child of an Azure ML sweep finds out which trial it is, and tells its metrics to nobody but Azure ML."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.errors import JobSpecError
from node.sweep import as_child, parse_sweep
from node.tracking import Run
from node.train_job import TrainJob, parse_train_job

ACCOUNT = "https://musterdev.blob.core.windows.net"
BLOB = {"container": "muster", "blob": "b", "sha256": "a" * 64}
SPACE = {"rate": "number", "leaves": "whole", "kind": ["a b", 7, True]}
DRAWN = {"AZUREML_SWEEP_rate": "0.25", "AZUREML_SWEEP_leaves": "31.0", "AZUREML_SWEEP_kind": "a b"}
PARAMETERS = {"rate": 0.25, "leaves": 31, "kind": "a b"}
NAMED = [{"id": f"t{n:03d}", "parameters": {}} for n in range(3)]
TRACKING = "azureml://westeurope.api.azureml.ms/mlflow/v1.0/subscriptions/s?"


def _job(trials: list[dict[str, Any]] | None = None, **sweep: Any) -> TrainJob:
    document = {
        "schema": "muster.train-job/1", "run": "train-r", "job": "sweep-e1", "account_url": ACCOUNT,
        "state": {"container": "muster", "prefix": "runs/train-r/"}, "parameters": {}, "timeout_s": 60,
        "data": BLOB, "code": {**BLOB, "entry": "train.py"},
        "sweep": {"name": "l-e1-sweep-e1", "metric": "auc", "trials": trials or NAMED, "space": SPACE, **sweep},
    }  # fmt: skip
    return parse_train_job(json.dumps(document).encode(), ACCOUNT)


def _child(number: int, environment: dict[str, str], **changes: Any) -> TrainJob:
    job = _job(**changes)
    return as_child(job, parse_sweep(job.sweep), {"AZUREML_RUN_ID": f"l-e1-sweep-e1_{number}", **environment})


def test_a_child_is_the_trial_of_its_number_with_what_was_drawn() -> None:
    child = _child(2, DRAWN)

    assert [trial.id for trial in child.trials] == ["t002"]
    assert child.parameters == PARAMETERS
    assert [type(value) for value in child.parameters.values()] == [float, int, str]
    assert (child.head.job, child.azure_run, child.metric) == ("sweep-e1_2", "l-e1-sweep-e1_2", "auc")


def test_without_variables_what_azure_ml_filled_in_the_command_counts() -> None:
    filled = {"MUSTER_DRAWN": "rate=0.25\nleaves=31\nkind=a b"}

    assert _child(0, filled).parameters == PARAMETERS
    assert _child(0, {**filled, "AZUREML_SWEEP_rate": "0.5"}).parameters["rate"] == 0.5


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("7.0", 7), ("true", True)])
def test_a_choice_is_what_was_declared_and_not_what_it_looks_like(text: str, value: object) -> None:
    found = _child(0, {**DRAWN, "AZUREML_SWEEP_kind": text}).parameters["kind"]
    assert found == value and type(found) is type(value)


def test_a_point_of_a_grid_is_its_trial_whatever_its_number() -> None:
    points = [{"id": "t000", "parameters": {"kind": 7}}, {"id": "t001", "parameters": {"kind": "a b"}}]
    space = {"kind": ["a b", 7]}

    child = _child(0, {"AZUREML_SWEEP_kind": "a b"}, trials=points, space=space)
    assert child.trials[0].id == "t001"
    with pytest.raises(JobSpecError, match="none of the 2 trials"):
        _child(0, {"AZUREML_SWEEP_kind": "7"}, trials=points[1:] * 2, space=space)


@pytest.mark.parametrize(
    ("run", "environment", "words"),
    [
        ("", DRAWN, "no child of sweep"),
        ("another-sweep_1", DRAWN, "no child of sweep"),
        ("1", DRAWN, "no child of sweep"),
        ("l-e1-sweep-e1_x", DRAWN, "no child of sweep"),
        ("l-e1-sweep-e1_3", DRAWN, "none of the 3 trials"),
        ("l-e1-sweep-e1_0", {**DRAWN, "AZUREML_SWEEP_kind": "8"}, "none of the declared"),
        ("l-e1-sweep-e1_0", {**DRAWN, "AZUREML_SWEEP_rate": "high"}, "no number"),
        ("l-e1-sweep-e1_0", {"AZUREML_SWEEP_rate": "1"}, "no value was drawn for leaves"),
    ],
)
def test_what_was_not_declared_is_not_trained(run: str, environment: dict[str, str], words: str) -> None:
    job = _job()
    with pytest.raises(JobSpecError, match=words):
        as_child(job, parse_sweep(job.sweep), {**environment, "AZUREML_RUN_ID": run})


@pytest.mark.parametrize("space", [{"out": "number"}, {"rate": "any"}, {"rate": []}, {"rate": [[1]]}, 5])
def test_a_space_that_cannot_be_is_refused(space: object) -> None:
    with pytest.raises(JobSpecError, match="sweep"):
        parse_sweep(_job(space=space).sweep)


@pytest.mark.parametrize(
    "uri",
    [
        "https://elsewhere.example/mlflow",
        "azureml://azureml.ms.example/mlflow",
        "http://x.api.azureml.ms/",
        "azureml://user@westeurope.api.azureml.ms:444/mlflow",
    ],
)
def test_a_run_s_token_goes_to_no_host_but_azure_ml_s(uri: str) -> None:
    with pytest.raises(ValueError, match="no tracking service"):
        Run(uri, "token", "run")
    told = {"MLFLOW_TRACKING_TOKEN": "token", "MLFLOW_RUN_ID": "run"}
    assert Run.of({**told, "MLFLOW_TRACKING_URI": uri}) is None
    assert Run.of(told) is None and Run.of({**told, "MLFLOW_TRACKING_URI": TRACKING}) is not None
