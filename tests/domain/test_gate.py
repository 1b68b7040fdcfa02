"""The gate lets a challenger in only when it is proved better; what is not known leaves the champion in place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.gate import Evaluation, Ruling, Verdict, judge, read_evaluation
from shared.domain.retraining import Gate

RULES: dict[str, Any] = {"metric": "auc", "minGain": 0.0, "minRows": 1000}


def difference(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def evaluation(**changes: Any) -> Evaluation:
    """The job's record of a challenger whose AUC is 0.02 better, for certain."""
    record: dict[str, Any] = {
        "rows": 5000,
        "models": {
            "champion": {"metrics": {"auc": 0.70}, "error": None},
            "challenger": {"metrics": {"auc": 0.72}, "error": None},
        },
        "difference": {"auc": difference(0.02)},
        "slices": [],
        "label_missing_rows": 0,
        "addedInV9": 1,
    } | changes
    return read_evaluation(json.loads(json.dumps(record)))


def slice_of(value: str, gain: float | None, rows: int = 500) -> dict[str, Any]:
    return {
        "column": "carrier", "value": value, "rows": rows, "champion": 0.7,
        "challenger": 0.7 + (gain or 0), "difference": None if gain is None else difference(gain),
    }  # fmt: skip


def verdict(found: Evaluation | None, *, has_champion: bool = True, **rules: Any) -> Verdict:
    return judge(found, Gate.model_validate(RULES | rules), has_champion=has_champion)


def test_a_challenger_proved_better_is_promoted_with_its_numbers() -> None:
    found = verdict(evaluation())

    assert found.ruling is Ruling.PROMOTE
    assert "0.7000" in found.reason and "0.7200" in found.reason
    assert all(row.ruling is Ruling.PROMOTE for row in found.rows)


@pytest.mark.parametrize(
    ("gain", "least", "ruling"),
    [
        (difference(0.02), 0.0, Ruling.PROMOTE),
        (difference(0.02), 0.0099, Ruling.PROMOTE),
        (difference(0.02), 0.01, Ruling.REJECTED),  # the lower end must exceed it, not reach it
        (difference(0.005), 0.0, Ruling.REJECTED),  # better on the rows at hand, not proved
        (difference(-0.02), 0.0, Ruling.REJECTED),
        ({"value": 0.0, "low": 0.0, "high": 0.0}, 0.0, Ruling.REJECTED),  # the same model again
    ],
)
def test_the_lower_end_of_the_interval_must_exceed_the_declared_gain(
    gain: dict[str, float], least: float, ruling: Ruling
) -> None:
    assert verdict(evaluation(difference={"auc": gain}), minGain=least).ruling is ruling


def test_where_less_is_better_a_smaller_metric_wins() -> None:
    models = {"champion": {"metrics": {"brier": 0.2}}, "challenger": {"metrics": {"brier": 0.1}}}
    better = evaluation(models=models, difference={"brier": difference(-0.1)})
    worse = evaluation(models=models, difference={"brier": difference(0.1)})

    assert verdict(better, metric="brier", goal="minimize").ruling is Ruling.PROMOTE
    assert verdict(worse, metric="brier", goal="minimize").ruling is Ruling.REJECTED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": 999}, "999 labelled rows"),
        ({"rows": 0, "label_missing_rows": 5000}, "5000 rows have no label"),
        ({"models": {"challenger": {"metrics": {"auc": 0.72}}}}, "champion was not evaluated"),
        ({"models": {"champion": {"metrics": {}}, "challenger": {"metrics": {"auc": 0.7}}}}, "champion has no auc"),
        ({"models": {"champion": {"metrics": {"auc": 0.7}}, "challenger": {"metrics": {}}}}, "challenger has no auc"),
        ({"models": {"champion": {"metrics": {"auc": 0.7}},
                     "challenger": {"metrics": {}, "error": "predicts NaN"}}}, "predicts NaN"),
        ({"difference": {}}, "no confidence interval"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_inconclusive_and_says_what(changes: dict[str, Any], said: str) -> None:
    found = verdict(evaluation(**changes))

    assert found.ruling is Ruling.INCONCLUSIVE
    assert said in found.reason


def test_no_evaluation_is_inconclusive() -> None:
    assert verdict(None).ruling is Ruling.INCONCLUSIVE


SLICES = [{"column": "carrier", "maxLoss": 0.02, "minRows": 200}]


def test_a_slice_that_lost_too_much_rejects_a_challenger_that_is_better_overall() -> None:
    found = verdict(evaluation(slices=[slice_of("AA", 0.03), slice_of("UA", -0.05)]), slices=SLICES)

    assert found.ruling is Ruling.REJECTED
    assert found.reason.startswith("slice") and "UA" in found.reason and "AA" not in found.reason
    assert [row.ruling for row in found.rows if "UA" in row.what] == [Ruling.REJECTED]


@pytest.mark.parametrize(
    ("slices", "ruling"),
    [
        ([slice_of("AA", -0.019)], Ruling.PROMOTE),
        (
            [slice_of("AA", 0.01), slice_of("UA", -0.5, rows=199)],
            Ruling.PROMOTE,
        ),  # too few rows to say anything
        ([slice_of("AA", None)], Ruling.INCONCLUSIVE),
        ([slice_of("AA", -0.5, rows=10)], Ruling.INCONCLUSIVE),  # none is large enough to be judged
        ([], Ruling.INCONCLUSIVE),
    ],
)
def test_a_slice_is_judged_by_its_loss_and_only_if_it_is_large_enough(
    slices: list[dict[str, Any]], ruling: Ruling
) -> None:
    assert verdict(evaluation(slices=slices), slices=SLICES).ruling is ruling


def test_a_slice_loses_where_less_is_better_by_growing() -> None:
    models = {"champion": {"metrics": {"brier": 0.2}}, "challenger": {"metrics": {"brier": 0.1}}}
    found = evaluation(
        models=models,
        difference={"brier": difference(-0.1)},
        slices=[slice_of("UA", +0.05), slice_of("AA", -0.05)],
    )

    against = verdict(found, metric="brier", goal="minimize", slices=SLICES)
    assert against.ruling is Ruling.REJECTED and "UA" in against.reason and "AA" not in against.reason


def test_with_too_few_rows_nothing_measured_is_believed_for_better_or_worse() -> None:
    for gain in (-0.2, 0.2):
        found = verdict(evaluation(rows=10, difference={"auc": difference(gain)}))
        assert found.ruling is Ruling.INCONCLUSIVE and "10 labelled rows" in found.reason


def test_a_known_loss_goes_before_what_is_not_known() -> None:
    found = verdict(evaluation(slices=[slice_of("AA", None), slice_of("UA", -0.5)]), slices=SLICES)

    assert found.ruling is Ruling.REJECTED and "UA" in found.reason


@pytest.mark.parametrize(
    ("rule", "ruling"),
    [
        (None, Ruling.INCONCLUSIVE),
        ({"min": 0.72}, Ruling.PROMOTE),
        ({"min": 0.73}, Ruling.REJECTED),
    ],
)
def test_the_first_model_of_all_has_its_own_rule(rule: dict[str, float] | None, ruling: Ruling) -> None:
    alone = evaluation(models={"challenger": {"metrics": {"auc": 0.72}}}, difference={})

    assert verdict(alone, has_champion=False, firstModel=rule).ruling is ruling


def test_the_first_model_s_rule_is_no_way_around_a_champion() -> None:
    worse = evaluation(difference={"auc": difference(-0.1)})

    assert verdict(worse, firstModel={"min": 0.0}).ruling is Ruling.REJECTED


def test_the_table_has_a_row_for_every_rule_with_what_was_measured() -> None:
    found = verdict(evaluation(slices=[slice_of("AA", 0.01), slice_of("UA", 0.02)]), slices=SLICES)

    by_what = {row.what: row for row in found.rows}
    assert (by_what["auc"].champion, by_what["auc"].challenger) == (0.70, 0.72)
    assert by_what["auc"].difference is not None and by_what["auc"].difference.low == pytest.approx(0.01)
    assert [what for what in by_what if "carrier" in what] == [
        "auc where carrier = AA",
        "auc where carrier = UA",
    ]
    assert all(row.rule for row in found.rows)


NOT_A_NUMBER = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("number", NOT_A_NUMBER)
@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_a_metric_that_is_no_number_promotes_nobody(role: str, number: float) -> None:
    models = {"champion": {"metrics": {"auc": 0.70}}, "challenger": {"metrics": {"auc": 0.72}}}
    models[role] = {"metrics": {"auc": number}}

    found = verdict(evaluation(models=models))
    assert found.ruling is Ruling.INCONCLUSIVE and role in found.reason


@pytest.mark.parametrize("number", NOT_A_NUMBER)
@pytest.mark.parametrize("member", ["value", "low", "high"])
def test_an_interval_with_an_end_that_is_no_number_proves_nothing(member: str, number: float) -> None:
    broken = difference(0.02) | {member: number}
    of_slice = slice_of("AA", 0.02) | {"difference": broken}

    assert verdict(evaluation(difference={"auc": broken})).ruling is Ruling.INCONCLUSIVE
    assert verdict(evaluation(slices=[of_slice]), slices=SLICES).ruling is Ruling.INCONCLUSIVE


def test_an_interval_that_does_not_hold_its_value_proves_nothing() -> None:
    broken = {"value": -0.1, "low": 0.01, "high": 0.03}

    assert verdict(evaluation(difference={"auc": broken})).ruling is Ruling.INCONCLUSIVE


def test_a_first_model_whose_metric_is_no_number_is_not_let_in() -> None:
    alone = evaluation(models={"challenger": {"metrics": {"auc": float("nan")}}}, difference={})

    found = verdict(alone, has_champion=False, firstModel={"min": 0.5})
    assert found.ruling is Ruling.INCONCLUSIVE
