"""Is the challenger better? One evaluation on the frozen test set in, a verdict with its table out.

What cannot be proved is Inconclusive and leaves the champion in place, like a rejection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from shared.domain.retraining import Gate, Slice
from shared.domain.wire import Wire

CHAMPION, CHALLENGER = "champion", "challenger"


class Ruling(StrEnum):
    PROMOTE = "Promote"
    REJECTED = "Rejected"
    INCONCLUSIVE = "Inconclusive"


class Interval(Wire):
    """A difference, challenger minus champion, with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def is_sound(self) -> bool:
        """NaN is in no order with anything, so that no rule would be broken by it: it must be told first."""
        return self.low <= self.value <= self.high and math.isfinite(self.low) and math.isfinite(self.high)

    def flipped(self) -> Interval:
        return Interval(value=-self.value, low=-self.high, high=-self.low)


class SliceLook(Wire):
    column: str
    value: str
    rows: int
    champion: float | None = None
    challenger: float | None = None
    difference: Interval | None = None


class ModelLook(Wire):
    metrics: dict[str, float] = {}
    error: str | None = None


class Evaluation(Wire):
    """What the evaluation job found: `models` and `difference` by role and by metric, `slices` by the gate's metric."""

    rows: int
    label_missing_rows: int = 0
    models: dict[str, ModelLook]
    difference: dict[str, Interval | None] = {}
    slices: tuple[SliceLook, ...] = ()


class GateRow(Wire):
    """A line of the gate's table: one rule, what was measured for it and how that was judged."""

    what: str
    champion: float | None = None
    challenger: float | None = None
    difference: Interval | None = None
    rule: str = ""
    ruling: Ruling = Ruling.PROMOTE
    reason: str = ""


class Verdict(Wire):
    ruling: Ruling
    reason: str
    rows: tuple[GateRow, ...] = ()

    def brief(self, most: int) -> Verdict:
        """With `most` rows at most, those that decided before those that let pass, and reasons of a readable length."""
        order = sorted(range(len(self.rows)), key=lambda n: (self.rows[n].ruling is Ruling.PROMOTE, n))
        kept = sorted(order[:most])
        rows = tuple(self.rows[n].model_copy(update={"reason": self.rows[n].reason[:200]}) for n in kept)
        return self.model_copy(update={"rows": rows, "reason": self.reason[:1000]})


def judge(evaluation: Evaluation | None, rules: Gate, *, has_champion: bool) -> Verdict:
    """Every rule is judged, in the order of the declaration; one that is not met decides, Rejected before Inconclusive.

    With too few rows nothing that was measured is believed, for better or worse.

    judge(AUC +0.02 [+0.01, +0.03], minGain 0) -> Promote; [-0.01, +0.03] -> Rejected: not proved better.
    """
    if evaluation is None:
        return Verdict(ruling=Ruling.INCONCLUSIVE, reason="there is no evaluation")
    rows = tuple(_rows(evaluation, rules, has_champion))
    if rows[0].ruling is Ruling.INCONCLUSIVE:
        return Verdict(ruling=Ruling.INCONCLUSIVE, reason=rows[0].reason, rows=rows)
    for ruling in (Ruling.REJECTED, Ruling.INCONCLUSIVE):
        if against := [row for row in rows if row.ruling is ruling]:
            return Verdict(ruling=ruling, reason="; ".join(row.reason for row in against), rows=rows)
    return Verdict(
        ruling=Ruling.PROMOTE,
        reason=next((row.reason for row in rows if row.reason), "every rule is met"),
        rows=rows,
    )


def _rows(evaluation: Evaluation, rules: Gate, has_champion: bool) -> Iterator[GateRow]:
    yield _enough_rows(evaluation, rules)
    if not has_champion:
        yield _first_model(evaluation, rules)
        return
    yield _gain(evaluation, rules)
    for each in rules.slices:
        yield from _slice_rows(evaluation.slices, each, rules)


def _enough_rows(evaluation: Evaluation, rules: Gate) -> GateRow:
    found, unlabelled = evaluation.rows, evaluation.label_missing_rows
    row = GateRow(what="labelled rows", challenger=float(found), rule=f"at least {rules.min_rows}")
    if found >= rules.min_rows:
        return row
    why = f"{found} labelled rows, minRows is {rules.min_rows}"
    return _against(
        row, Ruling.INCONCLUSIVE, why + (f"; {unlabelled} rows have no label" if unlabelled else "")
    )


def _first_model(evaluation: Evaluation, rules: Gate) -> GateRow:
    """There is no champion: only a rule made for that may let a model in."""
    challenger, missing = _metric(evaluation, CHALLENGER, rules.metric)
    row = GateRow(what=rules.metric, challenger=challenger)
    if rules.first_model is None:
        return _against(
            row, Ruling.INCONCLUSIVE, "there is no champion, and gate.firstModel does not say what will do"
        )
    least = rules.first_model.min
    row = row.model_copy(update={"rule": f"first model: {'at least' if _up(rules) else 'at most'} {least:g}"})
    if challenger is None:
        return _against(row, Ruling.INCONCLUSIVE, missing)
    if (challenger < least) if _up(rules) else (challenger > least):
        return _against(row, Ruling.REJECTED, f"first model: {rules.metric} {challenger:.4f}, {row.rule}")
    return row.model_copy(update={"reason": f"first model: {rules.metric} {challenger:.4f}"})


def _gain(evaluation: Evaluation, rules: Gate) -> GateRow:
    champion, without_champion = _metric(evaluation, CHAMPION, rules.metric)
    challenger, without_challenger = _metric(evaluation, CHALLENGER, rules.metric)
    gain = _towards_better(evaluation.difference.get(rules.metric), rules)
    row = GateRow(
        what=rules.metric,
        champion=champion,
        challenger=challenger,
        difference=gain,
        rule=f"gain above {rules.min_gain:g} with {rules.confidence:.0%} confidence",
    )
    if champion is None or challenger is None or gain is None:
        missing = without_challenger or without_champion or f"no confidence interval of {rules.metric}"
        return _against(row, Ruling.INCONCLUSIVE, missing)
    told = f"{rules.metric} {champion:.4f} -> {challenger:.4f}, gain {_told(gain)}"
    if gain.low > rules.min_gain:
        return row.model_copy(update={"reason": told})
    return _against(row, Ruling.REJECTED, f"not proved better: {told}, must exceed {rules.min_gain:g}")


def _slice_rows(looks: tuple[SliceLook, ...], rule: Slice, rules: Gate) -> Iterator[GateRow]:
    """Slices too small to say anything are left out; that none is large enough is Inconclusive."""
    large = [look for look in looks if look.column == rule.column and look.rows >= rule.min_rows]
    if not large:
        row = GateRow(what=f"slices by {rule.column}", rule=f"at least one of {rule.min_rows} rows")
        yield _against(row, Ruling.INCONCLUSIVE, f"no slice by {rule.column} has {rule.min_rows} rows")
    for look in large:
        gain = _towards_better(look.difference, rules)
        row = GateRow(
            what=f"{rules.metric} where {look.column} = {look.value}",
            champion=_finite(look.champion),
            challenger=_finite(look.challenger),
            difference=gain,
            rule=f"loss at most {rule.max_loss:g}",
        )
        if gain is None:
            yield _against(row, Ruling.INCONCLUSIVE, f"{row.what}: not measured")
        elif -gain.value > rule.max_loss:
            told = f"slice: {row.what} lost {-gain.value:.4f}, maxLoss is {rule.max_loss:g}"
            yield _against(row, Ruling.REJECTED, told)
        else:
            yield row


def _metric(evaluation: Evaluation, role: str, metric: str) -> tuple[float | None, str]:
    """(value, why there is none)."""
    look = evaluation.models.get(role)
    if look is None:
        return None, f"the {role} was not evaluated"
    if look.error:
        return None, f"the {role} cannot be evaluated: {look.error}"
    if metric not in look.metrics:
        return None, f"the {role} has no {metric}"
    value = _finite(look.metrics[metric])
    return value, "" if value is not None else f"the {role}'s {metric} is {look.metrics[metric]}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _towards_better(difference: Interval | None, rules: Gate) -> Interval | None:
    """The gain; None if there is no such interval, or it is none."""
    if difference is None or not difference.is_sound:
        return None
    return difference if _up(rules) else difference.flipped()


def _up(rules: Gate) -> bool:
    return rules.goal == "maximize"


def _told(gain: Interval) -> str:
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def _against(row: GateRow, ruling: Ruling, reason: str) -> GateRow:
    return row.model_copy(update={"ruling": ruling, "reason": reason})


def read_evaluation(record: Mapping[str, Any]) -> Evaluation:
    """The evaluation job's record. Raises ValueError if it is not one."""
    return Evaluation.model_validate(record)
