"""The declaration of a retraining: what may start it, on which data, which trials, and what a challenger must prove."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from shared.domain.fields import (
    AppFolder,
    BlobPattern,
    BlobPrefix,
    ModelName,
    ScriptName,
    WorkloadName,
    refusal,
)
from shared.domain.search import (
    MAX_SWEEP_TRIALS,
    SWEEP_PLATFORM,
    EarlyTermination,
    Engine,
    Sampling,
    check_bayesian,
)
from shared.domain.sections import MAX_INSTANCES, Compute, Count, DataContainer, Limits, Schedule, Spec
from shared.domain.times import Deadline, Wait

MAX_TRIALS = 10_000
MAX_UNITS = 20_000
MAX_CHOICE = 1_000
MAX_STEPS = 1_000_000

Goal = Literal["maximize", "minimize"]
Scalar = bool | int | float | str
Number = Annotated[float, Field(strict=True)]


def _check_plain(text: str) -> str:
    if not text or len(text) > 128 or not text.isprintable():
        raise refusal(f"{text[:60]!r} is not allowed", allowed="1 to 128 printable characters")
    return text


PlainName = Annotated[str, AfterValidator(_check_plain)]
Metric = Literal["auc", "accuracy", "logLoss", "brier", "rmse", "mae", "r2"]


def _check_parameter(name: str) -> str:
    if not (name.isidentifier() and name.isascii() and len(name) <= 64):
        raise refusal(
            f"{name[:60]!r} is not allowed", allowed="letters, digits and `_`; starts with a letter"
        )
    if name in ("data", "label", "out", "checkpoint"):
        raise refusal(f"--{name} is given to every trial already", allowed="another name")
    return name


ParameterName = Annotated[str, AfterValidator(_check_parameter)]


def _numbers(count: int, words: str) -> tuple[object, ...]:
    """A list of `count` finite numbers, the second above the first. One fault for the list, not one for each item."""

    def check(value: object) -> tuple[float, ...]:
        given = value if isinstance(value, list | tuple) else ()
        numbers = [n for n in given if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) != count or len(given) != count or not all(map(math.isfinite, numbers)):
            raise refusal(f"{value!r:.60} is not {words}", allowed=f"{words} with low below high")
        if numbers[0] >= numbers[1]:
            raise refusal(
                f"{numbers[0]:g} is not below {numbers[1]:g}", allowed=f"{words} with low below high"
            )
        return tuple(numbers)

    shape = {"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": count}
    return BeforeValidator(check), WithJsonSchema(shape)


def _read_choice(value: object) -> tuple[Scalar, ...]:
    given = list(value) if isinstance(value, list | tuple) else []
    good = [each for each in given if isinstance(each, bool | int | float | str) and _is_passable(each)]
    allowed = f"1 to {MAX_CHOICE} numbers, texts, true or false, each once"
    if not 1 <= len(given) <= MAX_CHOICE or len(good) != len(given):
        raise refusal(f"{value!r:.60} is not a choice", allowed=allowed)
    if len({str(each) for each in good}) != len(good):  # as a command line has them
        raise refusal(f"{value!r:.60} has a value twice", allowed=allowed)
    return tuple(good)


def _is_passable(value: Scalar) -> bool:
    """Whether a command line can carry it."""
    return len(value) <= 200 and value.isprintable() if isinstance(value, str) else math.isfinite(value)


_CHOICE = {"type": "array", "items": {"type": ["number", "string", "boolean"]}, "minItems": 1}
_RANGE, _STEPS = _numbers(2, "[low, high]"), _numbers(3, "[low, high, step]")
Choice = Annotated[tuple[Scalar, ...], BeforeValidator(_read_choice), WithJsonSchema(_CHOICE)]
Range = Annotated[tuple[float, ...], *_RANGE]
Steps = Annotated[tuple[float, ...], *_STEPS]


class Trigger(Spec):
    """Which drift starts a retraining, how soon after the last one, how often a day, and how long to wait for data."""

    monitor: PlainName
    threshold: float | None = Field(default=None, strict=True, ge=0)
    hysteresis: float = Field(default=0.0, strict=True, ge=0)
    cool_down: Wait = timedelta(days=1)
    daily_cap: Count = Field(default=4, le=24)
    ready_within: Wait = timedelta(days=2)

    @field_validator("hysteresis")
    @classmethod
    def _under_the_threshold(cls, hysteresis: float, info: ValidationInfo) -> float:
        threshold = info.data.get("threshold")
        if hysteresis and "threshold" in info.data and (threshold is None or hysteresis > threshold):
            raise refusal(
                f"{hysteresis:g} reaches below a threshold of {threshold}", allowed="0 to the threshold"
            )
        return hysteresis


class Newest(Spec):
    """The newest blobs, in the order of their names."""

    newest: Count = Field(le=100_000)


class Data(Spec):
    """Labelled blobs: the newest of them judge (`test`), those right before train. Fixed by etag when a run starts.

    `min_new_blobs`: how many there must be that the champion was not trained on.
    """

    container: DataContainer
    prefix: BlobPrefix
    pattern: BlobPattern = "*.parquet"
    train: Newest | None = None
    test: Newest
    label: PlainName
    min_new_blobs: int = Field(default=1, strict=True, ge=0, le=100_000)


class RetrainedModel(Spec):
    """The registered model whose champion is challenged."""

    name: ModelName


class Training(Spec):
    """The user's training code: `entry` is called with --data --label --out --checkpoint and a trial's parameters."""

    code: AppFolder
    entry: ScriptName = "train.py"


class Distribution(Spec):
    """The values a parameter may take: exactly one of these. `quniform` is [low, high, step]."""

    choice: Choice | None = None
    uniform: Range | None = None
    log_uniform: Range | None = None
    quniform: Steps | None = Field(default=None, validate_default=True)

    @property
    def kind(self) -> str:
        """The name it is declared by."""
        given = {"choice": self.choice, "uniform": self.uniform, "logUniform": self.log_uniform}
        return next((name for name, values in given.items() if values is not None), "quniform")

    @field_validator("log_uniform")
    @classmethod
    def _has_a_logarithm(cls, bounds: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if bounds is not None and bounds[0] <= 0:
            raise refusal(f"{bounds[0]:g} has no logarithm", allowed="bounds above 0")
        return bounds

    @field_validator("quniform")
    @classmethod
    def _exactly_one(cls, steps: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        if steps is not None and not 0 < steps[2] <= steps[1] - steps[0] <= steps[2] * MAX_STEPS:
            raise refusal(
                f"a step of {steps[2]:g} does not fit",
                allowed=f"more than 0, at most high - low, at most {MAX_STEPS:,} of them",
            )
        if not {"choice", "uniform", "log_uniform"} <= info.data.keys():
            return steps
        given = [name for name, value in (*info.data.items(), ("quniform", steps)) if value is not None]
        if len(given) != 1:
            said = f"has {' and '.join(given)}" if given else "has no values"
            raise refusal(said, allowed="one of choice, uniform, logUniform, quniform", above=True)
        return steps


class Trials(Spec):
    """Which challengers are trained, how many at once, and how few valid ones are too few.

    `unit_column` instead of a space: one model for each value of that column. `engine`: who searches, Muster with a
    job for each trial, or Azure ML with one sweep job.
    """

    engine: Engine = Field(default="jobs", exclude_if=lambda engine: engine == "jobs")
    sampling: Sampling = Field(default="random", validate_default=True)
    seed: int = Field(default=0, strict=True, ge=0, le=2**31)
    space: dict[ParameterName, Distribution] = Field(default_factory=dict, max_length=50)
    unit_column: PlainName | None = Field(default=None, validate_default=True)
    count: Count | None = Field(default=None, le=MAX_TRIALS, validate_default=True)
    concurrency: Count = Field(default=4, le=MAX_INSTANCES)
    timeout: Deadline = timedelta(minutes=30)
    min_valid: Count = Field(default=1, le=MAX_UNITS)
    metric: PlainName = "auc"
    goal: Goal = "maximize"
    early_termination: EarlyTermination | None = Field(default=None, exclude_if=lambda policy: policy is None)

    @field_validator("sampling")
    @classmethod
    def _has_an_engine(cls, sampling: Sampling, info: ValidationInfo) -> Sampling:
        if sampling == "bayesian" and info.data.get("engine") == "jobs":
            raise refusal("bayesian sampling is Azure ML's", allowed="grid, random", hint="Add engine: sweep")
        return sampling

    @field_validator("space")
    @classmethod
    def _can_be_drawn(cls, space: dict[str, Distribution], info: ValidationInfo) -> dict[str, Distribution]:
        if info.data.get("sampling") == "bayesian":
            check_bayesian((name, each.kind) for name, each in space.items())
        return space

    @field_validator("unit_column")
    @classmethod
    def _is_no_search(cls, column: str | None, info: ValidationInfo) -> str | None:
        if column is not None and info.data.get("engine") == "sweep":
            raise refusal("units are not searched through", hint="Remove `engine: sweep`")
        return column

    @field_validator("early_termination")
    @classmethod
    def _is_azure_mls(cls, policy: EarlyTermination | None, info: ValidationInfo) -> EarlyTermination | None:
        if policy is not None and info.data.get("engine") == "jobs":
            raise refusal("is Azure ML's", hint="Add engine: sweep, or remove it")
        if policy is not None and info.data.get("sampling") == "bayesian":
            raise refusal("does not go with bayesian sampling", hint="Use sampling: random, or remove it")
        return policy

    @field_validator("unit_column")
    @classmethod
    def _instead_of_a_space(cls, column: str | None, info: ValidationInfo) -> str | None:
        if column is not None and info.data.get("space"):
            raise refusal("goes instead of `space`, not with it", hint="Remove one of them")
        if column is None and info.data.get("space") == {}:
            raise refusal(
                "has no `space`", hint="Add `space:`, or `unitColumn:` for one model per unit", above=True
            )
        return column

    @field_validator("count")
    @classmethod
    def _fits_the_sampling(cls, count: int | None, info: ValidationInfo) -> int | None:
        most = MAX_SWEEP_TRIALS if info.data.get("engine") == "sweep" else MAX_TRIALS
        if count is not None and count > most:
            raise refusal(f"{count:,} trials are too many for a sweep job", allowed=f"1 to {most}")
        if not {"sampling", "space", "unit_column"} <= info.data.keys():
            return count
        space: dict[str, Distribution] = info.data["space"]
        if info.data["unit_column"] is not None:
            if count is not None:
                raise refusal("there is one trial for each unit", hint="Remove `count`")
        elif info.data["sampling"] == "grid":
            _check_grid(space, count, most)
        elif count is None:
            raise refusal(
                f"{info.data['sampling']} sampling has no `count`", allowed=f"1 to {most}", above=True
            )
        return count

    @field_validator("min_valid")
    @classmethod
    def _can_be_reached(cls, min_valid: int, info: ValidationInfo) -> int:
        if not {"space", "count"} <= info.data.keys():
            return min_valid
        space: dict[str, Distribution] = info.data["space"]
        total = info.data["count"] or (grid_size(space) if space else MAX_UNITS)
        if min_valid > total:
            raise refusal(f"{min_valid} of {total} trials can never be valid", allowed=f"1 to {total}")
        return min_valid


def _check_grid(space: dict[str, Distribution], count: int | None, most: int) -> None:
    if count is not None:
        raise refusal("goes with random sampling: a grid has as many trials as points", hint="Remove `count`")
    uncountable = [name for name, each in space.items() if each.choice is None]
    if uncountable:
        raise refusal(f"a grid cannot walk through {', '.join(uncountable)}", allowed="choice for every parameter",
                      hint="Use sampling: random", above=True)  # fmt: skip
    if (points := grid_size(space)) > most:
        raise refusal(f"the grid has {points:,} points", allowed=f"at most {most:,}", above=True)


def grid_size(space: dict[str, Distribution]) -> int:
    return math.prod(len(each.choice or ()) for each in space.values())


class Slice(Spec):
    """Parts of the test set, one for each value of `column`: the challenger may lose at most `max_loss` on any."""

    column: PlainName
    max_loss: float = Field(default=0.0, strict=True, ge=0)
    min_rows: Count = 100


class FirstModel(Spec):
    """What the very first model must reach, there being no champion: at least `min`, or with goal minimize at most."""

    min: Number


class Gate(Spec):
    """What a challenger must prove on the frozen test set. What cannot be proved leaves the champion in place.

    `min_gain`: the lower end of the confidence interval of its gain must exceed it.
    """

    metric: Metric = "auc"
    goal: Goal = "maximize"
    min_gain: float = Field(default=0.0, strict=True, ge=0)
    confidence: float = Field(default=0.95, strict=True, ge=0.5, le=0.999)
    min_rows: Count = 1000
    slices: tuple[Slice, ...] = Field(default=(), max_length=10)
    first_model: FirstModel | None = None

    @field_validator("slices")
    @classmethod
    def _one_rule_for_a_column(cls, slices: tuple[Slice, ...]) -> tuple[Slice, ...]:
        if len({each.column for each in slices}) != len(slices):
            raise refusal("has two rules for one column", allowed="one rule for each column")
        return slices


class Deploy(Spec):
    """The Deployment that is to serve a new champion. While none of that name is declared the request stays on record."""

    workload: WorkloadName


class Retraining(Spec):
    """Train challengers to a model's champion when it has drifted, on a schedule or when asked; the better one wins."""

    kind: Literal["Retraining"] = "Retraining"
    name: WorkloadName
    schedule: Schedule | None = None
    trigger: Trigger | None = None
    data: Data
    model: RetrainedModel
    training: Training
    trials: Trials
    gate: Gate = Field(default_factory=Gate)
    compute: Compute
    limits: Limits = Field(default_factory=Limits, validate_default=True)
    deploy: Deploy | None = None

    @field_validator("compute")
    @classmethod
    def _runs_the_search(cls, compute: Compute, info: ValidationInfo) -> Compute:
        trials: Trials | None = info.data.get("trials")
        if trials is not None and trials.engine == "sweep" and compute.platform != SWEEP_PLATFORM:
            raise refusal(
                f"platform {compute.platform} runs no sweep jobs, and trials.engine is sweep",
                allowed=f"platform {SWEEP_PLATFORM}",
                hint=f"Use platform {SWEEP_PLATFORM}, or remove trials.engine",
            )
        return compute

    @field_validator("limits")
    @classmethod
    def _leaves_time_for_a_trial(cls, limits: Limits, info: ValidationInfo) -> Limits:
        trials: Trials | None = info.data.get("trials")
        if trials is not None and trials.timeout > limits.deadline:
            raise refusal("deadline is shorter than trials.timeout: no trial could end in time",
                          hint="Lower trials.timeout or raise limits.deadline")  # fmt: skip
        return limits
