"""Jobs that consist of other jobs: sweeps and pipelines. They run nothing themselves and end when their children have.

Children are command jobs with a life of their own (job_life.py), which tells by `job.child_moved` whenever one moves.
"""

from __future__ import annotations

from typing import Any, Protocol

from localdev.azuresim.faults import Fault
from localdev.azuresim.ml import job_spec
from localdev.azuresim.ml.cluster import seconds
from localdev.azuresim.ml.job_life import JOBS, OVER, QUEUED_S, JobLife
from localdev.azuresim.scheduler import Step
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World


class Family(Protocol):
    """What a sweep and a pipeline do differently."""

    def prepare(self, job: Resource) -> None:
        """Plan, in the job's state, what will be done. Raises the refusal of a job that cannot be."""

    def advance(self, job: Resource, at: float) -> tuple[str, str] | None:
        """Submit the children whose time has come; the job's last status and error when there is nothing to wait for."""


class Parents:
    def __init__(self, world: World, life: JobLife, families: dict[str, Family]) -> None:
        self._world, self._life, self._families = world, life, families
        steps: dict[str, Step] = {
            "job.parent_start": self._start,
            "job.child_moved": self._child_moved,
            "job.parent_timeout": self._time_out,
        }
        for name, step in steps.items():
            world.scheduler.register(name, step)

    def begin(self, job: Resource, at: float, fault: Fault | None) -> None:
        self._family(job).prepare(job)
        self._life.move(job, "NotStarted", at)
        late_s = fault.seconds if fault and fault.kind == "delay" else 0.0
        if not (fault and fault.kind == "stuck"):
            self._world.scheduler.at(at + QUEUED_S + late_s, "job.parent_start", job=job.id)

    def cancel(self, job: Resource, at: float, reason: str = "") -> None:
        """Cancel every child; the job is Canceled when none is left."""
        if job.properties["status"] in (*OVER, "CancelRequested"):
            return
        if reason:
            job.state["error"] = {"code": "UserError", "message": reason}
        self._life.move(job, "CancelRequested", at)
        for child in children(self._world, job):
            self._life.cancel(child, at)
        self._settle(job, at)

    def _start(self, at: float, job: str) -> None:
        found = self._world.store.get(job)
        if found is None or found.properties["status"] != "NotStarted":
            return
        self._life.move(found, "Running", at)
        if limit := (found.properties.get("limits") or {}).get("timeout"):
            self._world.scheduler.at(at + seconds(limit), "job.parent_timeout", job=job)
        self._settle(found, at)

    def _child_moved(self, at: float, parent: str, child: str) -> None:
        if found := self._world.store.get(parent):
            self._settle(found, at)

    def _settle(self, job: Resource, at: float) -> None:
        if job.properties["status"] == "CancelRequested":
            if all(child.properties["status"] in OVER for child in children(self._world, job)):
                self._life.move(job, "Canceled", at)
            return
        if job.properties["status"] != "Running":
            return
        end = self._family(job).advance(job, at)
        if end is None:
            return
        status, error = end
        if error:
            job.state["error"] = {"code": "UserError", "message": error}
        self._life.move(job, status, at)

    def _time_out(self, at: float, job: str) -> None:
        found = self._world.store.get(job)
        if found and found.properties["status"] == "Running":
            limit = found.properties["limits"]["timeout"]
            self.cancel(found, at, f"Job timed out: it exceeded the max run duration of {limit}.")

    def _family(self, job: Resource) -> Family:
        return self._families[job.properties["jobType"]]


def children(world: World, job: Resource) -> list[Resource]:
    """In the order they were submitted."""
    ids = (f"{job.id.rpartition('/')[0]}/{name}" for name in job.state.get("children", ()))
    return [found for id_ in ids if (found := world.store.get(id_))]


def submit(
    world: World,
    life: JobLife,
    parent: Resource,
    name: str,
    asked: dict[str, Any],
    at: float,
    *,
    state: dict[str, Any] | None = None,
) -> Resource:
    """A command job of the parent's, and what is kept of it besides. Raises the refusal of one that cannot be."""
    workspace = world.store.get(parent.id.rpartition("/jobs/")[0])
    assert workspace is not None
    experiment = {"experimentName": parent.properties["experimentName"]}
    properties = job_spec.read(world, workspace, name, {"jobType": job_spec.COMMAND, **experiment, **asked})
    child = Resource(f"{workspace.id}/jobs/{name}", JOBS, workspace.location, at, at, properties=properties)
    number = workspace.state["jobs"] = workspace.state.get("jobs", 0) + 1
    origin = {"parent": parent.name, "root": parent.state["root"]}
    child.state = {"author": parent.state["author"], "number": number, **origin, **(state or {})}
    child.properties["services"] = job_spec.services(workspace, name)
    world.store.put(child)
    parent.state.setdefault("children", []).append(name)
    life.begin(child, at, None)
    return child
