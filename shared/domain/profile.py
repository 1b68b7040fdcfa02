"""The declaration of a profile: the instance sizes that are tried before green is made, and under which load."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from shared.domain.fields import CpuQuantity, InstanceType, MemoryQuantity, refusal
from shared.domain.sections import Count, Rate, Spec
from shared.domain.times import Latency, ProfileTime, latency_text

MAX_SERVING = 20  # instances of one deployment
MAX_CANDIDATES = 8
MAX_LEVELS = 6

UsdPerHour = Annotated[float, Field(strict=True, gt=0, le=10_000)]


class Candidate(Spec):
    """What is tried: an instance type, or the deployment's own with other resources. What is not named stays."""

    instance_type: InstanceType | None = None
    instances: Count | None = Field(default=None, le=MAX_SERVING)
    cpu: CpuQuantity | None = None
    memory: MemoryQuantity | None = None
    gpu: int | None = Field(default=None, strict=True, ge=0, le=16)
    max_concurrent: Count | None = Field(default=None, le=1000)
    usd_per_hour: UsdPerHour | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """What it changes of a deployment's resources."""
        return self.model_dump(exclude_none=True, exclude={"usd_per_hour"})

    def __str__(self) -> str:
        named = {to: value for to, value in self.changes.items() if to != "instance_type"}
        told = [self.instance_type] if self.instance_type else []
        return ", ".join([*told, *(f"{name.replace('_', ' ')} {value}" for name, value in named.items())])


def _read_candidate(value: object) -> object:
    """`Standard_F2s_v2` is short for `{instanceType: Standard_F2s_v2}`."""
    return {"instanceType": value} if isinstance(value, str) else value


NamedCandidate = Annotated[
    Candidate, BeforeValidator(_read_candidate, json_schema_input_type=str | Candidate)
]


def _read_levels(value: object) -> tuple[int, ...]:
    """Strictly rising numbers of requests at once. One fault for the list, not one for each item."""
    allowed = f"1 to {MAX_LEVELS} whole numbers from 1 to 64, strictly rising: [1, 4, 16]"
    given = list(value) if isinstance(value, list | tuple) else []
    levels = [each for each in given if isinstance(each, int) and not isinstance(each, bool)]
    if not 1 <= len(given) <= MAX_LEVELS or len(levels) != len(given):
        raise refusal(f"{value!r:.60} is not a list of numbers of requests", allowed=allowed)
    if levels[0] < 1 or levels[-1] > 64 or any(after <= before for before, after in pairwise(levels)):
        raise refusal(
            f"{value!r:.60} does not rise from level to level, or not from 1 to 64", allowed=allowed
        )
    return tuple(levels)


_LEVELS_SCHEMA = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 64},
    "minItems": 1,
    "maxItems": MAX_LEVELS,
}
Levels = Annotated[tuple[int, ...], BeforeValidator(_read_levels), WithJsonSchema(_LEVELS_SCHEMA)]


class ProfileLoad(Spec):
    """Requests sent to each candidate at each level of `concurrency`, and what they must show at every one."""

    requests: Count = Field(default=200, le=10_000)
    concurrency: Levels = Field(default=(1, 4), validate_default=True)
    p95: Latency = timedelta(milliseconds=250)
    max_error_rate: Rate = 0.0

    @field_validator("concurrency")
    @classmethod
    def _no_more_than_requests(cls, levels: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        requests = info.data.get("requests")
        if requests is not None and levels[-1] > requests:
            raise refusal(f"{levels[-1]} at once, and only {requests} requests", allowed=f"1 to {requests}")
        return levels


class Profile(Spec):
    """Try the deployment at several sizes before green is made, one after the other, without traffic.

    `use` recommended: green is made with what is recommended, and is not made if nothing passes. report: it is only
    told. `deadline`: for all candidates together; what is not tried by then is not available. `usd_per_hour`: what an
    instance of a type costs, where Azure names no price: on a cluster of one's own.
    """

    instance_types: tuple[NamedCandidate, ...] = Field(min_length=1, max_length=MAX_CANDIDATES)
    load: ProfileLoad = Field(default_factory=ProfileLoad)
    use: Literal["recommended", "report"] = "recommended"
    usd_per_hour: dict[InstanceType, UsdPerHour] = Field(default_factory=dict)
    deadline: ProfileTime = timedelta(minutes=45)

    @field_validator("instance_types")
    @classmethod
    def _each_once(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        told = [str(each) for each in candidates]
        for number, text in enumerate(told):
            if not text:
                raise refusal(
                    f"candidate {number + 1} changes nothing", allowed='an instance type, or {cpu: "2"}'
                )
            if text in told[:number]:
                raise refusal(f"{text} is there twice", hint="Remove one")
        return candidates

    def usd_of(self, candidate: Candidate, instance_type: str) -> float | None:
        """The declared price of one instance of a candidate; None if none is declared."""
        return candidate.usd_per_hour or self.usd_per_hour.get(instance_type)

    def fault_on(
        self, platform: str, own_type: str, request_timeout: timedelta
    ) -> PydanticCustomError | None:
        """Why it cannot be done on a platform, by deployments of `own_type`; None if it can."""
        if self.load.p95 > request_timeout:
            return refusal(
                f"load.p95 {latency_text(self.load.p95)} is longer than resources.requestTimeout, "
                f"{latency_text(request_timeout)}: no answer could be that late",
                hint="Lower profile.load.p95 or raise resources.requestTimeout",
            )
        for candidate in self.instance_types:
            if fault := self._fault_of(candidate, platform, candidate.instance_type or own_type):
                return fault
        return None

    def _fault_of(self, candidate: Candidate, platform: str, type_: str) -> PydanticCustomError | None:
        priced = self.usd_of(candidate, type_) is not None
        match platform:
            case "managed_endpoint":
                if not type_.startswith("Standard_"):
                    return refusal(f"{candidate} is no size", allowed="sizes, such as Standard_F4s_v2")
                if candidate.changes.keys() & {"cpu", "memory", "gpu"}:
                    return refusal(
                        f"{candidate}: a size has its own cpu, memory and gpu",
                        hint="Name another size instead",
                    )
                if priced:
                    return refusal("usdPerHour: what a managed size costs is known", hint="Remove it")
            case "local":
                if candidate.instance_type or candidate.gpu:
                    return refusal(
                        f"{candidate}: local has no instance types and no GPU",
                        allowed='cpu, instances, maxConcurrent: {cpu: "2"}',
                    )
            case "aks" if not priced and self.use == "recommended" and len(self.instance_types) > 1:
                return refusal(
                    f"nobody says what {candidate} costs, and the cheapest is to be used",
                    hint=f"Add profile.usdPerHour: {{{type_}: 0.10}}, or usdPerHour to the candidate; or set use: report",
                )
        return None
