"""The life of a command job: NotStarted, Queued, Preparing, Running, Finalizing, and how it ends.

States: mfe.json, JobStatus. Every change is told by signals.py. Durations are of the order of a small job's whose
image is there already. A job that loses a low-priority node waits for another and begins anew; `limits.timeout`
counts from Running and cancels (mfe.json, JobLimits).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.events import iso
from localdev.azuresim.faults import Fault
from localdev.azuresim.ml import job_spec, signals
from localdev.azuresim.ml.cluster import Cluster, seconds
from localdev.azuresim.ml.common import WORKSPACES
from localdev.azuresim.ml.job_runner import NOT_MOVED, Ended, Runner
from localdev.azuresim.scheduler import Step
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

JOBS = f"{WORKSPACES}/jobs"
QUEUED_S, PREPARED_S, FINALIZED_S, CANCELED_S = 2.0, 10.0, 5.0, 3.0
FAIR_WALL_S = 5.0  # a clock that leaps past its time limit leaves a command this much wall time
OVER = ("Completed", "Failed", "Canceled")
_ON_NODES = ("Preparing", "Running", "NotResponding", "Finalizing")


class JobLife:
    """All it knows of a job is in the job's `state`; only the processes are elsewhere, and die with this process.

    `state` of a job: cluster, nodes, attempt, timeline ([status, moment] pairs), exit_code, metrics, root (a job's
    name), and what run history reads of it: started, ended, error, parent, log_files.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._runner = Runner(world, self._ended)
        steps: dict[str, Step] = {
            "job.queue": self._queue,
            "job.placed": self._placed,
            "job.start": self._start,
            "job.node_lost": self._node_lost,
            "job.silent": self._silent,
            "job.heard_again": self._heard_again,
            "job.timeout": self._time_out,
            "job.over": self._over,
            "job.canceled": self._canceled,
            "jobs.abandon": self._abandon,
        }
        for name, step in steps.items():
            world.scheduler.register(name, step)

    def begin(self, job: Resource, at: float, fault: Fault | None) -> None:
        """A command job that was just put: it will be queued, unless a fault has it otherwise."""
        saved: dict[str, Any] | None = None
        if fault and fault.kind == "async_failure":
            saved = {"kind": fault.kind, "code": fault.code, "message": fault.message}
        elif fault and fault.kind in ("script_fails", "script_hangs", "not_responding"):
            times = {"after_s": fault.after_s, "seconds": fault.seconds}
            saved = {"kind": fault.kind, "exit_code": fault.exit_code, **times}
        job.state |= {
            "nodes": job_spec.nodes_of(job.properties),
            "cluster": job.properties["computeId"],
            "attempt": 0,
            "fault": saved,
        }
        self.move(job, "NotStarted", at)
        late_s = fault.seconds if fault and fault.kind == "delay" else 0.0
        if not (fault and fault.kind == "stuck"):
            self._world.scheduler.at(at + QUEUED_S + late_s, "job.queue", job=job.id)

    def move(self, job: Resource, status: str, at: float) -> None:
        job.properties["status"] = status
        job.state.setdefault("timeline", []).append([status, at])
        job.changed = at
        if status == "Running":
            job.state.setdefault("started", at)
            job.properties["properties"].setdefault("StartTimeUtc", iso(at))
        if status in OVER:
            job.state["ended"] = at
            job.properties["properties"]["EndTimeUtc"] = iso(at)
        self._world.events.add(
            "job", at, resource_id=job.id, status=status, tags=dict(job.properties["tags"])
        )
        signals.run_changed(self._world, job, status, at)
        if parent := job.state.get("parent"):
            workspace = job.id.rpartition("/")[0]
            self._world.scheduler.at(at, "job.child_moved", parent=f"{workspace}/{parent}", child=job.id)

    def cancel(self, job: Resource, at: float, reason: str = "") -> None:
        """CancelRequested now, Canceled in a moment; its processes are ended at once. Nothing if it is over."""
        if job.properties["status"] in (*OVER, "CancelRequested"):
            return
        self._runner.stop(job)
        if reason:
            job.state["error"] = {"code": "UserError", "message": reason}
        self.move(job, "CancelRequested", at)
        self._world.scheduler.at(at + CANCELED_S, "job.canceled", job=job.id)

    def fail(self, job: Resource, at: float, code: str, message: str) -> None:
        job.state["error"] = {"code": code, "message": message}
        self._leave(job, at)
        self.move(job, "Failed", at)

    def _queue(self, at: float, job: str) -> None:
        found = self._job(job, "NotStarted")
        if found is None:
            return
        if (fault := found.state["fault"] or {}).get("kind") == "async_failure":
            self.fail(found, at, fault["code"], fault["message"])
            return
        self.move(found, "Queued", at)
        self._enqueue(found, at)

    def _enqueue(self, job: Resource, at: float) -> None:
        self._world.scheduler.at(
            at, "cluster.enqueue", cluster=job.state["cluster"], job=job.id, nodes=job.state["nodes"]
        )

    def _placed(self, at: float, job: str, cluster: str, nodes: list[str]) -> None:
        found = self._job(job, "Queued")
        if found is None:
            self._world.scheduler.at(at, "cluster.release", cluster=cluster, job=job)
            return
        found.state["attempt"] += 1
        found.state["vms"] = nodes
        self.move(found, "Preparing", at)
        self._world.scheduler.at(at + PREPARED_S, "job.start", job=job, attempt=found.state["attempt"])

    def _start(self, at: float, job: str, attempt: int) -> None:
        found = self._job(job, "Preparing")
        if found is None or found.state["attempt"] != attempt:
            return
        cluster = self._world.store.get(found.state["cluster"])
        assert cluster is not None
        fault = found.state["fault"] or {}
        try:
            if fault.get("kind") not in ("script_fails", "script_hangs"):
                self._runner.start(found, cluster, found.state["vms"])
        except ArmError as error:
            self.fail(found, at, error.code, error.message)
            return
        self.move(found, "Running", at)
        if limit := (found.properties.get("limits") or {}).get("timeout"):
            self._world.scheduler.at(at + seconds(limit), "job.timeout", job=job, attempt=attempt)
        if fault.get("kind") == "script_fails":
            self._ended(job, Ended(int(fault["exit_code"])), at)
        if fault.get("kind") == "not_responding":
            found.state["fault"] = None  # only the first attempt falls silent
            silence = {"job": job, "attempt": attempt, "for_s": fault["seconds"]}
            self._world.scheduler.at(at + fault["after_s"], "job.silent", **silence)

    def _ended(self, job: str, how: Ended, at: float) -> None:
        found = self._job(job, "Running", "NotResponding")
        if found is None:
            return
        if found.properties["status"] == "NotResponding":
            found.state["unheard"] = asdict(how)
            return
        found.state["exit_code"] = how.exit_code
        found.state["metrics"] = how.metrics | found.state.get("metrics", {})
        if how.exit_code:
            found.state["error"] = _error(how)
        self.move(found, "Finalizing", at)
        self._world.scheduler.at(at + FINALIZED_S, "job.over", job=found.id, attempt=found.state["attempt"])

    def _over(self, at: float, job: str, attempt: int) -> None:
        found = self._job(job, "Finalizing")
        if found is None or found.state["attempt"] != attempt:
            return
        self._leave(found, at)
        self.move(found, "Failed" if found.state.get("error") else "Completed", at)

    def _canceled(self, at: float, job: str) -> None:
        if found := self._job(job, "CancelRequested"):
            self._leave(found, at)
            self.move(found, "Canceled", at)

    def _time_out(self, at: float, job: str, attempt: int) -> None:
        found = self._job(job, "Running", "NotResponding")
        if found is None or found.state["attempt"] != attempt:
            return
        if self._runner.wall_s(found) < FAIR_WALL_S:
            again = max(at, self._world.now()) + 1.0
            self._world.scheduler.at(again, "job.timeout", job=job, attempt=attempt)
            return
        limit = found.properties["limits"]["timeout"]
        self.cancel(found, at, f"Job timed out: it exceeded the max run duration of {limit}.")

    def _silent(self, at: float, job: str, attempt: int, for_s: float) -> None:
        """Nothing is heard of the node: for a while, during which the command goes on, or because all of it is gone."""
        found = self._job(job, "Running")
        if found is None or found.state["attempt"] != attempt:
            return
        self.move(found, "NotResponding", at)
        if for_s:
            self._world.scheduler.at(at + for_s, "job.heard_again", job=job, attempt=attempt)
        else:
            self._runner.stop(found)

    def _heard_again(self, at: float, job: str, attempt: int) -> None:
        found = self._job(job, "NotResponding")
        if found and found.state["attempt"] == attempt:
            self.move(found, "Running", at)
            if late := found.state.pop("unheard", None):
                self._ended(job, Ended(**late), at)

    def _node_lost(self, at: float, job: str, reason: str, again: bool) -> None:
        found = self._job(job, "Queued", *_ON_NODES)
        if found is None:
            return
        self._runner.stop(found)
        if not again:
            self.fail(found, at, "NodeLost", reason)
            return
        self._release(found, at)
        for stale in ("error", "unheard"):
            found.state.pop(stale, None)
        self.move(found, "Queued", at)
        self._enqueue(found, at)

    def _abandon(self, at: float) -> None:
        """The simulator was killed and its children with it, as if every node had been taken away."""
        for job in self._world.store.of_type(JOBS):
            if (
                job.properties["status"] != "Running"
                or self._runner.is_live(job)
                or "cluster" not in job.state
            ):
                continue
            if (job.state.get("fault") or {}).get("kind") == "script_hangs":
                continue
            cluster = self._world.store.get(job.state["cluster"])
            again = cluster is not None and Cluster(self._world, cluster).low_priority
            self._node_lost(at, job.id, "The node was lost while the job ran on it.", again)

    def _leave(self, job: Resource, at: float) -> None:
        """Of whatever the job holds or waits for, nothing is kept."""
        self._world.scheduler.at(at, "cluster.dequeue", cluster=job.state["cluster"], job=job.id)
        self._release(job, at)

    def _release(self, job: Resource, at: float) -> None:
        self._world.scheduler.at(at, "cluster.release", cluster=job.state["cluster"], job=job.id)

    def _job(self, id_: str, *states: str) -> Resource | None:
        """The job, if it is in one of these states."""
        found = self._world.store.get(id_)
        return found if found and found.properties["status"] in states else None


def _error(how: Ended) -> dict[str, Any]:
    """Form and text as run history shows them: public error logs ("Execution failed. User process ... exited")."""
    if how.exit_code == NOT_MOVED and how.message:
        return {"code": "UserError", "message": f"Data access or upload failed: {how.message}"}
    return {
        "code": "UserError",
        "message": (
            f"Execution failed. User process 'python' exited with status code {how.exit_code}. Please check log file "
            f"'user_logs/std_log.txt' for error details. Error: {how.message}"
        ),
    }
