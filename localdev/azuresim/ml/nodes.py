"""The nodes of a compute cluster: allocated while jobs wait, let go when idle, preempted, and billed by the second.

Whoever has work for a cluster says so through steps of the scheduler (`cluster.enqueue`, `cluster.dequeue`,
`cluster.release`); whoever gets nodes is told by `job.placed`, and by `job.node_lost` if they go away. Sources:
learn.microsoft.com machine-learning/how-to-create-attach-compute-cluster (scaling, low priority),
how-to-manage-quotas; machineLearningServices.json 2023-08-01-preview (NodeStateCounts, allocationState).
"""

from __future__ import annotations

import uuid
from typing import Any

from localdev.azuresim.errors import error_object
from localdev.azuresim.faults import Fault
from localdev.azuresim.ml import cluster_quota
from localdev.azuresim.ml.cluster import COMPUTES, Cluster
from localdev.azuresim.scheduler import Step
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

RESIZE = f"{COMPUTES}/resize"  # what a fault names to strike an allocation of nodes
NODE_READY_S, NODE_GONE_S, PREEMPTED_S, RESIZE_RETRY_S = 90.0, 20.0, 60.0, 120.0
_NO_CAPACITY = (
    "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about "
    "improving likelihood of allocation success at http://aka.ms/allocation-guidance"
)


class Nodes:
    """Steps only: everything it knows is in the cluster's `state`, so that it outlives the process."""

    def __init__(self, world: World) -> None:
        self._world = world
        steps: dict[str, Step] = {
            "cluster.enqueue": self._enqueue,
            "cluster.dequeue": self._dequeue,
            "cluster.release": self._release,
            "cluster.balance": self._balance,
            "cluster.preempt": self._preempt,
            "node.ready": self._ready,
            "node.idle": self._idle_long_enough,
            "node.gone": self._gone,
            "node.lost": self._lost,
        }
        for name, step in steps.items():
            world.scheduler.register(name, step)

    def halt(self, cluster: Cluster, at: float, reason: str) -> None:
        """The cluster is to go: its jobs lose their nodes, those that wait have nowhere to wait for."""
        for job in {node["run"] for node in cluster.nodes if node["run"]} | {job for job, _ in cluster.queue}:
            self._tell_lost(job, reason, at, again=False)
        cluster.queue.clear()
        for node in cluster.nodes:
            self._world.machines.stop(node["vm"])
            cluster.move(node, "leaving", at)

    def remove_all(self, cluster: Cluster, at: float) -> None:
        """End of the bill."""
        for node in list(cluster.nodes):
            self._drop(cluster, node, at)

    def _enqueue(self, at: float, cluster: str, job: str, nodes: int) -> None:
        found = self._cluster(cluster)
        if found is None or found.resource.provisioning_state in ("Deleting", "Failed"):
            self._tell_lost(job, f"The compute {cluster.rpartition('/')[2]} takes no jobs.", at, again=False)
            return
        if all(each[0] != job for each in found.queue):
            found.queue.append([job, nodes])
        self._balance(at, cluster)

    def _dequeue(self, at: float, cluster: str, job: str) -> None:
        if found := self._cluster(cluster):
            found.queue[:] = [each for each in found.queue if each[0] != job]
            self._balance(at, cluster)

    def _release(self, at: float, cluster: str, job: str) -> None:
        """The job is done with its nodes."""
        found = self._cluster(cluster)
        if found is None:
            return
        for node in found.nodes:
            if node["run"] == job:
                node["run"] = ""
                if node["state"] == "running":
                    self._rest(found, node, at)
        self._balance(at, cluster)

    def _balance(self, at: float, cluster: str) -> None:
        found = self._cluster(cluster)
        if found is None or found.resource.provisioning_state not in ("Succeeded", "Updating"):
            return
        self._place(found, at)
        idle = [node for node in found.nodes if node["state"] == "idle"]
        for node in idle[: max(0, len(found.usable) - found.max_nodes)]:
            self._leave(found, node, at)
        missing = found.wanted - len(found.usable)
        room = found.max_nodes - len(found.usable) - found.count("preempted") - found.count("unusable")
        if missing > 0 and room > 0 and not found.resource.state.get("stuck"):
            self._grow(found, min(missing, room), at)
        found.settle(at)

    def _place(self, cluster: Cluster, at: float) -> None:
        """First come, first served; a job takes all its nodes or none."""
        while cluster.queue:
            job, wanted = cluster.queue[0]
            idle = [node for node in cluster.nodes if node["state"] == "idle"]
            if len(idle) < wanted:
                return
            cluster.queue.pop(0)
            for node in idle[:wanted]:
                node["run"] = job
                cluster.move(node, "running", at)
            vms = [node["vm"] for node in idle[:wanted]]
            self._world.scheduler.at(at, "job.placed", job=job, cluster=cluster.resource.id, nodes=vms)

    def _grow(self, cluster: Cluster, number: int, at: float) -> None:
        if at < cluster.resource.state.get("retry_at", 0.0):
            return
        fault = self._world.faults.take(RESIZE, cluster.resource.id, cluster.facts())
        if fault and fault.kind == "resize_stuck":
            cluster.resource.state["stuck"] = True
            return
        if fault and fault.kind in ("status", "async_failure"):
            self._refuse(cluster, at, fault.code, fault.message or _NO_CAPACITY)
            return
        granted = min(number, cluster_quota.room(self._world, cluster))
        cluster.resource.state["errors"] = []
        for index in range(granted):
            self._allocate(cluster, at, fault if index == 0 else None)
        if granted < number:
            self._refuse(cluster, at, "ClusterCoreQuotaReached", cluster_quota.reached(self._world, cluster))

    def _refuse(self, cluster: Cluster, at: float, code: str, message: str) -> None:
        """The nodes do not come; the service asks for them again later, as long as they are wanted."""
        cluster.resource.state["errors"] = [{"error": error_object(code, message)}]
        cluster.resource.state["retry_at"] = at + RESIZE_RETRY_S
        self._world.events.add("resize_failed", at, resource_id=cluster.resource.id, code=code)
        self._world.scheduler.at(at + RESIZE_RETRY_S, "cluster.balance", cluster=cluster.resource.id)

    def _allocate(self, cluster: Cluster, at: float, fault: Fault | None) -> None:
        number = cluster.resource.state["made"] = cluster.resource.state.get("made", 0) + 1
        vm = str(uuid.uuid4())
        node = {"id": f"tvmps_{vm.replace('-', '')}_{number}", "vm": vm, "run": "", "state": "", "since": at}
        cluster.nodes.append(node)
        cluster.move(node, "preparing", at)
        place = {"cluster": cluster.resource.id, "node": node["id"]}
        ready = at + NODE_READY_S + (fault.seconds if fault and fault.kind == "delay" else 0.0)
        self._world.meter.start(
            cluster.bill_id(node), cluster.meter, cluster.usd_per_hour, at, cluster.resource.tags
        )
        self._world.scheduler.at(ready, "node.ready", **place)
        if fault and fault.kind in ("evict", "vanish"):
            preempted = fault.kind == "evict"
            self._world.scheduler.at(ready + fault.after_s, "node.lost", **place, preempted=preempted)

    def _ready(self, at: float, cluster: str, node: str) -> None:
        found, one = self._node(cluster, node)
        if found and one and one["state"] == "preparing":
            self._world.machines.boot(one["vm"])
            self._rest(found, one, at)
            self._balance(at, cluster)

    def _rest(self, cluster: Cluster, node: dict[str, Any], at: float) -> None:
        cluster.move(node, "idle", at)
        self._watch_idle(cluster, node, at)

    def watch_idle(self, cluster: Cluster, at: float) -> None:
        """The scale settings changed: look at every idle node again."""
        for node in cluster.nodes:
            if node["state"] == "idle":
                self._watch_idle(cluster, node, at)

    def _watch_idle(self, cluster: Cluster, node: dict[str, Any], at: float) -> None:
        moment = max(at, node["since"] + cluster.idle_s)
        place = {"cluster": cluster.resource.id, "node": node["id"]}
        self._world.scheduler.at(moment, "node.idle", **place, since=node["since"])

    def _idle_long_enough(self, at: float, cluster: str, node: str, since: float) -> None:
        found, one = self._node(cluster, node)
        if found is None or one is None or one["state"] != "idle" or one["since"] != since:
            return
        if len(found.usable) > found.min_nodes and not found.queue and at >= since + found.idle_s:
            self._leave(found, one, at)
            found.settle(at)

    def _leave(self, cluster: Cluster, node: dict[str, Any], at: float) -> None:
        cluster.move(node, "leaving", at)
        self._world.scheduler.at(at + NODE_GONE_S, "node.gone", cluster=cluster.resource.id, node=node["id"])

    def _gone(self, at: float, cluster: str, node: str) -> None:
        found, one = self._node(cluster, node)
        if found and one:
            self._drop(found, one, at)
            self._balance(at, cluster)

    def _preempt(self, at: float, cluster: str) -> None:
        """Take back one node, a busy one if there is one."""
        found = self._cluster(cluster)
        running = [node for node in found.nodes if node["state"] in ("running", "idle")] if found else []
        if running:
            busiest = sorted(running, key=lambda node: node["state"] != "running")[0]
            self._lost(at, cluster, busiest["id"], preempted=True)

    def _lost(self, at: float, cluster: str, node: str, preempted: bool) -> None:
        """A node is gone without notice. A preempted one costs nothing from then on; an unusable one is still there."""
        found, one = self._node(cluster, node)
        if found is None or one is None or one["state"] not in ("running", "idle", "preparing"):
            return
        self._world.machines.destroy(one["vm"])
        job, one["run"] = one["run"], ""
        cluster_id = found.resource.id
        self._world.events.add(
            "preempted" if preempted else "vanished", at, resource_id=cluster_id, node=node
        )
        if preempted:
            self._world.meter.stop(found.bill_id(one), at)
        found.move(one, "preempted" if preempted else "unusable", at)
        gone = at + (PREEMPTED_S if preempted else found.idle_s)
        self._world.scheduler.at(gone, "node.gone", cluster=cluster_id, node=node)
        if job:
            kind = "was preempted" if preempted else "is unusable"
            self._tell_lost(job, f"The node {kind}: {node} ran the job.", at, again=preempted)
        found.settle(at)

    def _tell_lost(self, job: str, reason: str, at: float, *, again: bool) -> None:
        self._world.scheduler.at(at, "job.node_lost", job=job, reason=reason, again=again)

    def _drop(self, cluster: Cluster, node: dict[str, Any], at: float) -> None:
        self._world.machines.destroy(node["vm"])
        self._world.meter.stop(cluster.bill_id(node), at)
        cluster.nodes.remove(node)
        self._world.events.add("node", at, resource_id=cluster.resource.id, node=node["id"], state="gone")

    def _cluster(self, id_: str) -> Cluster | None:
        found: Resource | None = self._world.store.get(id_)
        return Cluster(self._world, found) if found else None

    def _node(self, cluster: str, node: str) -> tuple[Cluster | None, dict[str, Any] | None]:
        found = self._cluster(cluster)
        one = next((each for each in found.nodes if each["id"] == node), None) if found else None
        return found, one
