"""What a retraining declares when Azure ML itself runs the search: as a sweep job. Words and rules are Azure ML's.

Source: azuremlschemas.azureedge.net/latest/sweepJob.schema.json as azure-ai-ml 1.35.2 has it (_schema/_sweep), and
learn.microsoft.com machine-learning/how-to-tune-hyperparameters for what goes with what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from shared.domain.fields import refusal
from shared.domain.sections import Count, Spec

SWEEP_PLATFORM = "amlcompute"
MAX_SWEEP_TRIALS = 1000  # how-to-tune-hyperparameters, limits: max_total_trials
BAYESIAN_DISTRIBUTIONS = ("choice", "uniform", "quniform")

Engine = Literal["jobs", "sweep"]
Sampling = Literal["grid", "random", "bayesian"]


class EarlyTermination(Spec):
    """Which trials Azure ML cancels before they are done, by the metric that they report while they train.

    `evaluation_interval` and `delay_evaluation` count reports of the metric.
    """

    type: Literal["bandit", "median_stopping", "truncation_selection"]
    evaluation_interval: Count = Field(default=1, le=10_000)
    delay_evaluation: int = Field(default=0, strict=True, ge=0, le=10_000)
    slack_factor: float | None = Field(default=None, strict=True, gt=0)
    slack_amount: float | None = Field(default=None, strict=True, gt=0, validate_default=True)
    truncation_percentage: int | None = Field(default=None, strict=True, ge=1, le=99, validate_default=True)

    @field_validator("slack_amount")
    @classmethod
    def _one_slack(cls, amount: float | None, info: ValidationInfo) -> float | None:
        if not {"type", "slack_factor"} <= info.data.keys():
            return amount
        given = [value for value in (info.data["slack_factor"], amount) if value is not None]
        if info.data["type"] == "bandit" and len(given) != 1:
            raise refusal(
                "bandit has both slacks" if given else "bandit has no slack",
                allowed="one of slackFactor, slackAmount", above=True,
            )  # fmt: skip
        if info.data["type"] != "bandit" and given:
            raise refusal(
                f"slack goes with bandit, not with {info.data['type']}", hint="Remove it", above=True
            )
        return amount

    @field_validator("truncation_percentage")
    @classmethod
    def _goes_with_truncation(cls, percentage: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("type")
        if kind == "truncation_selection" and percentage is None:
            raise refusal("truncation_selection has no `truncationPercentage`", allowed="1 to 99", above=True)
        if kind not in (None, "truncation_selection") and percentage is not None:
            raise refusal(f"goes with truncation_selection, not with {kind}", hint="Remove it")
        return percentage


def check_bayesian(distributions: Iterable[tuple[str, str]]) -> None:
    """Raises a refusal naming every parameter whose distribution Bayesian sampling does not take."""
    wrong = [f"{name} ({kind})" for name, kind in distributions if kind not in BAYESIAN_DISTRIBUTIONS]
    if wrong:
        raise refusal(
            f"bayesian sampling cannot draw {', '.join(wrong)}",
            allowed=f"{', '.join(BAYESIAN_DISTRIBUTIONS)} for every parameter",
            hint="Use sampling: random",
            above=True,
        )
