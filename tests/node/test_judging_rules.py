"""The rules by which models are compared: the same in a job for one evaluation and in one for many units."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from node.errors import JobSpecError
from node.evaluate_job import EvaluateJob, Rules, parse_evaluate_job
from node.unit_job import UnitsJob, parse_units_job
from tests.node.estate import ACCOUNT_URL

_MODEL = {"role": "challenger", "name": "late", "version": "1", "container": "muster", "prefix": "runs/r/t000/",
          "file": "model.joblib", "sha256": "0" * 64, "flavor": "sklearn"}  # fmt: skip
_HEAD = {"run": "r", "job": "j", "account_url": ACCOUNT_URL, "state": {"container": "muster", "prefix": "runs/r/"},
         "data": {"container": "muster", "blob": "runs/r/data.json", "sha256": "0" * 64}, "label": "late",
         "metrics": ["auc", "brier", "auc"], "timeout_s": 60}  # fmt: skip


def _one(**changes: Any) -> EvaluateJob:
    job = {**_HEAD, "schema": "muster.evaluate-job/1", "models": [_MODEL], **changes}
    return parse_evaluate_job(json.dumps(job).encode(), ACCOUNT_URL)


def _many(**changes: Any) -> UnitsJob:
    units = [{"id": "t000", "value": "AA", "models": [_MODEL]}]
    job = {
        **_HEAD,
        "schema": "muster.evaluate-units-job/1",
        "chunk": 0,
        "column": "carrier",
        "units": units,
        **changes,
    }
    return parse_units_job(json.dumps(job).encode(), ACCOUNT_URL)


_BOTH = pytest.mark.parametrize("parse", [_one, _many])


@_BOTH
def test_what_is_not_said_has_its_default(parse: Callable[..., EvaluateJob | UnitsJob]) -> None:
    assert parse().rules == Rules(("auc", "brier"), (), 0.95, 1000, 0)


@_BOTH
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": []}, "job.metrics: a list that is not empty is expected"),
        ({"metrics": ["auc", "gini"]}, "job.metrics[1]: 'gini' is not 'auc' or 'logLoss'"),
        ({"slices": "carrier"}, "job.slices: a list is expected"),
        ({"slices": ["carrier", 7]}, "job.slices[1]: a text of 1 to 2048 characters is expected"),
        ({"confidence": 1.0}, "job.confidence: a number from 0.5 to below 1 is expected"),
        ({"confidence": True}, "job.confidence: a number from 0.5 to below 1 is expected"),
        ({"bootstrap": 99}, "job.bootstrap: an integer from 100 to 100000 is expected"),
        ({"seed": -1}, "job.seed: an integer from 0 to 2147483648 is expected"),
    ],
)
def test_a_rule_that_is_none_is_refused_with_its_place(
    parse: Callable[..., EvaluateJob | UnitsJob], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(JobSpecError) as refused:
        parse(**changes)

    assert str(refused.value).startswith(said)
