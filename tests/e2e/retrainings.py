"""The retrainings of the test world: a workload, and a model of its own, for each scenario."""

from __future__ import annotations

from typing import Any

from tests.support.estate import Declaration
from tests.support.training import retraining, trials

CLUSTER = {"platform": "amlcompute", "sizes": ["Standard_D2s_v5"], "regions": ["westeurope"], "instances": 4}
SEARCH = {
    "sampling": "random",
    "seed": 7,
    "count": 8,
    "concurrency": 4,
    "space": {"strength": {"logUniform": [0.01, 10]}},
}
BY_CARRIER = {"minRows": 100, "slices": [{"column": "carrier", "maxLoss": 0.02, "minRows": 50}]}
MONITOR = "seasons-monitor"
CHANGED = "changed/"


def declarations(mark: str) -> list[Declaration]:
    """`mark`: a file that nobody may write."""
    return [
        retraining("on-this-machine", trials={**SEARCH, "count": 4}),
        retraining("on-a-cluster", trials={**SEARCH}, compute=CLUSTER, deploy={"workload": "seasons-live"}),
        retraining("by-event", trigger={"monitor": MONITOR}),
        retraining("first-ever", gate={"minRows": 100, "firstModel": {"min": 0.6}}),
        retraining("nothing-valid", trials=trials("nan", "nothing", "crash")),
        retraining("no-code", training={"code": "workloads/unheard-of"}),
        retraining("no-entry", training={"entry": "absent.py"}),
        retraining("nothing-new"),
        retraining("columns-changed", data={"prefix": CHANGED}),
        retraining("bomb", trials={"space": _bomb(mark)}),
        retraining("bombed-champion"),
        retraining("worse-slice", gate=BY_CARRIER),
        retraining("cluster-fails", compute={**CLUSTER, "regions": ["westeurope", "northeurope"]}),
        retraining("no-node-comes", compute={**CLUSTER, "priority": "spot-then-dedicated"}),
        retraining(
            "two-crash-one-hangs",
            trials=trials(*_good(5), "crash-1", "crash-2", "hang", minValid=5, concurrency=4),
            compute=CLUSTER,
        ),
        retraining("node-preempted", trials=trials("resume"), compute={**CLUSTER, "priority": "spot"}),
        retraining("cancelled", trials=trials("hang"), compute=CLUSTER),
        retraining("killed", trials=trials(*_good(3))),
    ]


def _good(count: int) -> list[str]:
    return [f"good-{number}" for number in range(1, count + 1)]


def _bomb(mark: str) -> dict[str, Any]:
    return {"deed": {"choice": ["bomb"]}, "mark": {"choice": [mark]}}


INVALID = """
kind: Retraining
name: invalid
data: {container: landing, prefix: seasons/, test: {newest: 2}, label: late}
model: {name: invalid-model}
training: {code: ../elsewhere}
trials:
  sampling: grid
  space: {learning_rate: {logUniform: [0, 0.3]}, out: {choice: [1]}, depth: {choice: []}, l2: {uniform: [1, 0]}}
compute: {platform: local}
"""
