"""Monitors' runs in the simulated workspace: real command jobs that fail or succeed, with the tags a monitor leaves."""

from __future__ import annotations

import threading
from typing import Any

from shared.azure import arm, blob
from shared.config import settings
from tests.events.deliveries import BREACH_TAG, MONITOR, breach_text
from tests.support.cloud import PATIENCE, Cloud

_API = "2024-10-01"
_CLUSTER = "monitors"


def put(path: str, body: dict[str, Any]) -> None:
    path = f"{settings().ml_workspace_id}/{path}"
    arm.request("PUT", path, api_version=_API, target=f"make {path}", body=body)


def register(model: str, version: str, **tags: str) -> None:
    """A model version that somebody registers without telling us."""
    blob.create_only("models", f"{model}/{version}/model.joblib", b"not opened")
    datastore = f"azureml:/{settings().ml_workspace_id}/datastores/models"
    body = {"modelUri": f"{datastore}/paths/{model}/{version}/", "modelType": "custom_model", "tags": tags}
    put(f"models/{model}/versions/{version}", {"properties": body})


def run(
    cloud: Cloud, name: str, *, command: str = "exit 1", breach: bool = True, monitor: str = MONITOR
) -> None:
    """A run that is over. Nobody is told of it."""
    submit(name, command=command, breach=breach, monitor=monitor)
    pause = threading.Event()
    for _ in range(PATIENCE):
        if status(name) in ("Completed", "Failed", "Canceled"):
            return
        cloud.pass_time(20)
        pause.wait(0.03)  # for the command, which is a real process
    raise AssertionError(f"{name} is {status(name)}")


def submit(name: str, *, command: str, breach: bool = True, monitor: str = MONITOR) -> None:
    put(
        f"computes/{_CLUSTER}",
        {
            "location": "westeurope",
            "properties": {
                "computeType": "AmlCompute",
                "properties": {
                    "vmSize": "STANDARD_D2S_V5",
                    "vmPriority": "Dedicated",
                    "scaleSettings": {
                        "minNodeCount": 0,
                        "maxNodeCount": 1,
                        "nodeIdleTimeBeforeScaleDown": "PT120S",
                    },
                },
            },
        },
    )
    put("environments/monitor/versions/1", {"properties": {"image": settings().ml_image, "osType": "Linux"}})
    body = {
        "jobType": "Command",
        "experimentName": "drift",
        "command": command,
        "computeId": f"{settings().ml_workspace_id}/computes/{_CLUSTER}",
        "environmentId": f"{settings().ml_workspace_id}/environments/monitor/versions/1",
        "tags": {BREACH_TAG: breach_text(monitor)} if breach else {},
    }
    put(f"jobs/{name}", {"properties": body})


def status(name: str) -> str:
    path = f"{settings().ml_workspace_id}/jobs/{name}"
    answer = arm.request("GET", path, api_version=_API, target=f"look at {name}")
    return str(answer.body["properties"]["status"])
