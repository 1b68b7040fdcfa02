"""Endpoints for tests of the platforms that serve: a model that answers by hour, and what a rollout would send."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from node import package
from shared.azure import blob
from shared.azure.ml_registry import register_version
from shared.azure.scoring_client import ScoringAnswer, ScoringClient
from shared.domain.errors import ConflictError, PlatformError
from shared.domain.jobs import BlobRef
from shared.domain.lease import Operation
from shared.domain.registry import ModelRef
from shared.domain.serving import (
    DeploymentLook,
    DeploymentPlan,
    DeploymentState,
    EndpointLook,
    EndpointPlan,
    Resources,
    ScoringAccess,
    Target,
    TrafficChange,
)
from shared.platforms.base import Platform, Server
from tests.support.cloud import Cloud

CODE = Path("tests/support/bad_models")
RUN = "deploy-live-key-0123456789abcdef"
ROWS = {"input_data": {"columns": ["distance", "hour"], "data": [[500.0, 6], [500.0, 18]]}}
BLUE, GREEN = "d0000001", "d0000002"
_INPUTS = [{"name": "distance", "type": "double"}, {"name": "hour", "type": "long"}]


def a_model(version: str = "1", **deeds: Any) -> tuple[ModelRef, str]:
    """A registered version that does as `deeds` say (nothing: well), and its id in Azure ML."""
    name = "served"
    data = json.dumps({"deed": "good", "version": version, **deeds}).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    card = {
        "name": name, "version": version, "flavor": "sklearn", "file": "deeds.json", "sha256": sha256,
        "size": len(data), "inputs": _INPUTS, "output": {"name": "late", "type": "double"}, "keys": [],
        "metrics": {}, "trained": {},
    }  # fmt: skip
    prefix = f"{name}/{version}/"
    for file, content in (("deeds.json", data), ("MODEL.json", json.dumps(card).encode())):
        blob.create_only("models", prefix + file, content)
    asset = register_version(name, version, container="models", prefix=prefix, tags={"modelDigest": sha256})
    model = ModelRef(
        name=name, version=version, flavor="sklearn", container="models", prefix=prefix, file="deeds.json",
        sha256=sha256,
    )  # fmt: skip
    return model, asset


def the_code() -> BlobRef:
    """The script of tests/support/bad_models, as an archive of the user's own."""
    made = package.build_zip({"score.py": CODE / "score.py"})
    ref = BlobRef(container="muster", blob=f"code/{made.digest}.zip", sha256=made.digest)
    blob.create_only(ref.container, ref.blob, made.data)
    return ref


@dataclass
class Rollout:
    """One endpoint of one platform, and the run that holds it."""

    cloud: Cloud
    platform: Platform
    endpoint: str = field(default_factory=lambda: f"ep-{uuid.uuid4().hex[:8]}")
    run: str = RUN
    epoch: int = 1

    @property
    def server(self) -> Server:
        return self.platform.serving

    @property
    def target(self) -> Target:
        compute = "aks-prod" if self.platform.name == "aks" else None
        return Target(platform=self.platform.name, endpoint=self.endpoint, compute=compute)

    @property
    def resources(self) -> Resources:
        if self.platform.name == "managed_endpoint":
            return Resources(instance_type="Standard_F2s_v2", max_concurrent=8)
        return Resources(cpu="500m", memory="512Mi", max_concurrent=8)

    def endpoint_plan(self, **changes: Any) -> EndpointPlan:
        plan = EndpointPlan(target=self.target, run=self.run, epoch=self.epoch, deadline=self._deadline())
        return plan.model_copy(update=changes)

    def plan(self, name: str = "d0000001", version: str = "1", **changes: Any) -> DeploymentPlan:
        model, asset = a_model(version)
        plan = DeploymentPlan(
            target=self.target,
            name=name,
            run=self.run,
            epoch=self.epoch,
            deadline=self._deadline(),
            model=model,
            model_asset=asset,
            code=the_code(),
            resources=self.resources,
        )
        return plan.model_copy(update=changes)

    def change(self, **weights: int) -> TrafficChange:
        return TrafficChange(
            platform=self.platform.name,
            endpoint=self.endpoint,
            weights=weights,
            epoch=self.epoch,
            run=self.run,
        )

    def make_endpoint(self) -> EndpointLook:
        self.sent(lambda: self.server.begin_endpoint(self.endpoint_plan()))
        return self.looks(lambda look: look.state == "Succeeded")

    def make(self, name: str = "d0000001", **changes: Any) -> DeploymentLook:
        """A deployment that is ready."""
        plan = self.plan(name, **changes)
        self.sent(lambda: self.server.begin_deployment(plan))
        look = self.over(plan)
        assert look.state is DeploymentState.READY, look
        return look

    def over(self, plan: DeploymentPlan) -> DeploymentLook:
        return self._until(
            lambda: self.server.observe_deployment(plan),
            lambda look: look.state is not DeploymentState.CREATING,
        )

    def shift(self, **weights: int) -> EndpointLook:
        """Write the map and read it back."""
        self.sent(lambda: self.server.set_traffic(self.change(**weights)))
        return self.looks(lambda look: look.traffic == weights and look.state == "Succeeded")

    def remove(self, name: str, run: str = "") -> None:
        self._until(lambda: self.server.begin_deletion(self.endpoint, name, run), lambda sent: sent is None)

    def look(self) -> EndpointLook:
        return self.server.read_endpoint(self.endpoint)

    def looks(self, reached: Callable[[EndpointLook], bool]) -> EndpointLook:
        return self._until(self.look, reached)

    def access(self) -> ScoringAccess:
        return self.server.scoring_access(self.endpoint)

    def sent(self, send: Callable[[], Operation | None]) -> None:
        self.cloud._sent(send)

    def _deadline(self) -> Any:
        return self.cloud.clock.now().replace(microsecond=0) + timedelta(hours=2)

    def _until[T](self, look: Callable[[], T], reached: Callable[[T], bool]) -> T:
        """As Cloud.until, with patience for servers that really start."""
        pause = threading.Event()

        def calmly() -> T:
            pause.wait(0.05)
            return look()

        return self.cloud.until(calmly, reached)


def go_live(rollout: Rollout) -> None:
    """An endpoint with a blue that has all traffic and a green that has none."""
    rollout.make_endpoint()
    rollout.make(BLUE)
    rollout.shift(d0000001=100)
    rollout.make(GREEN, version="2")


def score(rollout: Rollout, deployment: str | None = None, body: bytes = b"") -> ScoringAnswer:
    access = rollout.access()
    with ScoringClient(access.uri, access.headers) as client:
        return client.score(body or json.dumps(ROWS).encode(), deployment=deployment)


def refused(code: str, send: Callable[[], object], kind: type[PlatformError] = ConflictError) -> None:
    with pytest.raises(kind) as caught:
        send()
    assert caught.value.code == code, caught.value
