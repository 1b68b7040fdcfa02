"""Metrics of runs by MLflow's REST API, at `https://{region}.api.azureml.ms/mlflow/v1.0{workspace}/api/2.0/mlflow`.

Requests and answers: mlflow.org, REST API (runs/log-metric, log-batch, get, metrics/get-history). Refusals have the form
of Azure ML's services, as mlflow/mlflow issue 5846 quotes one ("Bearer token not provided."). A job reaches it with
what is in its environment: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and the rest (`variables`). Such a token is good
for its own run while that runs; here it is a random text, where Azure ML has a JSON Web Token.
"""

from __future__ import annotations

import math
import secrets
import time
from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.ml import signals
from localdev.azuresim.ml.common import WORKSPACE, WORKSPACES, user_error, workspace_of
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

PREFIX = "/mlflow/v1.0"
JOBS = f"{WORKSPACES}/jobs"
RUNS = f"{WORKSPACES}/experiments/runs"
REPORTED = "run.reported"  # a step: a run wrote a metric
_BASE = f"{PREFIX}{WORKSPACE}/api/2.0/mlflow"
_OVER = ("Completed", "Failed", "Canceled")
_STATES = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "Running": "RUNNING"}


def host_routes(world: World) -> list[Route]:
    runs = TrackedRuns(world)
    write, read = f"{RUNS}/write", f"{RUNS}/read"
    return [
        Route("POST", f"{_BASE}/runs/log-metric", write, runs.log_metric, ()),
        Route("POST", f"{_BASE}/runs/log-batch", write, runs.log_batch, ()),
        Route("GET", f"{_BASE}/runs/get", read, runs.get, ()),
        Route("GET", f"{_BASE}/metrics/get-history", read, runs.history, ()),
    ]


def variables(job: Resource, workspace: Resource) -> dict[str, str]:
    """What a job's command finds in its environment; a token of its own for every attempt."""
    token = job.state["run_token"] = secrets.token_urlsafe(32)
    experiment = str(job.properties["experimentName"])
    return {
        "MLFLOW_TRACKING_URI": f"azureml://{workspace.location}.api.azureml.ms{PREFIX}{workspace.id}?",
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_RUN_ID": job.name,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "MLFLOW_EXPERIMENT_ID": signals.experiment_id(experiment),
        "AZUREML_RUN_TOKEN": token,
    }


def run_of_token(world: World, authorization: str | None) -> Resource | None:
    """The run, still under way, that was given this token; None if it is no run's."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.casefold() != "bearer" or not token:
        return None
    for job in world.store.of_type(JOBS):
        if job.state.get("run_token") == token and job.properties["status"] not in _OVER:
            return job
    return None


class TrackedRuns:
    def __init__(self, world: World) -> None:
        self._world = world

    def log_metric(self, call: Call) -> Reply:
        body = call.document()
        job = self._job(call, str(body.get("run_id") or body.get("run_uuid") or ""))
        self._take(call, job, [body])
        return Reply(200, {})

    def log_batch(self, call: Call) -> Reply:
        body = call.document()
        job = self._job(call, str(body.get("run_id") or ""))
        metrics = body.get("metrics") or []
        if len(metrics) > 1000:
            raise _invalid("A batch logging request can contain at most 1000 metrics.")
        self._take(call, job, metrics)
        return Reply(200, {})

    def get(self, call: Call) -> Reply:
        job = self._job(call, call.query.get("run_id", ""))
        newest = {key: entry for key, *entry in job.state.get("reported", ())}
        info = {
            "run_id": job.name,
            "run_uuid": job.name,
            "experiment_id": signals.experiment_id(str(job.properties["experimentName"])),
            "status": _STATES.get(job.properties["status"], "SCHEDULED"),
            "lifecycle_stage": "active",
        }
        metrics = [_metric(key, *entry) for key, entry in newest.items()]
        tags = [{"key": key, "value": value} for key, value in job.properties["tags"].items()]
        return Reply(200, {"run": {"info": info, "data": {"metrics": metrics, "tags": tags}}})

    def history(self, call: Call) -> Reply:
        job, wanted = self._job(call, call.query.get("run_id", "")), call.query.get("metric_key", "")
        found = [_metric(*entry) for entry in job.state.get("reported", ()) if entry[0] == wanted]
        return Reply(200, {"metrics": found})

    def _take(self, call: Call, job: Resource, metrics: list[Any]) -> None:
        if job.properties["status"] in _OVER:
            raise user_error(400, f"Run {job.name} is over and takes no metrics.")
        read = [_read(each) for each in metrics]
        job.state.setdefault("reported", []).extend(read)
        for key, value, *_ in read:
            if math.isfinite(value):
                job.state.setdefault("metrics", {})[key] = value
        self._world.events.add(
            "metrics", call.at, resource_id=job.id, names=sorted({each[0] for each in read})
        )
        self._world.scheduler.at(call.at, REPORTED, job=job.id)

    def _job(self, call: Call, name: str) -> Resource:
        workspace = workspace_of(self._world, call)
        found = self._world.store.get(f"{workspace.id}/jobs/{name}") if name else None
        if found is None:
            raise user_error(404, f"Run {name} was not found")
        speaker = run_of_token(self._world, call.headers.get("Authorization"))
        if speaker is not None and speaker.id != found.id:
            raise ArmError(403, "UserError", f"The token of run {speaker.name} is not good for run {name}.")
        return found


def _read(metric: Any) -> list[Any]:
    """[key, value, step, timestamp]. Raises MLflow's refusal of what is none."""
    if not isinstance(metric, dict):
        raise _invalid("A metric is an object.")
    key, value, moment = metric.get("key"), metric.get("value"), metric.get("timestamp")
    if not isinstance(key, str) or not key:
        raise _invalid("Missing value for required parameter 'key'.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(
            f"Got invalid value {value!r} for metric '{key}'. Please specify value as a valid double."
        )
    if not isinstance(moment, int) or not 0 < moment < 1000 * (time.time() + 10 * 365 * 86400):
        raise _invalid(f"Got invalid timestamp {moment!r} for metric '{key}': milliseconds are expected.")
    step = metric.get("step", 0)
    if not isinstance(step, int):
        raise _invalid(f"Got invalid step {step!r} for metric '{key}'.")
    return [key, float(value), step, moment]


def _metric(key: str, value: float, step: int, moment: int) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": moment, "step": step}


def _invalid(text: str) -> ArmError:
    return ArmError(400, "INVALID_PARAMETER_VALUE", text)
