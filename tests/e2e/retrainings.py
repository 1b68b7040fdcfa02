"""The retrainings of the test world: a workload, and a model of its own, for each scenario."""

from __future__ import annotations

from typing import Any

from tests.support.estate import Declaration, Estate, Ran, declaration
from tests.support.training import retraining, trials

CLUSTER = {"platform": "amlcompute", "sizes": ["Standard_D2s_v5"], "regions": ["westeurope"], "instances": 4}
SEARCH = {
    "sampling": "random",
    "seed": 7,
    "count": 8,
    "concurrency": 4,
    "space": {"strength": {"logUniform": [0.01, 10]}},
}
SWEEP = trials(
    "good", "laggard", "resume", engine="sweep", concurrency=3,
    earlyTermination={"type": "bandit", "slackFactor": 0.5},
)  # fmt: skip
BY_CARRIER = {"minRows": 100, "slices": [{"column": "carrier", "maxLoss": 0.02, "minRows": 50}]}
MONITOR = "seasons-monitor"
CHANGED = "changed/"
NIGHTLY = declaration(
    "per-carrier-nightly",
    input={"prefix": "seasons/", "watermark": "none"},
    model={"name": "per-carrier-model"},
    compute={"platform": "local"},
)


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
        retraining("swept", trials=SWEEP, compute={**CLUSTER, "priority": "spot"}),
        retraining("killed", trials=trials(*_good(3))),
        _per_carrier("per-carrier"),
        _per_carrier("per-carrier-in-winter", data={"pattern": "00[0-3].parquet", "train": {"newest": 2}}),
    ]


def _per_carrier(name: str, **changes: Any) -> Declaration:
    """A model for each carrier, two of them trained at once."""
    gate = {"minRows": 100, "firstModel": {"min": 0.6}}
    declared = retraining(name, model={"name": "per-carrier-model"}, gate=gate, **changes)
    return {**declared, "trials": {"unitColumn": "carrier", "concurrency": 2, "timeout": "PT4H"}}


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


def most_at_once(here: Estate, run: Ran) -> int:
    """How many jobs of the run there were at any moment, from being queued to their end."""
    open_: set[str] = set()
    most = 0
    for event in here.world.control.events(type_="job"):
        if event["tags"].get("muster-owner") == run.id:
            name, over = event["resource_id"], event["status"] in ("Completed", "Failed", "Canceled")
            open_ = open_ - {name} if over else open_ | {name}
            most = max(most, len(open_))
    return most
