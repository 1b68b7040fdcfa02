"""Run history: what azure-ai-ml streams, downloads and archives, and what the service says request by request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from localdev.azuresim import Control, Simulator, tokens
from localdev.azuresim.estate import VM
from tests.azuresim.azure_client import Azure, inside
from tests.azuresim.specifications import specs_dir

ROOT = Path(__file__).resolve().parents[2]
API = "https://westeurope.api.azureml.ms"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Azure]:
    """A cloud in which the program sdk_ml_runs.py had its two jobs run; all of it held against the specifications."""
    with Simulator(specs=specs_dir(), speed=100) as simulator:
        program = [sys.executable, "-m", "tests.azuresim.sdk_ml_runs"]
        ran = subprocess.run(
            program, env=inside(simulator.env), cwd=ROOT, capture_output=True, text=True, timeout=240
        )
        assert ran.returncode == 0, ran.stderr
        caller = Azure(simulator)
        caller.env = {**simulator.env, "SEEN": ran.stdout.splitlines()[-1]}
        yield caller
        events = Control(simulator.control_url).events()
    wrong = ("contract_violation", "defect", "proxy_refused")
    assert [each for each in events if each["type"] in wrong] == []


@pytest.fixture
def seen(cloud: Azure) -> dict[str, Any]:
    return dict(json.loads(cloud.env["SEEN"]))


def ask(cloud: Azure, method: str, path: str, *, token: str = "", **options: Any) -> requests.Response:
    """A request to run history; `path` is below the workspace. The host's own identity asks unless told otherwise."""
    bearer = token or cloud.identity(resource="https://ml.azure.com").json()["access_token"]
    url = f"{API}/history/v1.0{cloud.env['MUSTER_ML_WORKSPACE']}/{path}"
    return cloud.plain(method, url, headers={"Authorization": f"Bearer {bearer}"}, **options)


def test_the_sdk_streams_a_jobs_log_to_its_end(seen: dict[str, Any]) -> None:
    assert seen["made"] == ["good", "retraining"]
    assert "loss 0.5" in seen["stream"]
    assert seen["stream"].index("Streaming user_logs/std_log.txt") < seen["stream"].index("Execution Summary")
    assert seen["got"] == ["Completed", "good", "retraining"]


def test_the_sdk_shows_why_a_job_failed(seen: dict[str, Any]) -> None:
    shown = "\n".join(seen["bad"])
    assert "exited with status code 3" in shown
    assert '"code": "UserError"' in shown


def test_the_sdk_downloads_logs_and_named_outputs(seen: dict[str, Any]) -> None:
    assert (seen["downloaded"], seen["named"]) == (["std_log.txt"], ["a model"])


def test_an_archived_run_is_an_archived_job(seen: dict[str, Any]) -> None:
    assert (seen["after archive"], seen["after restore"]) == (["bad"], ["bad", "good"])


def test_the_details_tell_what_became_of_a_run(cloud: Azure, seen: dict[str, Any]) -> None:
    assert seen["details"] == ["good", "Completed", "ml-runs", True]
    assert seen["children"] == 0
    bad = ask(cloud, "GET", "runs/bad/details").json()
    assert (bad["status"], bad["error"]["error"]["code"]) == ("Failed", "UserError")
    log = cloud.plain("GET", bad["logFiles"]["user_logs/std_log.txt"])
    assert (log.status_code, log.text) == (200, "loss 0.5\n")


def test_a_runs_labels_are_those_of_its_job(cloud: Azure) -> None:
    path = "experiments/retraining/runs/bad"
    change = {"displayName": "a bad one", "tags": {"seen": "yes"}, "properties": {"auc": "0.5"}}
    assert ask(cloud, "PATCH", path, json=change).status_code == 200
    assert ask(cloud, "PATCH", path, json={"tags": {"again": "yes"}}).status_code == 200
    job = cloud.get(f"{cloud.env['MUSTER_ML_WORKSPACE']}/jobs/bad?api-version=2024-01-01-preview")[
        "properties"
    ]
    assert (job["displayName"], job["properties"]["auc"]) == ("a bad one", "0.5")
    assert (job["tags"]["seen"], job["tags"]["again"]) == ("yes", "yes")
    run = ask(cloud, "GET", "runs/bad").json()
    assert (run["displayName"], run["tags"], run["hidden"]) == ("a bad one", job["tags"], False)
    assert ask(cloud, "PATCH", path, json={"status": "Completed"}).status_code == 400


def test_machines_have_no_say_in_run_history(cloud: Azure) -> None:
    token, _ = tokens.issue(tokens.Principal(VM), "https://ml.azure.com")
    refused = ask(cloud, "GET", "runs/good/details", token=token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AuthorizationFailed")


def test_a_fault_strikes_run_history_too(cloud: Azure) -> None:
    operation = "Microsoft.MachineLearningServices/workspaces/experiments/runs/read"
    cloud.control.add_faults(
        {"operation": operation, "kind": "status", "status": 503, "code": "ServiceUnavailable"}
    )
    assert ask(cloud, "GET", "runs/good/details").status_code == 503
    assert ask(cloud, "GET", "runs/good/details").status_code == 200
