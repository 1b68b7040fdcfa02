"""Jobs of the simulated workspace: through azure-ai-ml as anybody would use it, and request by request."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim import Control, Simulator
from localdev.azuresim.ml.job_runner import filled
from localdev.azuresim.ml.search_space import draw, points
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure, code, inside, until
from tests.azuresim.conftest import START
from tests.azuresim.ml_requests import (
    ENVIRONMENT,
    JOBS_API,
    WORKSPACE,
    cancel,
    compute_id,
    finished,
    job,
    lived_through,
    put_cluster,
    put_job,
    report_to,
    running_lines,
    status,
)
from tests.azuresim.specifications import specs_dir

ROOT = Path(__file__).resolve().parents[2]
LIFE = ["NotStarted", "Queued", "Preparing", "Running", "Finalizing"]
API = "https://westeurope.api.azureml.ms"


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What the program sdk_ml_jobs.py saw, its traffic held against Microsoft's specifications."""
    with Simulator(specs=specs_dir(), speed=200) as simulator:
        program = [sys.executable, "-m", "tests.azuresim.sdk_ml_jobs"]
        ran = subprocess.run(
            program, env=inside(simulator.env), cwd=ROOT, capture_output=True, text=True, timeout=240
        )
        control = Control(simulator.control_url)
        events, lines = control.events(), control.bill()["lines"]
    assert ran.returncode == 0, ran.stderr
    assert [each for each in events if each["type"] in ("contract_violation", "defect")] == []
    yield {**json.loads(ran.stdout.splitlines()[-1]), "lines": lines, "events": events}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """A simulator with storage, on a clock that stands still, and one dedicated and one low-priority cluster."""
    clock = Clock.create(tmp_path_factory.mktemp("clock") / "clock.json", start=START, speed=0)
    with Simulator(clock=clock) as simulator:
        caller = Azure(simulator)
        put_cluster(caller, "cpu", low=1, high=2)
        put_cluster(caller, "spot", priority="LowPriority", low=1, high=1)
        caller.control.advance(120)
        yield caller
        events = caller.control.events()
        assert [each for each in events if each["type"] in ("contract_violation", "defect")] == []


@pytest.fixture
def azure(simulated: Azure) -> Iterator[Azure]:
    simulated.control.clear_faults()
    yield simulated


@pytest.fixture
def name() -> str:
    return f"j-{uuid.uuid4().hex[:8]}"


def log_of(azure: Azure, name: str) -> str:
    details = azure.get(f"{API}/history/v1.0{WORKSPACE}/runs/{name}/details?api-version=1.0")
    return azure.plain("GET", details["logFiles"]["user_logs/std_log.txt"]).text


def error_of(azure: Azure, name: str) -> dict[str, Any]:
    details = azure.get(f"{API}/history/v1.0{WORKSPACE}/runs/{name}/details?api-version=1.0")
    return dict(details["error"]["error"])


def test_a_day_with_the_sdk(seen: dict[str, Any]) -> None:
    assert seen["cluster"] == ["Succeeded", "low_priority", 2]
    assert (seen["job"], seen["model"]) == ("Completed", "3 rows at 0.1")
    assert (seen["log"], seen["as itself"]) == ("trained on 3 rows\n", "hello")
    assert seen["left"] == ["aks-prod"]  # the estate's own


def test_a_sweep_names_its_best_trial(seen: dict[str, Any]) -> None:
    assert seen["sweep"] == {"status": "Completed", "trials": ["Completed"] * 3, "best": "0.3", "score": 1.0}


def test_a_pipelines_second_step_reads_what_the_first_wrote(seen: dict[str, Any]) -> None:
    assert seen["pipeline"] == ["Completed", {"first": "Completed", "second": "Completed"}, "HELLO"]


def test_the_sdk_is_told_of_failures_cancellations_and_refusals(seen: dict[str, Any]) -> None:
    assert seen["cancelled"] == "Canceled"
    assert "exited with status code 3" in seen["failed"] and "no such column" in seen["failed"]
    assert "ClusterMinNodesExceedCoreQuota" in seen["refused"]


def test_everything_is_billed_to_the_lease_and_ended(seen: dict[str, Any]) -> None:
    assert seen["lines"]
    assert {line["tags"]["muster-lease"] for line in seen["lines"]} == {"l1"}
    assert [line for line in seen["lines"] if line["ended"] is None] == []


def test_every_state_is_told_and_the_completion(seen: dict[str, Any]) -> None:
    told = [each for each in seen["events"] if each["type"] == "ml_event"]
    run = told[0]["data"]["runId"]
    mine = [each for each in told if each["data"]["runId"] == run]
    states = [each["data"]["runStatus"] for each in mine if each["event_type"].endswith("RunStatusChanged")]
    assert states == [*LIFE, "Completed"]
    assert mine[-1]["event_type"] == "Microsoft.MachineLearningServices.RunCompleted"
    assert mine[-1]["data"]["experimentName"] == "flights"
    assert mine[-1]["subject"] == f"experiments/{mine[-1]['data']['experimentId']}/runs/{run}"


def test_a_command_sees_its_values_and_its_variables(azure: Azure, name: str) -> None:
    inputs = {"x": {"jobInputType": "literal", "value": "4 2"}}
    command = (
        "echo ${{inputs.x}} $[[-y ${{inputs.y}}]]; echo $GREETING $AZUREML_RUN_ID $AZUREML_EXPERIMENT_NAME"
    )
    put_job(azure, name, command, inputs=inputs, environmentVariables={"GREETING": "hi ${{inputs.x}}"})
    assert finished(azure, name) == "Completed"
    assert log_of(azure, name) == f"4 2\nhi 4 2 {name} Default\n"
    assert lived_through(azure, name) == [*LIFE, "Completed"]


def test_a_job_of_two_nodes_runs_on_both(azure: Azure, name: str) -> None:
    command = "echo $NODE_RANK of $AZUREML_NODE_COUNT > ${{outputs.o}}/$NODE_RANK"
    outputs = {"o": {"jobOutputType": "uri_folder"}}
    put_job(azure, name, command, resources={"instanceCount": 2}, outputs=outputs)
    assert finished(azure, name, 20) == "Completed"
    folder = f"https://musterdev.blob.core.windows.net/azureml-blobstore/azureml/{name}/o"
    assert [_blob(azure, f"{folder}/{rank}") for rank in (0, 1, 2)] == [200, 200, 404]


def test_a_command_that_fails_says_how(azure: Azure, name: str) -> None:
    put_job(azure, name, "echo no such column; exit 7")
    assert finished(azure, name) == "Failed"
    error = error_of(azure, name)
    assert error["code"] == "UserError"
    assert "exited with status code 7" in error["message"] and "no such column" in error["message"]


def test_a_command_that_is_killed_ends_as_a_shell_says(azure: Azure, name: str) -> None:
    put_job(azure, name, "kill -9 $$")
    assert finished(azure, name) == "Failed"
    assert "status code 137" in error_of(azure, name)["message"]


def test_a_job_may_fail_before_it_gets_a_node(azure: Azure, name: str) -> None:
    operation = "Microsoft.MachineLearningServices/workspaces/jobs/write"
    azure.control.add_faults(
        {
            "operation": operation,
            "kind": "async_failure",
            "code": "ImageBuildFailure",
            "message": "no such base",
        }
    )
    put_job(azure, name)
    assert finished(azure, name) == "Failed"
    assert lived_through(azure, name) == ["NotStarted", "Failed"]
    assert error_of(azure, name) == {"code": "ImageBuildFailure", "message": "no such base"}


def test_an_input_that_is_not_there_fails_the_job(azure: Azure, name: str) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/nowhere/"
    put_job(azure, name, "true", inputs={"data": {"jobInputType": "uri_folder", "uri": uri}})
    assert finished(azure, name) == "Failed"
    assert "no blobs found at nowhere/" in error_of(azure, name)["message"]


def test_nothing_but_the_simulated_azure_is_within_reach(azure: Azure, name: str) -> None:
    put_job(azure, name, "curl -sS --max-time 5 https://example.com && echo escaped")
    assert finished(azure, name) == "Failed"
    assert "escaped" not in log_of(azure, name)
    assert "example.com:443" in {each["target"] for each in azure.control.events(type_="proxy_refused")}


def test_a_job_ends_at_its_timeout_and_its_processes_with_it(azure: Azure, name: str) -> None:
    limits = {"jobLimitsType": "Command", "timeout": "PT5M"}
    put_job(azure, name, f"exec -a marker-{name} sleep 600", limits=limits)
    azure.control.advance(60)
    until(lambda: _is_there(f"marker-{name}"), bool)
    assert finished(azure, name) == "Canceled"
    assert not _is_there(f"marker-{name}")
    assert "max run duration of PT5M" in error_of(azure, name)["message"]


def test_a_preempted_job_is_killed_and_begins_anew_with_what_its_mount_holds(azure: Azure, name: str) -> None:
    command = (
        "ls ${{outputs.kept}}; touch ${{outputs.kept}}/before; test -e ${{outputs.kept}}/again || sleep 600"
    )
    outputs = {"kept": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"}}
    put_job(azure, name, command, cluster="spot", outputs=outputs)
    azure.control.advance(60)
    folder = f"https://musterdev.blob.core.windows.net/azureml-blobstore/azureml/{name}/kept"
    until(lambda: _blob(azure, f"{folder}/before"), lambda answer: answer == 200)
    assert _blob(azure, f"{folder}/again", b"x") == 201
    azure.control.preempt_node("spot")
    assert status(azure, name) == "Queued"
    assert finished(azure, name, 30) == "Completed"
    assert lived_through(azure, name) == [*LIFE[:4], "Queued", *LIFE[2:], "Completed"]
    assert log_of(azure, name) == "again\nbefore\n"


def test_a_run_that_falls_silent_may_be_heard_again(azure: Azure, name: str) -> None:
    azure.control.add_faults({"preset": "job-not-responding", "seconds": 120})
    put_job(azure, name, "sleep 3")
    azure.control.advance(15)
    azure.control.advance(35)
    assert status(azure, name) == "NotResponding"
    assert finished(azure, name, 60) == "Completed"
    assert lived_through(azure, name) == [*LIFE[:4], "NotResponding", *LIFE[3:], "Completed"]


def test_a_run_that_stays_silent_is_not_over_until_it_is_cancelled(azure: Azure, name: str) -> None:
    azure.control.add_faults({"preset": "job-not-responding"})
    put_job(azure, name, "sleep 600")
    azure.control.advance(600)
    assert status(azure, name) == "NotResponding"
    answer = cancel(azure, name)
    assert (answer.status_code, "Azure-AsyncOperation" in answer.headers) == (202, False)
    assert finished(azure, name) == "Canceled"


def test_putting_a_job_again_runs_it_once(azure: Azure, name: str) -> None:
    assert put_job(azure, name).status_code == 201
    assert put_job(azure, name, tags={"changed": "yes"}).status_code == 200
    assert code(put_job(azure, name, "false")) == (409, "UserError")
    assert finished(azure, name) == "Completed"
    assert lived_through(azure, name).count("Running") == 1
    assert job(azure, name)["tags"] == {"changed": "yes"}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"computeId": compute_id("none")}, "compute target 'none' was not found"),
        ({"environmentId": f"{WORKSPACE}/environments/none/versions/1"}, "Environment none"),
        ({"codeId": f"{WORKSPACE}/codes/none/versions/1"}, "Codes none"),
        ({"resources": {"instanceCount": 3}}, "exceeds the cluster's maximum of 2"),
    ],
)
def test_a_job_that_cannot_run_is_refused(
    azure: Azure, name: str, members: dict[str, Any], text: str
) -> None:
    answer = put_job(azure, name, **members)
    assert answer.status_code == 400
    assert text in answer.text


def test_a_sweep_fails_if_no_trial_completes(azure: Azure, name: str) -> None:
    _put_sweep(azure, name, "exit ${{search_space.x}}")
    assert finished(azure, name) == "Failed"
    assert [status(azure, f"{name}_{number}") for number in (0, 1)] == ["Failed", "Failed"]
    assert "All child runs" in error_of(azure, name)["message"]


def test_cancelling_a_sweep_cancels_its_trials(azure: Azure, name: str) -> None:
    _put_sweep(azure, name, "sleep ${{search_space.x}}00")
    azure.control.advance(60)
    assert status(azure, name) == "Running"
    cancel(azure, name)
    assert finished(azure, name) == "Canceled"
    assert [status(azure, f"{name}_{number}") for number in (0, 1)] == ["Canceled", "Canceled"]


def test_a_job_s_token_reports_to_its_own_run_and_to_no_other(azure: Azure, name: str) -> None:
    put_job(azure, f"{name}-other", "sleep 60")
    put_job(azure, name, report_to(f"{name}-other"))

    assert finished(azure, name) == "Completed", log_of(azure, name)
    cancel(azure, f"{name}-other")


def test_a_step_that_fails_ends_its_pipeline(azure: Azure, name: str) -> None:
    steps = {
        "bad": _step(azure, f"{name}-bad", "exit 1"),
        "slow": _step(azure, f"{name}-slow", "sleep 600"),
        "after": {
            **_step(azure, f"{name}-after", "cat ${{inputs.d}}", inputs={"d": {"type": "uri_folder"}}),
            "inputs": {"d": {"value": "${{parent.jobs.bad.outputs.o}}", "job_input_type": "literal"}},
        },
    }
    body = {"properties": {"jobType": "Pipeline", "computeId": compute_id("cpu"), "jobs": steps}}
    assert azure.send("PUT", f"{WORKSPACE}/jobs/{name}", body, version=JOBS_API).status_code == 201
    assert finished(azure, name, 20) == "Failed"
    children = azure.get(f"{API}/history/v1.0{WORKSPACE}/runs/{name}/children?api-version=1.0")["value"]
    assert {each["displayName"]: each["status"] for each in children} == {"bad": "Failed", "slow": "Canceled"}
    assert "child jobs that failed: bad" in error_of(azure, name)["message"]


def test_jobs_whose_processes_died_with_the_simulator(tmp_path: Path) -> None:
    """As when nodes are lost: low priority begins anew, dedicated fails; what is billed goes on."""
    clock = Clock.create(tmp_path / "clock.json", start=START, speed=0)
    with Simulator(clock=clock, state=tmp_path / "state") as simulator:
        azure = Azure(simulator)
        for cluster, priority in (("cpu", "Dedicated"), ("spot", "LowPriority")):
            put_cluster(azure, cluster, priority=priority)
            put_job(azure, f"on-{cluster}", "sleep 600", cluster=cluster)
        azure.control.advance(150)
        assert [status(azure, f"on-{cluster}") for cluster in ("cpu", "spot")] == ["Running", "Running"]
    with Simulator(clock=clock, state=tmp_path / "state") as simulator:
        azure = Azure(simulator)
        azure.control.advance(1)
        assert [status(azure, f"on-{cluster}") for cluster in ("cpu", "spot")] == ["Failed", "Preparing"]
        assert "node was lost" in error_of(azure, "on-cpu")["message"]
        azure.control.advance(20)
        assert status(azure, "on-spot") == "Running"
        assert len(running_lines(azure)) == 2


def test_placeholders_that_name_nothing_stay_and_optional_parts_go() -> None:
    assert (
        filled("a ${{inputs.x}} ${{inputs.z}} $[[-y ${{inputs.y}}]]", {"inputs.x": "1"})
        == "a 1 ${{inputs.z}} "
    )


def test_random_points_are_the_same_for_the_same_seed_and_within_their_bounds() -> None:
    space = {"a": ["uniform", [1, 2]], "b": ["choice", [[3, 4]]], "c": ["quniform", [0, 10, 5]]}
    sampling = {"samplingAlgorithmType": "Random", "seed": 7}
    drawn = points(space, sampling, 50, "job")
    assert drawn == points(space, sampling, 50, "other") != points(space, {**sampling, "seed": 8}, 50, "job")
    assert all(1 <= each["a"] <= 2 and each["b"] in (3, 4) and each["c"] in (0, 5, 10) for each in drawn)
    assert 0.9 < draw(random.Random(1), "loguniform", [-0.1, 0.1]) < 1.2


def _put_sweep(azure: Azure, name: str, command: str) -> None:
    body = {
        "properties": {
            "jobType": "Sweep",
            "computeId": compute_id("cpu"),
            "objective": {"goal": "Maximize", "primaryMetric": "auc"},
            "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
            "searchSpace": {"x": ["choice", [[3, 4]]]},
            "trial": {"command": command, "environmentId": ENVIRONMENT},
        }
    }
    answer = azure.send("PUT", f"{WORKSPACE}/jobs/{name}", body, version=JOBS_API)
    assert answer.status_code == 201, answer.text


def _step(azure: Azure, name: str, command: str, **members: Any) -> dict[str, Any]:
    """A step of a component that is registered for it."""
    outputs = {"o": {"type": "uri_folder"}}
    spec = {"name": name, "version": "1", "type": "command", "command": command, "environment": ENVIRONMENT}
    path = f"{WORKSPACE}/components/{name}/versions/1"
    body = {"properties": {"componentSpec": {**spec, "outputs": outputs, **members}}}
    assert azure.send("PUT", path, body, version=JOBS_API).status_code == 201
    return {"type": "command", "componentId": path}


def _blob(azure: Azure, url: str, content: bytes | None = None) -> int:
    """Status of a read, or of a write with `content`, by the app's own identity."""
    token = azure.identity(resource="https://storage.azure.com").json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-10-04"}
    if content is None:
        return azure.plain("GET", url, headers=headers).status_code
    headers["x-ms-blob-type"] = "BlockBlob"
    return azure.plain("PUT", url, headers=headers, data=content).status_code


def _is_there(marker: str) -> bool:
    found = Path("/proc").glob("[0-9]*/cmdline")
    return any(marker.encode() in _read(each).split(b"\0") for each in found)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
