"""Requests to computes and jobs of the simulated workspace, as any client might send them."""

from __future__ import annotations

from typing import Any

from tests.azuresim.azure_client import Azure, until

SUBSCRIPTION = "/subscriptions/11111111-1111-1111-1111-111111111111"
PROVIDER = "Microsoft.MachineLearningServices"
WORKSPACE = f"{SUBSCRIPTION}/resourceGroups/muster/providers/{PROVIDER}/workspaces/muster-ml"
COMPUTES_API, JOBS_API, COMMANDS_API, CANCEL_API = (
    "2023-08-01-preview",
    "2024-01-01-preview",
    "2025-01-01-preview",
    "2023-04-01-preview",
)
ENVIRONMENT = "azureml://registries/azureml/environments/sklearn-1.5/versions/1"
TAGS = {"muster-lease": "l1", "muster-app": "muster"}
JOBS_WRITE = f"{PROVIDER}/workspaces/jobs/write"
OVER = ("Completed", "Failed", "Canceled")


def compute_id(name: str) -> str:
    return f"{WORKSPACE}/computes/{name}"


def cluster_body(
    *,
    size: str = "Standard_D2s_v5",
    priority: str = "Dedicated",
    low: int = 0,
    high: int = 2,
    idle: str = "PT120S",
) -> dict[str, Any]:
    scale = {"minNodeCount": low, "maxNodeCount": high, "nodeIdleTimeBeforeScaleDown": idle}
    return {
        "location": "westeurope",
        "tags": TAGS,
        "properties": {
            "computeType": "AmlCompute",
            "properties": {"osType": "Linux", "vmSize": size, "vmPriority": priority, "scaleSettings": scale},
        },
    }


def put_cluster(azure: Azure, name: str = "cpu", **settings: Any) -> None:
    """A cluster that is ready."""
    answer = azure.send("PUT", compute_id(name), cluster_body(**settings), version=COMPUTES_API)
    assert answer.status_code == 201, answer.text
    azure.control.advance(15)


def compute(azure: Azure, name: str = "cpu") -> dict[str, Any]:
    return dict(azure.get(compute_id(name), version=COMPUTES_API))


def nodes(azure: Azure, name: str = "cpu") -> dict[str, int]:
    """{"running": 1}: states that nodes are in, and how many."""
    counts = compute(azure, name)["properties"]["properties"]["nodeStateCounts"]
    return {state.removesuffix("NodeCount"): count for state, count in counts.items() if count}


def put_job(azure: Azure, name: str, command: str = "true", cluster: str = "cpu", **members: Any) -> Any:
    body = {
        "properties": {
            "jobType": "Command",
            "command": command,
            "environmentId": ENVIRONMENT,
            "computeId": compute_id(cluster),
            "tags": {"of": name},
            **members,
        }
    }
    return azure.send("PUT", f"{WORKSPACE}/jobs/{name}", body, version=COMMANDS_API)


def job(azure: Azure, name: str) -> dict[str, Any]:
    return dict(azure.get(f"{WORKSPACE}/jobs/{name}", version=JOBS_API)["properties"])


def status(azure: Azure, name: str) -> str:
    return str(job(azure, name)["status"])


def lived_through(azure: Azure, name: str) -> list[str]:
    """Every state the job was in, in order."""
    found = azure.control.events(type_="job")
    return [event["status"] for event in found if event["resource_id"].endswith(f"/jobs/{name}")]


def finished(azure: Azure, name: str, step_s: float = 10) -> str:
    """Let time pass until the job is over; its processes take the wall time they take."""

    def look() -> str:
        azure.control.advance(step_s)
        return status(azure, name)

    return until(look, lambda seen: seen in OVER)


def cancel(azure: Azure, name: str) -> Any:
    return azure.send("POST", f"{WORKSPACE}/jobs/{name}/cancel", version=CANCEL_API)


def running_lines(azure: Azure) -> list[dict[str, Any]]:
    return [line for line in azure.control.bill()["lines"] if line["ended"] is None]


def report_to(other: str) -> str:
    """A command that reports to its own run, which is taken, and to another's, which is refused; 0 if so."""
    return f"""python - <<'PYTHON'
import json, os, sys, time, urllib.error, urllib.request
base = os.environ["MLFLOW_TRACKING_URI"].replace("azureml://", "https://").rstrip("?")
headers = {{"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"], "Content-Type": "application/json"}}
seen = []
for run in (os.environ["MLFLOW_RUN_ID"], {other!r}):
    metric = {{"run_id": run, "key": "auc", "value": 0.5, "timestamp": int(time.time() * 1000), "step": 0}}
    url = base + "/api/2.0/mlflow/runs/log-metric"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(metric).encode(), headers)) as answer:
            seen.append(answer.status)
    except urllib.error.HTTPError as error:
        seen.append(error.code)
print(seen)
sys.exit(seen != [200, 403])
PYTHON"""
