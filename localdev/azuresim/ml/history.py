"""Run history: jobs as runs, at `https://{region}.api.azureml.ms`, where the SDK streams, downloads and archives them.

Shapes: machinelearningservices data-plane 2019-09-30 runHistory.json (Run, RunDetails, ErrorResponse); paths as
azure-ai-ml 1.35.2 sends them. `discovery` tells the SDK where all this is. A run is read from the job's resource:

- type `Microsoft.MachineLearningServices/workspaces/jobs`, id `{workspace}/jobs/{name}`
- `properties` as a GET of the job shows them: status, experimentName, displayName, tags, properties, computeId, ...
- `state`: `started` and `ended` (epoch seconds or None), `error` ({code, message} or None), `parent` and
  `root` (names of jobs), `log_files` ({name: URL})
"""

from __future__ import annotations

import uuid
from typing import Any

from localdev.azuresim import estate
from localdev.azuresim.errors import ArmError
from localdev.azuresim.events import iso
from localdev.azuresim.ml import signals
from localdev.azuresim.ml.common import WORKSPACE, WORKSPACES, user_error, workspace_of
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

JOBS = f"{WORKSPACES}/jobs"
RUNS = f"{WORKSPACES}/experiments/runs"
SPECIFICATION = (
    "official/specification/machinelearningservices/data-plane/Microsoft.MachineLearningServices/preview/2019-09-30/"
    "runHistory.json"
)
_PREFIX = "/history/v1.0"
_PAGE = 100  # of a run's children; real pages have a length of their own
_CHANGEABLE = {"displayName", "description", "tags", "properties", "hidden"}


def host_routes(world: World) -> list[Route]:
    """What `{region}.api.azureml.ms` answers to a caller with a token; `discovery` is for everybody."""
    runs = RunHistory(world)
    base = f"{_PREFIX}{WORKSPACE}"
    run, changed = f"{base}/runs/{{run}}", f"{base}/experiments/{{experiment}}/runs/{{run}}"
    return [
        Route("GET", run, f"{RUNS}/read", runs.get, ()),
        Route("GET", f"{run}/details", f"{RUNS}/read", runs.details, ()),
        Route("GET", f"{run}/children", f"{RUNS}/read", runs.children, ()),
        Route("POST", f"{base}/rundata", f"{RUNS}/read", runs.data, ()),
        Route("PATCH", changed, f"{RUNS}/write", runs.change, ()),
    ]


def definition_of(path: str) -> str:
    """The definition in runHistory.json an answer has to follow; "" where that file has none."""
    if path.endswith("/details"):
        return "RunDetails"
    if path.endswith("/children"):
        return "PaginatedRunList"
    return "" if path.endswith("/rundata") else "Run"


def discovery(host: str) -> dict[str, str]:
    """Every service of a region is behind its one host. Keys: azure-ai-ml's WorkspaceDiscoveryUrlKey."""
    services = ("api", "catalog", "experimentation", "history", "hyperdrive", "modelmanagement", "pipelines")
    return {**dict.fromkeys(services, f"https://{host}"), "studio": "https://ml.azure.com"}


class RunHistory:
    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, call: Call) -> Reply:
        return Reply(200, run_of(self._job(call, call.params["run"])))

    def details(self, call: Call) -> Reply:
        job = self._job(call, call.params["run"])
        run = run_of(job)
        shown = (
            "runId",
            "target",
            "status",
            "startTimeUtc",
            "endTimeUtc",
            "error",
            "warnings",
            "tags",
            "properties",
        )
        details = {name: run[name] for name in shown}
        if run["parentRunId"]:
            details["parentRunId"] = run["parentRunId"]
        return Reply(
            200, {**details, "runDefinition": None, "logFiles": dict(job.state.get("log_files") or {})}
        )

    def children(self, call: Call) -> Reply:
        job = self._job(call, call.params["run"])
        jobs = self._world.store.of_type(JOBS, job.id.rpartition("/jobs/")[0])
        found = sorted(
            (each for each in jobs if each.state.get("parent") == job.name),
            key=lambda each: each.state["number"],
        )
        start = int(call.query.get("$continuationtoken") or 0)
        shown = found[start : start + _PAGE]
        more = str(start + _PAGE) if start + _PAGE < len(found) else None
        return Reply(200, {"value": [run_of(each) for each in shown], "continuationToken": more})

    def data(self, call: Call) -> Reply:
        """Named outputs are left out: the SDK then finds them in the datastore, where the job wrote them."""
        job = self._job(call, str(call.document().get("runId", "")))
        return Reply(200, {"runMetadata": run_of(job), "runDefinition": None, "jobSpecification": None})

    def change(self, call: Call) -> Reply:
        """`hidden` is what the job's own resource calls `isArchived`; tags and properties are added to."""
        job = self._job(call, call.params["run"])
        asked = {name: value for name, value in call.document().items() if value is not None}
        if unknown := sorted(asked.keys() - _CHANGEABLE - {"runId"}):
            raise user_error(400, f"A run's {', '.join(unknown)} cannot be changed here.")
        if "hidden" in asked:
            job.properties["isArchived"] = bool(asked["hidden"])
        for name in ("tags", "properties"):
            job.properties[name] = {**(job.properties.get(name) or {}), **asked.get(name, {})}
        for name in ("displayName", "description"):
            if name in asked:
                job.properties[name] = asked[name]
        self._world.store.touch(job, call.at)
        return Reply(200, run_of(job))

    def _job(self, call: Call, name: str) -> Resource:
        workspace = workspace_of(self._world, call)
        found = self._world.store.get(f"{workspace.id}/jobs/{name}")
        if found is None:
            raise user_error(404, f"Run {name} was not found")
        return found


def run_of(job: Resource) -> dict[str, Any]:
    shown, experiment = job.properties, str(job.properties.get("experimentName") or "Default")
    parent = job.state.get("parent") or None
    return {
        "runId": job.name,
        "runUuid": str(uuid.uuid5(uuid.NAMESPACE_URL, job.id)),
        "rootRunId": job.state.get("root") or job.name,
        "parentRunId": parent,
        "experimentId": signals.experiment_id(experiment),
        "experimentName": experiment,
        "displayName": shown.get("displayName") or job.name,
        "description": shown.get("description"),
        "status": shown.get("status"),
        "runType": signals.run_type(job),
        "createdUtc": iso(job.created),
        "createdBy": _author(job),
        "startTimeUtc": _moment(job, "started"),
        "endTimeUtc": _moment(job, "ended"),
        "target": str(shown.get("computeId") or "").rpartition("/")[2],
        "tags": dict(shown.get("tags") or {}),
        "properties": dict(shown.get("properties") or {}),
        "error": _error(job),
        "warnings": [],
        "hidden": bool(shown.get("isArchived")),
        "dataContainerId": f"dcid.{job.name}",
    }


def refusal(error: ArmError, at: float) -> dict[str, Any]:
    """An error as these services write it; they have one more level than ARM and say where they are."""
    return _response(error.error(), at)


def _error(job: Resource) -> dict[str, Any] | None:
    error = job.state.get("error")
    return _response(dict(error), job.state.get("ended") or job.changed) if error else None


def _response(error: dict[str, Any], at: float) -> dict[str, Any]:
    return {
        "error": error,
        "correlation": {"operation": uuid.uuid4().hex, "request": uuid.uuid4().hex[:16]},
        "environment": estate.LOCATION,
        "location": estate.LOCATION,
        "time": iso(at),
    }


def _author(job: Resource) -> dict[str, str]:
    name = str(job.state.get("author", estate.APP.name))
    identity = next((each for each in estate.IDENTITIES if each.name == name), estate.APP)
    return {"userObjectId": identity.object_id, "userTenantId": estate.TENANT, "userName": name}


def _moment(job: Resource, name: str) -> str | None:
    at = job.state.get(name)
    return iso(at) if at is not None else None
