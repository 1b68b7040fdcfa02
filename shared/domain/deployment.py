"""The declaration of a deployment: what may be served where, what it must pass, and how its traffic may grow."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from shared.domain.conversion import Conversion
from shared.domain.fields import (
    AppFolder,
    AttachedName,
    ClusterId,
    CpuQuantity,
    EndpointName,
    GoldenFile,
    InstanceType,
    MemoryQuantity,
    ModelName,
    ModelVersion,
    Namespace,
    PinnedImage,
    ScriptName,
    WorkloadName,
    check_known,
    refusal,
)
from shared.domain.profile import MAX_SERVING, Candidate, Profile
from shared.domain.registry import CHAMPION
from shared.domain.sections import Count, Rate, Spec
from shared.domain.times import (
    BakeTime,
    Deadline,
    Latency,
    Patience,
    StageTime,
    Wait,
    duration_text,
    latency_text,
)

SERVING_PLATFORMS = ("aks", "managed_endpoint", "local")
DEFAULT_INSTANCE_TYPE = "defaultinstancetype"  # what the Azure ML extension installs with itself
MAX_STEPS = 20
LEAST_LOOK = timedelta(minutes=1)  # Azure Monitor has a point a minute
METRICS_LATE = timedelta(minutes=5)  # before it has the first of a step, and the looks that wait for the last

ServerName = Annotated[
    str, AfterValidator(lambda name, info: check_known(name, "serving platform", info)),
    WithJsonSchema({"type": "string", "enum": list(SERVING_PLATFORMS)}),
]  # fmt: skip


class DeployedModel(Spec):
    """A registered model. The version comes with the request; where none comes, it is this one."""

    name: ModelName
    version: ModelVersion = CHAMPION


class Attach(Spec):
    """The cluster that is attached to the workspace under `target.compute` if nothing of that name is."""

    cluster_id: ClusterId
    namespace: Namespace = "default"


class ServingTarget(Spec):
    """Where the model is served. On aks `compute` is the name of an attached cluster; elsewhere there is none."""

    platform: ServerName
    endpoint: EndpointName
    auth_mode: Literal["key", "aad_token"] = "key"
    compute: AttachedName | None = Field(default=None, validate_default=True)
    attach: Attach | None = None

    @field_validator("compute")
    @classmethod
    def _only_on_a_cluster(cls, compute: str | None, info: ValidationInfo) -> str | None:
        platform = info.data.get("platform")
        if platform == "aks" and compute is None:
            raise refusal(
                "has no `compute`", allowed="the name under which the cluster is attached", above=True
            )
        if platform in SERVING_PLATFORMS and platform != "aks" and compute is not None:
            raise refusal(f"{platform} has no compute", hint="Remove it, or set platform: aks")
        return compute

    @field_validator("attach")
    @classmethod
    def _attaches_a_cluster(cls, attach: Attach | None, info: ValidationInfo) -> Attach | None:
        if attach is not None and info.data.get("platform", "aks") != "aks":
            raise refusal(f"{info.data['platform']} attaches nothing", hint="Remove it, or set platform: aks")
        return attach


class Resources(Spec):
    """What each instance has. No `instance_type` on aks: defaultinstancetype; a managed endpoint must name its size."""

    instance_type: InstanceType | None = None
    instances: Count = Field(default=1, le=MAX_SERVING)
    cpu: CpuQuantity = "1"
    memory: MemoryQuantity = "2Gi"
    gpu: int = Field(default=0, strict=True, ge=0, le=16)
    max_concurrent: Count = Field(default=1, le=1000)
    request_timeout: Latency = timedelta(seconds=5)

    @property
    def cores(self) -> float:
        """`cpu` as a number: `500m` is half a core."""
        text = self.cpu
        return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)

    def workers(self, vcpus: int = 0) -> int:
        """Processes of an instance's scoring server: one for each whole core that requests may be served on at once.

        `vcpus`: of a size, whose instances have no other limit. Azure ML starts one process unless it is told otherwise.
        """
        return max(1, min(self.max_concurrent, vcpus or int(self.cores)))


class ServingCode(Spec):
    """The user's own scoring script, by Azure ML's convention: `init()` and `run(raw)` in `entry`."""

    code: AppFolder
    entry: ScriptName = "score.py"


class ServingEnvironment(Spec):
    """What the script runs in: an environment of the workspace by version, or an image by digest. Absent: Muster's."""

    name: ModelName | None = None
    version: ModelVersion | None = None
    image: PinnedImage | None = Field(default=None, validate_default=True)

    @field_validator("image")
    @classmethod
    def _exactly_one(cls, image: str | None, info: ValidationInfo) -> str | None:
        if not {"name", "version"} <= info.data.keys():
            return image
        name, version = info.data["name"], info.data["version"]
        if (image is None) == (name is None):
            raise refusal(
                f"has {'neither' if image is None else 'both'}",
                allowed="`name` and `version`, or `image`",
                above=True,
            )
        if (name is None) != (version is None):
            raise refusal("`name` and `version` go together", allowed="both or neither", above=True)
        if version == "latest":
            raise refusal("`latest` is another one tomorrow", allowed="the number of a version", above=True)
        return image


class LoadTest(Spec):
    """Requests sent to green alone, before it has traffic, and what they must show."""

    requests: Count = Field(default=100, le=10_000)
    concurrency: Count = Field(default=4, le=64)
    p95: Latency = timedelta(milliseconds=250)
    max_error_rate: Rate = 0.0

    @field_validator("concurrency")
    @classmethod
    def _no_more_than_requests(cls, concurrency: int, info: ValidationInfo) -> int:
        requests = info.data.get("requests")
        if requests is not None and concurrency > requests:
            raise refusal(f"{concurrency} at once, and only {requests} requests", allowed=f"1 to {requests}")
        return concurrency


class Tests(Spec):
    """What green must pass before it has traffic; the contract test and the model's own golden file always count."""

    __test__ = False  # for pytest: no test class

    golden: GoldenFile | None = None
    load: LoadTest = Field(default_factory=LoadTest)


def _read_steps(value: object) -> tuple[int, ...]:
    """Strictly rising percentages that end with 100. One fault for the list, not one for each item."""
    allowed = f"1 to {MAX_STEPS} whole percentages, strictly rising, the last 100: [5, 25, 50, 100]"
    given = list(value) if isinstance(value, list | tuple) else []
    steps = [each for each in given if isinstance(each, int) and not isinstance(each, bool)]
    if not 1 <= len(given) <= MAX_STEPS or len(steps) != len(given):
        raise refusal(f"{value!r:.60} is not a list of percentages", allowed=allowed)
    if steps[0] < 1 or any(after <= before for before, after in pairwise(steps)):
        raise refusal(f"{value!r:.60} does not rise from step to step", allowed=allowed)
    if steps[-1] != 100:
        raise refusal(f"{value!r:.60} ends with {steps[-1]}", allowed=allowed)
    return tuple(steps)


TrafficSteps = Annotated[
    tuple[int, ...],
    BeforeValidator(_read_steps),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 100},
            "minItems": 1,
            "maxItems": MAX_STEPS,
        }
    ),
]


class Rollout(Spec):
    """How green's traffic grows, and what it must show in each step.

    `bake`: how long metrics must have been seen in a step. `min_requests`: how many of them green must have answered.
    `max_prediction_drift`: the largest Kolmogorov-Smirnov distance between blue's and green's predictions. Absent: not
    judged. `hold`: how long blue stays without traffic after the commit; `keep_failed`: how long a green that failed.
    """

    steps: TrafficSteps = (5, 25, 50, 100)
    bake: BakeTime = timedelta(minutes=10)
    min_requests: Count = Field(default=50, le=1_000_000)
    max_5xx_rate: Rate = Field(default=0.01, alias="max5xxRate")
    max_p95_regression_pct: float = Field(
        default=20.0, strict=True, ge=0, le=1000, alias="maxP95RegressionPct"
    )
    max_prediction_drift: float | None = Field(default=None, strict=True, gt=0, le=1)
    failure_limit: Count = Field(default=1, le=20)
    inconclusive_after: Patience = timedelta(minutes=30)
    on_inconclusive: Literal["pause", "rollback"] = "pause"
    hold: Wait = timedelta(hours=24)
    keep_failed: Wait = timedelta(minutes=30)
    stage_deadline: StageTime = timedelta(minutes=30)

    @property
    def look_every(self) -> timedelta:
        return max(LEAST_LOOK, self.bake / 5)

    @field_validator("inconclusive_after")
    @classmethod
    def _outlasts_the_bake(cls, patience: timedelta, info: ValidationInfo) -> timedelta:
        bake = info.data.get("bake")
        if bake is not None and patience < bake + METRICS_LATE:
            raise refusal(
                f"{duration_text(patience)} is shorter than rollout.bake, {duration_text(bake)}, and the "
                f"{duration_text(METRICS_LATE)} that metrics may be late: no step could pass",
                allowed=f"{duration_text(bake + METRICS_LATE)} or more",
            )
        return patience


class ApprovalPolicy(Spec):
    """Whether a person must agree before green has traffic. The first deployment of an endpoint needs it always."""

    required: bool = Field(default=True, strict=True)
    timeout: Patience = timedelta(hours=4)
    on_timeout: Literal["reject"] = "reject"
    four_eyes: bool = Field(default=True, strict=True)


class DeployLimits(Spec):
    """How long a deployment may take up to its commit, and what it may cost until then."""

    deadline: Deadline = timedelta(hours=6)
    budget_usd: float | None = Field(default=None, strict=True, gt=0, le=100_000)


class Deployment(Spec):
    """Serve a model at an endpoint: tested before it has traffic, judged while its traffic grows, taken back if bad."""

    kind: Literal["Deployment"] = "Deployment"
    name: WorkloadName
    model: DeployedModel
    require_lineage: bool = Field(default=True, strict=True)
    conversion: Conversion | None = Field(default=None, exclude_if=lambda conversion: conversion is None)
    target: ServingTarget
    resources: Resources = Field(default_factory=Resources, validate_default=True)
    scoring: ServingCode | None = None
    environment: ServingEnvironment | None = None
    tests: Tests = Field(default_factory=Tests, validate_default=True)
    profile: Profile | None = Field(default=None, exclude_if=lambda profile: profile is None)
    rollout: Rollout = Field(default_factory=Rollout)
    approval: ApprovalPolicy = Field(default_factory=ApprovalPolicy)
    on_model_registered: bool = Field(default=False, strict=True)
    limits: DeployLimits = Field(default_factory=DeployLimits, validate_default=True)

    @property
    def schedule(self) -> None:
        """A deployment is asked for, never due."""

    @property
    def takes_recommended(self) -> bool:
        """Whether its profile, and not `resources`, says which size green has."""
        return self.profile is not None and self.profile.use == "recommended"

    def sized(self, candidate: Candidate) -> Deployment:
        """The same deployment with the resources of a candidate of its profile."""
        return self.model_copy(update={"resources": self.resources.model_copy(update=candidate.changes)})

    @field_validator("resources")
    @classmethod
    def _fit_the_platform(cls, resources: Resources, info: ValidationInfo) -> Resources:
        target: ServingTarget | None = info.data.get("target")
        if target is None:
            return resources
        size = resources.instance_type
        if target.platform == "managed_endpoint" and (size is None or not size.startswith("Standard_")):
            said = f"instanceType {size!r} is no size" if size else "has no `instanceType`"
            raise refusal(
                f"{said}: a managed endpoint pays for one", allowed="a size, such as Standard_DS3_v2"
            )
        if target.platform == "local" and resources.gpu:
            raise refusal("local has no GPU", allowed="gpu: 0")
        return resources

    @field_validator("profile")
    @classmethod
    def _fits_the_platform(cls, profile: Profile | None, info: ValidationInfo) -> Profile | None:
        target, resources = info.data.get("target"), info.data.get("resources")
        if profile is None or target is None or resources is None:
            return profile
        own_type = resources.instance_type or DEFAULT_INSTANCE_TYPE
        if fault := profile.fault_on(target.platform, own_type, resources.request_timeout):
            raise fault
        return profile

    @field_validator("tests")
    @classmethod
    def _can_be_answered_in_time(cls, tests: Tests, info: ValidationInfo) -> Tests:
        resources: Resources | None = info.data.get("resources")
        if resources is not None and tests.load.p95 > resources.request_timeout:
            raise refusal(
                f"load.p95 {latency_text(tests.load.p95)} is longer than resources.requestTimeout, "
                f"{latency_text(resources.request_timeout)}: no answer could be that late",
                hint="Lower tests.load.p95 or raise resources.requestTimeout",
            )
        return tests

    @field_validator("limits")
    @classmethod
    def _leave_time_for_every_step(cls, limits: DeployLimits, info: ValidationInfo) -> DeployLimits:
        if not {"rollout", "approval"} <= info.data.keys():
            return limits
        rollout: Rollout = info.data["rollout"]
        approval: ApprovalPolicy = info.data["approval"]
        profile: Profile | None = info.data.get("profile")
        needed = rollout.stage_deadline + approval.timeout + rollout.bake * len(rollout.steps)
        conversion: Conversion | None = info.data.get("conversion")
        before = "conversion.limits.deadline + " if conversion else ""
        needed += conversion.limits.deadline if conversion else timedelta(0)
        before += "profile.deadline + " if profile else ""
        needed += profile.deadline if profile else timedelta(0)
        if limits.deadline < needed:
            raise refusal(
                f"deadline {duration_text(limits.deadline)} is shorter than {before}rollout.stageDeadline + "
                f"approval.timeout + rollout.bake for each step, {duration_text(needed)}",
                hint=f"Set limits.deadline: {duration_text(needed)} or more",
            )
        return limits
