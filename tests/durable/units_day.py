"""A day on which a model is trained anew for each unit: what the steps of judging and registering them answer."""

from __future__ import annotations

from typing import Any

from shared.domain.gate import GateRow, Ruling, Verdict
from shared.domain.registry import ModelRef
from shared.domain.retrain import Registered, RetrainRequest, TrialPlan
from shared.domain.unit_steps import (
    ClaimedVersion,
    CopyUnitsRequest,
    UnitEvaluationJobRequest,
    UnitsVerdict,
)
from shared.domain.units import UNITS, UnitsSummary
from shared.domain.wire import Wire
from tests.durable.night import Night, _blob
from tests.durable.retraining_day import CHAMPION, Day, request

OF_UNITS = CHAMPION.model_copy(update={"flavor": UNITS, "file": "UNITS.json"})
NEXT = OF_UNITS.model_copy(update={"version": "2", "prefix": "m/2/"})
ROWS = tuple(GateRow(what=f"auc of unit store-{n}", reason="not proved better" * 5) for n in range(10))


def units_request(**changes: Any) -> RetrainRequest:
    trials = {"unitColumn": "store", "minValid": 1, **changes.pop("trials", {})}
    return request(trials=trials, limits={"deadline": "P2D", "ttl": "P3D"}, **changes)


class UnitsDay(Day):
    """`units` of which all were trained in a few jobs. `copied`: how often each model was copied."""

    def __init__(
        self, units: int, *, champion: ModelRef = OF_UNITS, cluster: bool = True, **options: Any
    ) -> None:
        super().__init__(units, cluster=cluster, **options)
        self._units, self._champion = units, champion
        self.judged: list[int] = []
        self.copied: list[int] = []

    def read_model(self, _: Any) -> Wire:
        return self._champion

    def plan_trials(self, _: Any) -> Wire:
        count = self._units
        return TrialPlan(
            trials=_blob("trials.json"), count=count, per_job=-(-count // 4), unit_column="store"
        )

    check_units = Night._nothing

    def write_unit_evaluation_job(self, payload: Any) -> Wire:
        asked = UnitEvaluationJobRequest.model_validate(payload)
        self.judged.append(asked.index)
        return self._job(f"units{asked.index:05d}-e{asked.epoch}r{asked.attempt}")

    def judge_units(self, _: Any) -> Wire:
        summary = UnitsSummary(promoted=self._units - 1, kept=1, held=self._units, table=_blob("table.jsonl"))
        verdict = Verdict(ruling=Ruling.PROMOTE, reason="units: most promoted", rows=ROWS)
        return UnitsVerdict(verdict=verdict, summary=summary, next=_blob("next.json"))

    def claim_units_version(self, _: Any) -> Wire:
        return ClaimedVersion(version="2")

    def copy_units(self, payload: Any) -> Wire:
        asked = CopyUnitsRequest.model_validate(payload)
        self.copied += range(asked.start, asked.stop)
        return self._nothing(payload)

    def register_units(self, payload: Any) -> Wire:
        assert payload["version"] == "2"
        return Registered(model=NEXT, promoted=True)
