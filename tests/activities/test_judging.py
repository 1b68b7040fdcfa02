"""Champion and challenger are judged by one job on one frozen set; what cannot be read promotes nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from activities import judging
from shared.azure import blob
from shared.domain.errors import NotFoundError
from shared.domain.gate import Ruling, Verdict
from shared.domain.registry import ModelRef
from shared.domain.retrain import EvaluationJobRequest, JudgeRequest
from tests.activities.retrainings import Retrained

pytestmark = pytest.mark.usefixtures("cloud")

CHAMPION = ModelRef(
    name="m", version="1", flavor="sklearn", container="models", prefix="m/1/", file="model.joblib", sha256="b" * 64
)  # fmt: skip
INTERVAL = {"value": 0.02, "low": 0.01, "high": 0.03}


@pytest.fixture
def retrained() -> Retrained:
    made = Retrained({"gate": {"slices": [{"column": "carrier", "minRows": 10}]}})
    made.land("1.parquet", "2.parquet", "3.parquet")
    made.record("t001")
    return made


def _found(retrained: Retrained, **changes: Any) -> None:
    """What the evaluation job leaves."""
    record = {
        "rows": 5000, "models": {"champion": {"metrics": {"auc": 0.7}, "error": None},
                                 "challenger": {"metrics": {"auc": 0.72}, "error": None}},
        "difference": {"auc": INTERVAL}, "label_missing_rows": 0,
        "slices": [{"column": "carrier", "value": "AA", "rows": 500, "champion": 0.7, "challenger": 0.72,
                    "difference": INTERVAL}],
    } | changes  # fmt: skip
    blob.create_only("muster", f"runs/{retrained.run}/evaluation.json", json.dumps(record).encode())


def _judge(retrained: Retrained) -> Verdict:
    return judging.judge_models(JudgeRequest(request=retrained.request, champion=CHAMPION))


def test_the_job_says_all_that_the_agent_asks_for(retrained: Retrained) -> None:
    from node.evaluate_job import parse_evaluate_job

    written = judging.write_evaluation_job(
        EvaluationJobRequest(evaluate=retrained.evaluation(CHAMPION), epoch=1)
    )
    assert written.job is not None
    told = blob.read("muster", written.job.job.blob)

    job = parse_evaluate_job(told, json.loads(told)["account_url"])
    assert [(m.role, m.name, m.sha256) for m in job.models] == [
        ("champion", "m", "b" * 64), ("challenger", retrained.model, "a" * 64),
    ]  # fmt: skip
    assert (job.rules.metrics, job.rules.slices, job.label) == (("auc",), ("carrier",), "late")
    assert job.data.sha256 == retrained.data.manifest.sha256


def test_a_first_model_is_judged_alone(retrained: Retrained) -> None:
    written = judging.write_evaluation_job(
        EvaluationJobRequest(evaluate=retrained.evaluation(None), epoch=1, attempt=2)
    )

    assert written.job is not None and written.job.id == "evaluate-e1r2"
    assert [m["role"] for m in blob.read_json("muster", written.job.job.blob)["models"]] == ["challenger"]


def test_models_that_were_judged_are_not_judged_again(retrained: Retrained) -> None:
    _found(retrained)

    request = EvaluationJobRequest(evaluate=retrained.evaluation(CHAMPION), epoch=2)
    assert judging.write_evaluation_job(request).job is None


def test_a_challenger_without_a_model_on_record_is_not_judged(retrained: Retrained) -> None:
    request = EvaluationJobRequest(evaluate=retrained.evaluation(CHAMPION, "t003"), epoch=1)

    with pytest.raises(NotFoundError, match="t003"):
        judging.write_evaluation_job(request)


def test_the_verdict_is_the_gate_s_and_stays_on_record(retrained: Retrained) -> None:
    _found(retrained)

    assert _judge(retrained).ruling is Ruling.PROMOTE
    assert blob.read_json("muster", f"runs/{retrained.run}/verdict.json")["ruling"] == "Promote"
    assert _judge(retrained).ruling is Ruling.PROMOTE


def test_no_evaluation_promotes_nobody(retrained: Retrained) -> None:
    assert _judge(retrained).ruling is Ruling.INCONCLUSIVE


@pytest.mark.parametrize("changes", [{"rows": "many"}, {"models": []}, {"difference": {"auc": 0.1}}])
def test_an_evaluation_that_cannot_be_read_promotes_nobody(
    retrained: Retrained, changes: dict[str, Any]
) -> None:
    _found(retrained, **changes)

    verdict = _judge(retrained)
    assert verdict.ruling is Ruling.INCONCLUSIVE and "not readable" in verdict.reason


def test_a_table_of_many_slices_fits_a_history_with_those_that_decided(retrained: Retrained) -> None:
    lost = {"value": -0.5, "low": -0.6, "high": -0.4}
    slices = [
        {"column": "carrier", "value": f"c{n:03d}", "rows": 500, "champion": 0.7, "challenger": 0.7,
         "difference": lost if n == 400 else INTERVAL}
        for n in range(500)
    ]  # fmt: skip
    _found(retrained, slices=slices)

    verdict = _judge(retrained)
    assert verdict.ruling is Ruling.REJECTED and any("c400" in row.what for row in verdict.rows)
    assert len(verdict.model_dump_json()) < 8000
    assert len(blob.read_json("muster", f"runs/{retrained.run}/verdict.json")["rows"]) == 502
