"""What a user declares: a workload of one kind, checked whole before anything is started for it.

A kind is a frozen model; `kind` tells them apart. YAML keys are camelCase. `parse_workload` refuses what it does not
know; the same model read back from a history ignores it, because a history outlives the code that wrote it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from shared.domain.deployment import SERVING_PLATFORMS, Deployment
from shared.domain.drift import DriftMonitor
from shared.domain.fields import (
    AppFolder,
    BlobPattern,
    BlobPrefix,
    ModelName,
    ModelVersion,
    OutputPath,
    ScriptName,
    WorkloadName,
    refusal,
)
from shared.domain.retraining import Retraining
from shared.domain.sections import MAX_INSTANCES, Compute, Count, DataContainer, Limits, Schedule, Spec
from shared.domain.times import SettleTime

__all__ = [
    "MAX_INSTANCES",
    "BatchScoring",
    "Deployment",
    "DriftMonitor",
    "Retraining",
    "Schedule",
    "Workload",
    "parse_workload",
    "workload_schema",
]

CHAMPION = "champion"


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
    """A registered model; version `champion` is whichever version holds that title when the run starts.

    `unknown_units`: what becomes of rows whose unit has no model, where the model is one per unit. leaveEmpty scores
    them without a prediction, quarantine sets their whole input aside.
    """

    name: ModelName
    version: ModelVersion = CHAMPION
    unknown_units: Literal["leaveEmpty", "quarantine"] = Field(
        default="leaveEmpty", exclude_if=lambda policy: policy == "leaveEmpty"
    )


class Scoring(Spec):
    """The user's own scoring code, by Azure ML's batch convention: `init()` and `run(mini_batch)` in `entry`."""

    code: AppFolder
    entry: ScriptName = "score.py"
    mini_batch_size: Count = Field(default=10, le=1000)


class Fanout(Spec):
    """How the work is cut, how often a shard is tried, and how much of the input must be scored to publish."""

    max_shards: Count = Field(default=64, le=10_000)
    attempts: Count = Field(default=3, le=10)
    min_success_ratio: float = Field(default=1.0, strict=True, ge=0, le=1)


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


type Workload = BatchScoring | Retraining | DriftMonitor | Deployment

_KINDS: dict[str, type[BatchScoring | Retraining | DriftMonitor | Deployment]] = {
    "BatchScoring": BatchScoring,
    "Retraining": Retraining,
    "DriftMonitor": DriftMonitor,
    "Deployment": Deployment,
}


def parse_workload(
    text: str,
    *,
    source: str,
    platforms: Collection[str],
    sizes: Collection[str] | None = None,
    servers: Collection[str] = SERVING_PLATFORMS,
    state_container: str = "",
) -> Workload:
    """The declaration in `text`. Raises SpecErrors with every fault in it; `source` names the file in them.

    `platforms` can be computed on, `servers` served from. Given `sizes`, a size must be one of them; given
    `state_container`, no data is read from or written to it. A text over MAX_BYTES is refused unread.
    """
    from shared.domain.spec import (
        parse_spec,
    )  # with PyYAML: loaded where a declaration is read, not by every worker

    known = {
        "platform": platforms,
        "serving platform": servers,
        "size": sizes,
        "reserved container": state_container,
    }
    return parse_spec(text, _KINDS, source=source, known=known)


def workload_schema(
    platforms: Collection[str], servers: Collection[str] = SERVING_PLATFORMS
) -> dict[str, Any]:
    """The JSON Schema of a declaration, for editors. The rules between fields are beyond it."""
    from shared.domain.spec import schema_of

    schema = schema_of(_KINDS.values())
    compute = schema["$defs"]["Compute"]["properties"]
    compute["platform"]["enum"] = sorted(platforms)
    schema["$defs"]["ServingTarget"]["properties"]["platform"]["enum"] = sorted(servers)
    return schema
