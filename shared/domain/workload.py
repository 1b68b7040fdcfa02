"""What a user declares: a workload of one kind, checked whole before anything is started for it.

A kind is a frozen model; `kind` tells them apart. YAML keys are camelCase. `parse_workload` refuses what it does not
know; the same model read back from a history ignores it, because a history outlives the code that wrote it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from shared.domain.fields import (
    AppFolder,
    BlobPattern,
    BlobPrefix,
    ContainerName,
    ModelName,
    ModelVersion,
    OutputPath,
    RegionName,
    ScriptName,
    SizeName,
    WorkloadName,
    check_known,
    check_not_reserved,
    refusal,
)
from shared.domain.times import (
    Cron,
    Deadline,
    Interval,
    LeaseTime,
    Moment,
    SettleTime,
    ZoneName,
    duration_text,
)

__all__ = [
    "MAX_INSTANCES",
    "BatchScoring",
    "Schedule",
    "Workload",
    "parse_workload",
    "workload_schema",
]

MAX_INSTANCES = 32  # machines of one run: the children an orchestrator may have
CHAMPION = "champion"


def _known(what: str) -> AfterValidator:
    def check(name: str, info: ValidationInfo) -> str:
        return check_known(name, what, info)

    return AfterValidator(check)


PlatformName = Annotated[str, _known("platform")]
DataContainer = Annotated[
    ContainerName, AfterValidator(lambda name, info: check_not_reserved(name, "container", info))
]
KnownSize = Annotated[SizeName, _known("size")]
Count = Annotated[int, Field(strict=True, ge=1)]


class Spec(BaseModel):
    """A part of a declaration."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
        defer_build=True,  # as in Wire
    )


class Schedule(Spec):
    """When a workload runs by itself: at the times of `cron` in `time_zone`, or each `every` from `anchor` on."""

    cron: Cron | None = None
    every: Interval | None = None
    anchor: Moment | None = Field(default=None, validate_default=True)
    time_zone: ZoneName = "UTC"
    misfire: Literal["run_once", "skip"] = "run_once"
    overlap: Literal["skip", "queue"] = "skip"

    @property
    def rhythm(self) -> str:
        """What its slots are: two schedules with the same rhythm have the same ones."""
        if self.every is not None and self.anchor is not None:
            return f"every {duration_text(self.every)} from {self.anchor.isoformat()}"
        return f"{self.cron} {self.time_zone}"

    @field_validator("anchor")
    @classmethod
    def _either_cron_or_every(cls, anchor: Moment | None, info: ValidationInfo) -> Moment | None:
        if not {"cron", "every"} <= info.data.keys():
            return anchor
        cron, every = info.data["cron"], info.data["every"]
        if (cron is None) == (every is None):
            given = "has both `cron` and `every`" if cron else "has neither `cron` nor `every`"
            raise refusal(given, allowed="one of them", above=True)
        if every is not None and anchor is None:
            raise refusal(
                "`every` has no `anchor`", allowed="the first slot, such as 2026-03-01T00:00:00Z", above=True
            )
        if cron is not None and anchor is not None:
            raise refusal("goes with `every`, not with `cron`", hint="Remove it")
        return anchor


class Input(Spec):
    """The blobs to score: those under `prefix` whose further name matches `pattern`, unchanged for `settle`.

    `pattern` has the shell's `*`, `?` and `[...]`; `*` matches slashes too. With watermark lastModified a run takes
    what was written since the last published run, with none it takes everything each time.
    """

    container: DataContainer
    prefix: BlobPrefix
    pattern: BlobPattern = "*.parquet"
    watermark: Literal["lastModified", "none"] = "lastModified"
    settle: SettleTime = timedelta(minutes=2)


class Model(Spec):
    """A registered model; version `champion` is whichever version holds that title when the run starts."""

    name: ModelName
    version: ModelVersion = CHAMPION


class Scoring(Spec):
    """The user's own scoring code, by Azure ML's batch convention: `init()` and `run(mini_batch)` in `entry`."""

    code: AppFolder
    entry: ScriptName = "score.py"
    mini_batch_size: Count = Field(default=10, le=1000)


class Compute(Spec):
    """Where the work runs. The platform has no default: it decides what is paid for.

    Sizes and regions are tried in the order given. No region: the app's own.
    """

    platform: PlatformName
    sizes: tuple[KnownSize, ...] = Field(default=("Standard_D2s_v5",), min_length=1, max_length=20)
    regions: tuple[RegionName, ...] = Field(default=(), max_length=20)
    priority: Literal["dedicated", "spot", "spot-then-dedicated"] = "dedicated"
    instances: Count = Field(default=1, le=MAX_INSTANCES)


class Fanout(Spec):
    """How the work is cut, how often a shard is tried, and how much of the input must be scored to publish."""

    max_shards: Count = Field(default=64, le=10_000)
    attempts: Count = Field(default=3, le=10)
    min_success_ratio: float = Field(default=1.0, strict=True, ge=0, le=1)


def _an_hour_after_deadline(data: dict[str, timedelta]) -> timedelta:
    return data["deadline"] + timedelta(hours=1)


class Limits(Spec):
    """How long the work may take, how long a machine may be kept at most (`ttl`), and what a run may cost at most."""

    deadline: Deadline = timedelta(hours=3)
    ttl: LeaseTime = Field(default_factory=_an_hour_after_deadline)
    budget_usd: float | None = Field(default=None, strict=True, gt=0, le=100_000)

    @field_validator("ttl")
    @classmethod
    def _outlives_deadline(cls, ttl: timedelta, info: ValidationInfo) -> timedelta:
        deadline = info.data.get("deadline")
        if deadline is not None and ttl < deadline:
            raise refusal(
                f"{duration_text(ttl)} is shorter than limits.deadline, {duration_text(deadline)}: the machine would be "
                "taken away before the work may be late",
                allowed=f"{duration_text(deadline)} or more",
            )
        return ttl


class Output(Spec):
    """Where the scores go: a folder of its own for each run."""

    container: DataContainer
    path: OutputPath


class BatchScoring(Spec):
    """Score new blobs with a model, by itself on a schedule or when asked."""

    kind: Literal["BatchScoring"] = "BatchScoring"
    name: WorkloadName
    schedule: Schedule | None = None
    input: Input
    model: Model
    scoring: Scoring | None = None
    compute: Compute
    fanout: Fanout = Field(default_factory=Fanout)
    limits: Limits = Field(default_factory=Limits)
    output: Output

    @field_validator("output")
    @classmethod
    def _keeps_out_of_the_input(cls, output: Output, info: ValidationInfo) -> Output:
        source: Input | None = info.data.get("input")
        if source is None or source.container != output.container:
            return output
        fixed = output.path.split("{", 1)[0]
        if fixed.startswith(source.prefix) or source.prefix.startswith(fixed):
            raise refusal(
                f"{output.container}/{output.path} and the input {source.container}/{source.prefix} overlap: "
                "scores would be scored again as new input",
                hint="Use another container, or folders side by side such as in/ and out/",
            )
        return output


type Workload = BatchScoring  # the union of all kinds

_KINDS = {"BatchScoring": BatchScoring}


def parse_workload(
    text: str,
    *,
    source: str,
    platforms: Collection[str],
    sizes: Collection[str] | None = None,
    state_container: str = "",
) -> Workload:
    """The declaration in `text`. Raises SpecErrors with every fault in it; `source` names the file in them.

    Given `sizes`, a size must be one of them; given `state_container`, no data is read from or written to it. A text
    over MAX_BYTES is refused unread.
    """
    from shared.domain.spec import (
        parse_spec,
    )  # with PyYAML: loaded where a declaration is read, not by every worker

    known = {"platform": platforms, "size": sizes, "reserved container": state_container}
    return parse_spec(text, _KINDS, source=source, known=known)


def workload_schema(platforms: Collection[str]) -> dict[str, Any]:
    """The JSON Schema of a declaration, for editors. The rules between fields are beyond it."""
    from shared.domain.spec import schema_of

    schema = schema_of(_KINDS.values())
    compute = schema["$defs"]["Compute"]["properties"]
    compute["platform"]["enum"] = sorted(platforms)
    return schema
