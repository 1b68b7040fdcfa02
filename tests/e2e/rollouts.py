"""The endpoints of the test world, each for one scenario, and the bad models that try to get in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.deployments import LOAD, deployment
from tests.support.estate import Declaration

QUICK = {"tests": {"load": {"requests": 6, "concurrency": 2, "p95": "PT2S"}}}
SILENT = {"bake": "PT5M", "inconclusiveAfter": "PT15M"}
CAREFUL = {"required": True, "timeout": "PT1H"}


SMALL, LARGE, NOT_HERE = "Standard_F2s_v2", "Standard_F4s_v2", "Standard_NC24ads_A100_v4"
MANAGED = {"platform": "managed_endpoint", "compute": None}
# Four at once are more than one process and its queue take: a managed endpoint refuses what is beyond, whatever the time.
PROFILE = {
    "instanceTypes": [
        {"instanceType": SMALL, "maxConcurrent": 1}, NOT_HERE, {"instanceType": LARGE, "maxConcurrent": 2},
    ],
    "load": {"requests": 12, "concurrency": [1, 4], "p95": "PT15S"},
    "deadline": "PT12H",
}  # fmt: skip
PATIENT: dict[str, Any] = {"deed": "slow", "seconds": 0.2}
FIRST: dict[str, dict[str, Any]] = {  # how a first version behaves, where not well and at once
    "sized": PATIENT
}


def declarations() -> list[Declaration]:
    return [
        deployment(
            "good", approval=CAREFUL, rollout={"steps": [5, 25, 50, 100], "minRequests": 20},
            resources={"instances": 2, "requestTimeout": "PT20S"}, **QUICK,
        ),
        deployment("lane-a", resources={"requestTimeout": "PT10S"}, **QUICK),
        deployment("lane-b"),
        deployment("lane-c", approval={"required": True, "timeout": "PT30M"}),
        deployment("drifted", rollout={"maxPredictionDrift": 0.4, "bake": "PT15M"}),
        deployment("flaky", tests={"load": {**LOAD, "maxErrorRate": 0.2}}, rollout={"minRequests": 12, "bake": "PT15M"}),
        deployment("good-then-bad", rollout={"minRequests": 12, "bake": "PT15M"}),
        deployment("no-metrics", rollout={**SILENT, "onInconclusive": "rollback"}),
        deployment("stale-metrics", rollout={**SILENT, "onInconclusive": "rollback"}),
        deployment("quiet", rollout={**SILENT, "onInconclusive": "pause"}),
        deployment("late-fault", rollout={"steps": [10, 25, 100], "keepFailed": "PT12H"}),
        deployment(
            "sized", target=MANAGED, profile=PROFILE, resources={"instanceType": SMALL, "requestTimeout": "PT20S"},
            limits={"deadline": "P2D"}, **QUICK,
        ),
        deployment("raced"),
        deployment("deleted"),
        deployment("conflicted"),
        deployment("frozen", rollout={"minRequests": 12, "bake": "PT15M"}),
    ]  # fmt: skip


RATES = {
    "good": 50.0, "drifted": 20.0, "flaky": 14.0, "good-then-bad": 14.0, "no-metrics": 1.0, "stale-metrics": 1.0,
    "late-fault": 6.0, "sized": 3.0, "raced": 3.0, "deleted": 3.0, "conflicted": 3.0, "frozen": 8.0,
}  # fmt: skip
"""Requests a wall second of the outside client; the endpoints that are not named get none."""


@dataclass(frozen=True)
class Bad:
    """A version that must not win: where it is deployed, how it behaves, and what catches it."""

    name: str
    endpoint: str
    caught: str  # in the outcome's reason
    state: str = "Failed"
    version: str = "2"
    deeds: dict[str, Any] = field(default_factory=dict)
    promised: str = ""
    golden: bool = True


WRONG_DIGEST = "0" * 64
BAD = (
    Bad("crash loop", "lane-a", "", version="2", deeds={"deed": "crash"}),
    Bad("wrong", "lane-a", "golden", version="3", deeds={"deed": "wrong"}),
    Bad("slow", "lane-a", "p95", version="4", deeds={"deed": "slow", "seconds": 1.5}),
    Bad("NaN", "lane-b", "", version="2", deeds={"deed": "nan"}, golden=False),
    Bad("memory hog", "lane-b", "", version="3", deeds={"deed": "memory", "megabytes": 1024}),
    Bad("wrong digest", "lane-b", "digest", version="4", promised=WRONG_DIGEST),
    Bad("unapproved", "lane-c", "approv", "Rejected"),
    Bad("drifted", "drifted", "drift", "RolledBack", deeds={"deed": "drifted"}, golden=False),
    Bad("flaky 5 %", "flaky", "5xx", "RolledBack", deeds={"deed": "flaky", "every": 20}),
    Bad("good then bad", "good-then-bad", "5xx", "RolledBack", deeds={"deed": "good then bad", "after": 40}),
    Bad("no metrics", "no-metrics", "", "RolledBack"),
    Bad("stale metrics", "stale-metrics", "", "RolledBack"),
)
OTHERS = (
    Bad("poison", "late-fault", "5xx", "RolledBack", deeds={"deed": "poison"}),
    Bad("cannot be taken back", "frozen", "", "Frozen", deeds={"deed": "good then bad", "after": 40}),
)
