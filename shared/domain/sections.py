"""The parts that declarations of every kind share: when it runs, on what, and within which limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from shared.domain.fields import (
    ContainerName,
    RegionName,
    SizeName,
    check_known,
    check_not_reserved,
    refusal,
)
from shared.domain.times import Cron, Deadline, Interval, LeaseTime, Moment, ZoneName, duration_text

MAX_INSTANCES = 32  # machines of one run: the children an orchestrator may have


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
Rate = Annotated[float, Field(strict=True, ge=0, le=1)]


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


class Compute(Spec):
    """Where the work runs. The platform has no default: it decides what is paid for.

    Sizes and regions are tried in the order given. No region: the app's own.
    """

    platform: PlatformName
    sizes: tuple[KnownSize, ...] = Field(default=("Standard_D2s_v5",), min_length=1, max_length=20)
    regions: tuple[RegionName, ...] = Field(default=(), max_length=20)
    priority: Literal["dedicated", "spot", "spot-then-dedicated"] = "dedicated"
    instances: Count = Field(default=1, le=MAX_INSTANCES)


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
