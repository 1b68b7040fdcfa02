"""The parity gate: what was not measured has not passed, and a record counts only for the same conversion."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from shared.domain.conversion import converted_version, judge_parity, original_version
from shared.domain.deployment import Deployment
from shared.domain.errors import SpecErrors
from shared.domain.registry import ModelRef
from shared.domain.workload import parse_workload
from tests.support.conversions import conversion, parsed, record
from tests.support.deployments import deployment

MODEL = ModelRef(
    name="m", version="1", flavor="sklearn", container="models", prefix="m/1/", file="f", sha256="a" * 64
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_abs_difference": 1.1e-4}, "largest difference: 0.00011, at most 0.0001 allowed"),
        ({"max_abs_difference": None}, "largest difference: not measured"),
        ({"label_flips": 1}, "labels flipped at 0.5: 1, at most 0 allowed"),
        ({"rows": 49}, "rows compared: 49, at least 50 allowed"),
        ({"not_finite": 1}, "answers that are no finite number: 1"),
        ({"file": None}, "names no converted model"),
        ({"error": "no converter for SplineTransformer"}, "no converter for SplineTransformer"),
    ],
)
def test_one_rule_that_is_not_met_refuses_the_conversion_and_says_which(
    changes: dict[str, Any], said: str
) -> None:
    verdict = judge_parity(record(**changes), parsed().parity)

    assert not verdict.ok and said in verdict.reason


def test_within_its_tolerances_a_conversion_passes_with_a_row_for_every_rule() -> None:
    parity = parsed(parity={"maxAbsDifference": 1e-3, "maxLabelFlips": 2}).parity

    verdict = judge_parity(record(max_abs_difference=1e-3, label_flips=2), parity)

    assert verdict.ok and verdict.reason == "" and len(verdict.rows) == 4
    assert judge_parity(record(label_flips=None), parity).ok  # a regression has no labels


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_difference_that_is_no_number_is_no_record(value: str) -> None:
    with pytest.raises(ValidationError):
        record(max_abs_difference=float(value))


def test_a_record_serves_again_under_other_tolerances_and_for_nothing_else() -> None:
    key = parsed().key(MODEL, "tools")

    assert (
        parsed(parity={"maxAbsDifference": 1.0, "minRows": 1}, onFailure="serve-original").key(MODEL, "tools")
        == key
    )
    others = [
        parsed(opset=18).key(MODEL, "tools"),
        parsed(parity={"rows": 60}).key(MODEL, "tools"),
        parsed(parity={"threshold": 0.2}).key(MODEL, "tools"),
        parsed(parity={"sample": {"container": "landing", "prefix": "other/"}}).key(MODEL, "tools"),
        parsed().key(MODEL.model_copy(update={"sha256": "d" * 64}), "tools"),
        parsed().key(MODEL, "newer tools"),
    ]
    assert len({key, *others}) == 7


def test_a_converted_version_is_named_for_its_own_bytes() -> None:
    assert converted_version("19", "ab12cd34ef56" + "0" * 52) == "19-onnx-ab12cd34ef56"
    assert (
        original_version("19-onnx-ab12cd34ef56") == "19"
        and original_version("19-onnx-by-hand") == "19-onnx-by-hand"
    )


def test_a_deployment_may_declare_a_conversion_and_is_told_every_fault_of_it_at_once() -> None:
    def parse(**changes: Any) -> Deployment:
        text = yaml.safe_dump(deployment("flights-live", conversion=conversion(**changes)))
        workload = parse_workload(text, source="w.yaml", platforms=("dsvm",))
        assert isinstance(workload, Deployment)
        return workload

    declared = parse().conversion
    assert declared is not None and (declared.opset, declared.on_failure) == (21, "fail")
    assert declared.limits.deadline.total_seconds() == 3600

    with pytest.raises(SpecErrors) as refused:
        parse(to="tensorrt", opset=99, parity={"rows": 10, "minRows": 20, "threshold": 1.5},
              compute={"platform": "cloud", "instances": 2})  # fmt: skip
    said = {fault.path for fault in refused.value.faults}
    assert said == {
        "conversion.to", "conversion.opset", "conversion.parity.minRows", "conversion.parity.threshold",
        "conversion.compute.platform",
    }  # fmt: skip
    with pytest.raises(SpecErrors, match="one machine"):
        parse(compute={"instances": 2})
    with pytest.raises(SpecErrors, match=r"conversion\.limits\.deadline"):
        parse(limits={"deadline": "PT12H"})


def test_limits_of_a_conversion_are_an_hour_unless_declared() -> None:
    declared = [parsed(limits=limits).limits for limits in ({"budgetUsd": 1}, {"deadline": "PT2H"})]

    assert [limits.deadline.total_seconds() / 3600 for limits in declared] == [1, 2]
    assert [limits.ttl.total_seconds() / 3600 for limits in declared] == [2, 3]
