"""Jobs of a workspace: put, looked at, listed, cancelled. What follows on a put is in job_life.py.

Paths, statuses and bodies: mfe.json 2024-01-01-preview and its examples; 2025-01-01-preview by its Bicep types.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.errors import conflict
from localdev.azuresim.ml import job_spec
from localdev.azuresim.ml.common import (
    VERSIONS,
    WORKSPACE,
    missing,
    page,
    properties_of,
    user_error,
    view,
    workspace_of,
)
from localdev.azuresim.ml.job_life import JOBS, OVER, JobLife
from localdev.azuresim.ml.parents import Parents
from localdev.azuresim.ml.pipelines import Pipelines
from localdev.azuresim.ml.sweeps import Sweeps
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_POLL_S, _CANCEL_S, _DELETE_S = 3.0, 5.0, 5.0
_ENDPOINT = "https://management.azure.com"
_COMPARED = ("jobType", "command", "codeId", "environmentId", "computeId", "trial", "searchSpace", "jobs")


def routes(world: World) -> list[Route]:
    jobs = Jobs(world)
    one = f"{WORKSPACE}/jobs/{{job}}"
    return [
        Route("GET", f"{WORKSPACE}/jobs", f"{JOBS}/read", jobs.list, VERSIONS),
        Route("GET", one, f"{JOBS}/read", jobs.get, VERSIONS),
        Route("PUT", one, f"{JOBS}/write", jobs.put, VERSIONS),
        Route("DELETE", one, f"{JOBS}/delete", jobs.delete, VERSIONS),
        Route("POST", f"{one}/cancel", f"{JOBS}/cancel/action", jobs.cancel, VERSIONS, is_action=True),
    ]


class Jobs:
    def __init__(self, world: World) -> None:
        self._world = world
        self._life = life = JobLife(world)
        self._parents = Parents(
            world, life, {job_spec.SWEEP: Sweeps(world, life), job_spec.PIPELINE: Pipelines(world, life)}
        )
        world.scheduler.register("job.cancel_over", self._cancel_over)
        world.scheduler.register("job.deleted", self._deleted)

    def get(self, call: Call) -> Reply:
        return Reply(200, view(self._existing(call)))

    def list(self, call: Call) -> Reply:
        """Newest first. Trials and steps are seen through their own parent's run only."""
        workspace = workspace_of(self._world, call)
        found = [
            each
            for each in self._world.store.of_type(JOBS, workspace.id)
            if not each.state.get("parent") and _fits(each, call)
        ]
        found.sort(key=lambda each: (each.created, each.state["number"]), reverse=True)
        return Reply(200, page(call, [view(each) for each in found]))

    def put(self, call: Call) -> Reply:
        """A job that is there keeps what it runs; only its labels change."""
        workspace = workspace_of(self._world, call)
        asked = properties_of(call)
        found = self._world.store.get(call.resource_id)
        if found is not None:
            return self._relabel(call, found, asked)
        properties = job_spec.read(self._world, workspace, call.params["job"], asked)
        job = Resource(call.resource_id, JOBS, workspace.location, call.at, call.at, properties=properties)
        number = workspace.state["jobs"] = workspace.state.get("jobs", 0) + 1
        job.state = {"author": call.principal.identity.name, "number": number, "root": job.name}
        job.properties["services"] = job_spec.services(workspace, job.name)
        self._family(job).begin(job, call.at, call.fault)
        self._world.store.put(job)
        return Reply(201, view(job))

    def cancel(self, call: Call) -> Reply:
        """202 with a Location only, as the specification has it. A job that is over stays as it ended."""
        job = self._existing(call)
        if job.properties["status"] in OVER:
            return Reply(200)
        operation = self._world.operations.begin_for(call, job, poll_after_s=_POLL_S)
        if call.fault is None or call.fault.kind != "stuck":
            self._family(job).cancel(job, call.at)
        self._world.operations.then(operation, call.fault, _CANCEL_S, "job.cancel_over", job=job.id)
        url = f"{_ENDPOINT}{operation.result_path()}?api-version={call.api_version}"
        return Reply(202, headers={"Location": url}, poll_after_s=_POLL_S)

    def delete(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        job = self._world.store.get(call.resource_id)
        if job is None:
            return Reply(204)
        if job.properties["status"] not in OVER:
            raise conflict()
        operation = self._world.operations.begin_for(call, job, poll_after_s=_POLL_S)
        self._world.operations.then(operation, call.fault, _DELETE_S, "job.deleted", job=job.id)
        return Reply(202, operation=operation)

    def _relabel(self, call: Call, job: Resource, asked: dict[str, Any]) -> Reply:
        for name in _COMPARED:
            if name in asked and asked[name] != job.properties.get(name):
                raise user_error(
                    409, f"A job with name {job.name} already exists and its {name} cannot be changed."
                )
        for name in job_spec.FREE:
            if name == "tags" and name in asked:
                job.properties[name] = job_spec.texts(asked[name])
            elif name == "properties":
                job.properties[name] |= job_spec.texts(asked.get(name))
            elif name in asked:
                job.properties[name] = asked[name]
        self._world.store.touch(job, call.at)
        return Reply(200, view(job))

    def _family(self, job: Resource) -> JobLife | Parents:
        return self._life if job.properties["jobType"] == job_spec.COMMAND else self._parents

    def _cancel_over(self, at: float, job: str, operation: str) -> None:
        found = self._world.store.get(job)
        if found and found.properties["status"] not in OVER:
            self._world.scheduler.at(at + _POLL_S, "job.cancel_over", job=job, operation=operation)
            return
        self._world.operations.succeed(operation, at)

    def _deleted(self, at: float, job: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            self._world.store.remove(job)
            self._world.operations.succeed(operation, at)

    def _existing(self, call: Call) -> Resource:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise missing(f"Run {call.params['job']} was not found.", "NotFound")
        return found


def _fits(job: Resource, call: Call) -> bool:
    properties, query = job.properties, call.query
    wanted = query.get("listviewtype", "ActiveOnly").casefold()
    if wanted != "all" and bool(properties["isArchived"]) is not (wanted == "archivedonly"):
        return False
    if query.get("jobtype", properties["jobType"]).casefold() != properties["jobType"].casefold():
        return False
    for name, labels in (("tag", properties["tags"]), ("properties", properties["properties"])):
        key, equals, value = query.get(name, "").partition("=")
        if key and (key not in labels or (equals and labels[key] != value)):
            return False
    return True
