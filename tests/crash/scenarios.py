"""The nights that the machine lives through: a good one, and one for each way it goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.crash import deployment, sweeping
from tests.crash.conversion import Converted
from tests.crash.deployment import Deployment
from tests.crash.profiling import Profiled
from tests.crash.retraining import CARRIERS, Retraining
from tests.crash.scenario import RUN, Scenario, cancel, cluster, vm
from tests.crash.sweeping import GRID, Sweep

if TYPE_CHECKING:
    from tests.crash.machine import Machine

MID_JOB = "agent * | PUT /scores/*/part-00000-*"  # a part without its record
ML = "Microsoft.MachineLearningServices/workspaces"
RESIZE = f"{ML}/computes/resize"
CREATE = "Microsoft.Compute/virtualMachines/write"
DELETE = "Microsoft.Compute/virtualMachines/delete"


def _terminate(machine: Machine) -> None:
    machine.hub.terminate(RUN)


PLAIN = Scenario("plain")
CLUSTER: dict[str, Any] = {"compute": {"platform": "amlcompute", "instances": 2}, "fanout": {"maxShards": 4}}

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        PLAIN,
        Scenario("two-machines", {"compute": {"instances": 2}, "fanout": {"maxShards": 4}}, files=4),
        Scenario("nothing-new", files=0, state="NothingNew"),
        Scenario("poison-below-limit", {"fanout": {"minSuccessRatio": 0.5}}, bad_files=1,
                 state="CompletedWithQuarantine"),
        Scenario("poison-above-limit", bad_files=2, state="Failed"),
        Scenario("no-model", {"model": {"name": "unheard-of"}}, state="Failed"),
        Scenario("no-quota", quotas={"westeurope": 0, "northeurope": 0}, state="Failed"),
        Scenario("quota-elsewhere", quotas={"westeurope": 0}),
        Scenario("sku-absent", faults=({"preset": "sku-not-available", "resource": vm(1)},)),
        Scenario("allocation-failed", faults=({"preset": "allocation-failed-later", "resource": vm(1)},)),
        Scenario("create-preempted", faults=(
            {"kind": "async_failure", "operation": CREATE, "code": "OperationPreempted", "resource": vm(1),
             "message": "Operation execution has been preempted by a more recent operation."},
        )),
        Scenario("create-throttled", faults=(
            {"kind": "status", "operation": CREATE, "status": 429, "code": "TooManyRequests", "times": 12,
             "headers": {"Retry-After": "30"}, "message": "Too many requests.", "resource": vm(1)},
        )),
        Scenario("create-always-throttled", faults=(
            {"kind": "status", "operation": CREATE, "status": 429, "code": "TooManyRequests", "times": 0,
             "headers": {"Retry-After": "30"}, "message": "Too many requests.", "resource": vm(1)},
        )),
        Scenario("cluster", CLUSTER, files=4),
        Scenario("cluster-node-preempted", {**CLUSTER, "compute": {**CLUSTER["compute"], "priority": "spot"}}, files=4,
                 faults=({"kind": "evict", "operation": RESIZE, "resource": cluster(1), "after_s": 12},)),
        Scenario("cluster-node-lost", CLUSTER, files=4,
                 faults=({"kind": "vanish", "operation": RESIZE, "resource": cluster(1), "after_s": 12},)),
        Scenario("cluster-no-node", CLUSTER, files=4,
                 faults=({"kind": "resize_stuck", "operation": RESIZE, "resource": cluster(1)},)),
        Scenario("cluster-fails", CLUSTER, faults=(
            {"kind": "async_failure", "operation": f"{ML}/computes/write", "code": "AllocationFailed",
             "message": "No room.", "resource": cluster(1)},
        )),
        Scenario("cluster-job-failed", CLUSTER, files=4, state="Failed",
                 faults=({"kind": "script_fails", "operation": f"{ML}/jobs/write", "resource": "*-b01-e1"},)),
        Scenario("cluster-cancelled", CLUSTER, files=4, acts=((MID_JOB, cancel),), state="Cancelled"),
        Scenario("answer-lost", faults=({"preset": "lost-response", "operation": CREATE, "resource": vm(1)},)),
        Scenario("never-boots", faults=({"preset": "boot-never-ready", "resource": vm(1)},)),
        Scenario("machine-lost", faults=({"preset": "vm-vanishes", "resource": vm(1), "after_s": 55},)),
        Scenario("evicted", {"compute": {"priority": "spot-then-dedicated", "regions": ["westeurope"]}},
                 faults=({"preset": "spot-evicted", "resource": vm(1), "after_s": 25},)),
        Scenario("job-failed", faults=({"preset": "script-fails", "resource": vm(1)},), state="Failed"),
        Scenario("job-hangs", {"limits": {"deadline": "PT10M"}},
                 faults=({"preset": "script-hangs", "resource": vm(1)},), state="Failed"),
        Scenario("delete-refused", faults=(
            {"preset": "conflict", "operation": DELETE, "resource": vm(1)},
            {"preset": "delete-throttled", "operation": DELETE, "resource": vm(1), "nth": 2},
        )),
        Scenario("delete-locked", faults=(
            {"preset": "scope-locked", "operation": DELETE, "resource": vm(1), "times": 5},
        )),
        Scenario("nic-stays", faults=({"preset": "nic-left-behind", "resource": vm(1)},)),
        Scenario("cancelled", acts=((MID_JOB, cancel),), state="Cancelled"),
        Retraining("retrained"),
        Retraining("retrained-per-carrier", trials=4, units=CARRIERS),
        Sweep("retrained-by-sweep"),
        Sweep("sweep-cluster-fails", space=GRID, faults=(
            {"kind": "async_failure", "operation": f"{ML}/computes/write", "code": "AllocationFailed",
             "message": "No room.", "resource": sweeping.cluster(1)},
        )),
        Sweep("sweep-cluster-lost", acts=((sweeping.RECORDED, sweeping.lose_cluster),)),
        Sweep("sweep-never-begins",
              faults=({"kind": "stuck", "operation": f"{ML}/jobs/write", "resource": "*-sweep-e1"},)),
        Sweep("sweep-cancelled", space=GRID, acts=((sweeping.REPORTED, cancel),), state="Cancelled"),
        Sweep("sweep-cut-off", space=GRID, acts=((sweeping.RECORDED, sweeping.cut_off),), is_cut_off=True),
        Deployment("rollout-good"),
        Deployment("rollout-bad", fails_at=100, state="RolledBack"),
        Deployment("rollout-stuck", faults=({"preset": "traffic-stuck"},), state="Frozen"),
        Deployment("rollout-cancelled", acts=((deployment.SHIFTED, deployment.cancel),), state="Cancelled"),
        Converted("rollout-converted"),
        Converted("rollout-unlike", alike=False, state="Failed"),
        Profiled("rollout-profiled"),
        Scenario("terminated", acts=((MID_JOB, _terminate),), state="TERMINATED"),
    )
}  # fmt: skip
