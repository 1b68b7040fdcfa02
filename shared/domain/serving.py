"""What serving platforms take and give: a target, an endpoint's traffic, a deployment, its metrics.

Weights are whole percentages by the name of a deployment. A map that is written is always whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from shared.domain.deployment import Resources
from shared.domain.deployment import ServingTarget as Target
from shared.domain.jobs import BlobRef
from shared.domain.lease import (
    MANAGED_BY,
    TAG_APP,
    TAG_DEADLINE,
    TAG_EPOCH,
    TAG_LEASE,
    TAG_MANAGED_BY,
    TAG_OWNER,
)
from shared.domain.names import serving_lease_id
from shared.domain.registry import ModelRef
from shared.domain.wire import Wire

__all__ = [
    "Deletion",
    "DeletionRequest",
    "DeploymentLook",
    "DeploymentPlan",
    "DeploymentState",
    "EndpointLook",
    "EndpointPlan",
    "EndpointQuery",
    "EnvironmentRef",
    "LogQuery",
    "MetricsQuery",
    "Resources",
    "ScoringAccess",
    "ServingLogs",
    "ServingMetrics",
    "Target",
    "TargetLook",
    "TargetQuery",
    "TrafficChange",
    "is_whole",
]

TAG_MODEL = "muster-model"
TAG_MODEL_SHA256 = "muster-model-sha256"
FENCED = "Fenced"  # code of the ConflictError when a record or a tag shows a higher epoch than the writer's
MAX_LOG = 8_000  # characters of logs that cross the durable boundary


def is_whole(weights: Mapping[str, int]) -> bool:
    """Whether Azure takes this map and it serves every request: whole percentages, none negative, 100 in all."""
    return all(0 <= weight <= 100 for weight in weights.values()) and sum(weights.values()) == 100


def at_any_time() -> None:
    """A write that nobody has anything against."""


def serving(weights: Mapping[str, int]) -> dict[str, int]:
    """Only those that have traffic: maps that differ by zeros are the same map."""
    return {name: weight for name, weight in sorted(weights.items()) if weight}


class DeploymentState(StrEnum):
    ABSENT = "absent"
    CREATING = "creating"  # or being updated
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class TargetQuery(Wire):
    target: Target
    resources: Resources = Resources()
    run: str = ""


class TargetLook(Wire):
    """Whether the target can take a deployment now; `attaching` while its cluster is being attached."""

    ready: bool
    reason: str = ""
    attaching: bool = False
    poll_after_s: float = 30.0


class EndpointQuery(Wire):
    platform: str
    endpoint: str


class DeploymentLook(Wire):
    """One look at a deployment. `code` and `message` are Azure's own when it FAILED."""

    name: str
    state: DeploymentState
    code: str = ""
    message: str = ""
    instances: int = 0
    tags: dict[str, str] = {}
    weight: int = 0
    poll_after_s: float = 15.0


class EndpointLook(Wire):
    """One look at an endpoint. `state` is Azure's own provisioning state, `epoch` its tag (0: none)."""

    exists: bool
    state: str = ""
    traffic: dict[str, int] = {}
    epoch: int = 0
    scoring_uri: str = ""
    deployments: tuple[DeploymentLook, ...] = ()
    tags: dict[str, str] = {}
    poll_after_s: float = 15.0

    @property
    def map_in_force(self) -> dict[str, int] | None:
        """The map, where it can be believed: during a change an endpoint may show what was before, or never will be."""
        return self.traffic if self.exists and self.state not in ("Creating", "Updating") else None

    def of(self, deployment: str) -> DeploymentLook:
        found = (look for look in self.deployments if look.name == deployment)
        return next(found, DeploymentLook(name=deployment, state=DeploymentState.ABSENT))


class EndpointPlan(Wire):
    """Create the endpoint if it is not there; one that is there keeps its traffic."""

    target: Target
    run: str
    epoch: int
    deadline: datetime

    @property
    def endpoint(self) -> str:
        return self.target.endpoint

    def tags(self, app: str) -> dict[str, str]:
        """An endpoint outlives the run that made it: it names no owner and no deadline."""
        return {TAG_APP: app, TAG_MANAGED_BY: MANAGED_BY, TAG_EPOCH: str(self.epoch)}


class EnvironmentRef(Wire):
    """A fixed environment: `name:version` of the workspace, or an image by digest. Neither: Muster's own.

    `digest`: of what it is made of, where the one who resolved it knows.
    """

    name: str = ""
    version: str = ""
    image: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.image or (f"{self.name}:{self.version}" if self.name else "muster-serving")


class DeploymentPlan(Wire):
    """Everything a deployment is made of, fixed. `model_asset`: the model's id in Azure ML, where it has one.

    `code`: the scoring script's archive; None is Muster's own script. `collect`: where predictions are collected.
    """

    target: Target
    name: str
    run: str
    epoch: int
    deadline: datetime
    model: ModelRef
    model_asset: str = ""
    code: BlobRef | None = None
    entry: str = "score.py"
    resources: Resources = Resources()
    environment: EnvironmentRef = EnvironmentRef()
    collect: str = ""
    workload: str = ""

    @property
    def endpoint(self) -> str:
        return self.target.endpoint

    def tags(self, app: str) -> dict[str, str]:
        """The tags that go into the creating request."""
        return {
            TAG_APP: app,
            TAG_LEASE: serving_lease_id(self.run),
            TAG_OWNER: self.run,
            TAG_DEADLINE: self.deadline.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            TAG_EPOCH: str(self.epoch),
            TAG_MANAGED_BY: MANAGED_BY,
            TAG_MODEL: str(self.model),
            TAG_MODEL_SHA256: self.model.sha256,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of what would be created, but for who creates it and until when."""
        told = self.model_dump(mode="json", exclude={"name", "run", "epoch", "deadline"})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class TrafficChange(Wire):
    """The endpoint's whole map, written under `epoch`.

    It sums to 100. Only `clears` may and must sum to 0: it takes the traffic back from the first deployment of an
    endpoint that was never live.
    """

    platform: str
    endpoint: str
    weights: dict[str, int]
    epoch: int
    run: str
    clears: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if is_whole(self.weights) if not self.clears else not any(self.weights.values()):
            return self
        raise ValueError(f"{self.weights} does not sum to {0 if self.clears else 100}")


class DeletionRequest(Wire):
    """Delete one deployment. Refused for what lacks our tags, has weight, or belongs to another run than `run`."""

    platform: str
    endpoint: str
    deployment: str
    run: str = ""  # the owner its tags must name; empty: any of ours
    reason: str = ""


class Deletion(Wire):
    gone: bool
    poll_after_s: float = 15.0


class LogQuery(Wire):
    platform: str
    endpoint: str
    deployment: str
    tail: int = 200  # lines
    run: str = ""  # whose evidence the log is; "" if nobody's


class ServingLogs(Wire):
    """The end of a deployment's log, redacted, at most MAX_LOG characters."""

    text: str = ""


class MetricsQuery(Wire):
    """What the named deployments answered from `since` to `until`."""

    platform: str
    endpoint: str
    deployments: tuple[str, ...]
    since: datetime
    until: datetime


class ServingMetrics(Wire):
    """One deployment's metrics of a window. `newest`: time of the newest point; None: there is none.

    `minutes`: how many minutes of the window have a point, requests or not.
    """

    requests: float = 0.0
    errors_4xx: float = 0.0
    errors_5xx: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    newest: datetime | None = None
    minutes: int = 0


@dataclass(frozen=True)
class ScoringAccess:
    """How to call an endpoint. Holds its key: never leaves the activity that asked, and never shows it."""

    uri: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
