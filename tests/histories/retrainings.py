"""Record the histories of retrainings: `python -m tests.histories.retrainings [NAME ...]`. A script answers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.domain.errors import AppError, CapacityError, LeaseLost, NotFoundError, SpecError, TransientError
from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import JobLook, JobReport, JobState
from shared.domain.retrain import TrialResults
from shared.domain.unit_steps import UnitsVerdict
from shared.domain.units import UnitsSummary
from shared.domain.wire import Wire
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.crash.histories import histories_of, replay_fault
from tests.durable.retraining_day import RUN, Day, request
from tests.durable.stage import stage
from tests.durable.sweep_day import SWEEP, SweepDay
from tests.durable.units_day import UnitsDay
from tests.histories.files import GOLDEN, SUFFIX, write
from tests.histories.record import _distinct

TAKEN = JobReport(look=JobLook(state=JobState.FAILED, preempted=True))
CRASHED = JobReport(look=JobLook(state=JobState.FAILED, exit_code=1))
LOST = Verdict(ruling=Ruling.REJECTED, reason="no unit has a better model: 4 kept")
STORES = {"trials": {"unitColumn": "store", "concurrency": 2, "minValid": 1}}
FEW = {"count": 4, "concurrency": 2, "minValid": 1}


@dataclass(frozen=True)
class Case:
    """`answers`: what the first calls of a step are answered instead of what is usual."""

    day: Day
    answers: Sequence[tuple[Step[Any, Any], Wire | AppError]] = ()
    changes: dict[str, Any] = field(default_factory=dict)


def cases() -> dict[str, Case]:
    return {
        "promoted": Case(Day(4)),
        "on-machines": Case(Day(4, cluster=False, looks=2)),
        "two-chunks": Case(Day(21), changes={"trials": {"count": 21, "concurrency": 4}}),
        "rejected": Case(
            Day(4), [(contracts.JUDGE_MODELS, Verdict(ruling=Ruling.REJECTED, reason="not proved better"))]
        ),
        "too-few-valid": Case(Day(4), [(contracts.READ_RESULTS, TrialResults(valid=0, failed=4))]),
        "first-model": Case(Day(4), [(contracts.READ_MODEL, NotFoundError("none", code="NoChampion"))]),
        "schema-changed": Case(Day(4), [(contracts.FREEZE_DATA, SpecError("distance is missing"))]),
        "node-taken-away": Case(Day(4), [(contracts.OBSERVE_JOB, TAKEN)]),
        "job-failed": Case(Day(4), [(contracts.OBSERVE_JOB, CRASHED)]),
        "cluster-refused": Case(Day(4), [(contracts.BEGIN_PROVISION, CapacityError("SkuNotAvailable"))]),
        "cluster-lost": Case(Day(4), [(contracts.OBSERVE_JOBS, LeaseLost("gone"))]),
        "throttled": Case(Day(4), [(contracts.SUBMIT_JOB, TransientError("429", retry_after_s=30))]),
        "cancelled-while-training": Case(Day(4, looks=3, cancelled_in="submit_job")),
        "cancelled-while-judging": Case(Day(4, looks=3, cancelled_in="write_evaluation_job")),
        "units": Case(Day(4), changes={"trials": {"unitColumn": "carrier", "concurrency": 2}}),
        "units-judged": Case(UnitsDay(401), changes=STORES),
        "units-two-chunks": Case(UnitsDay(4_001), changes=STORES),
        "units-on-a-machine": Case(UnitsDay(201, cluster=False), changes=STORES),
        "units-none-better": Case(
            UnitsDay(4),
            [(contracts.JUDGE_UNITS, UnitsVerdict(verdict=LOST, summary=UnitsSummary(kept=4)))],
            changes=STORES,
        ),
        "units-cluster-lost": Case(
            UnitsDay(4), [(contracts.WRITE_UNIT_EVALUATION_JOB, LeaseLost("gone"))], changes=STORES
        ),
        "sweep": Case(SweepDay(), changes={"trials": {**FEW, **SWEEP}}),
        "out-of-time": Case(
            Day(12, looks=20),
            changes={"limits": {"deadline": "PT1H", "ttl": "PT2H"}, "compute": {"instances": 2},
                     "trials": {**FEW, "count": 12}},
        ),
    }  # fmt: skip


def main() -> int:
    logging.disable(logging.CRITICAL)
    every = cases()
    for name in sys.argv[1:] or every:
        case = every[name]
        with stage(case.day) as azure:
            for step, answer in case.answers:
                azure.script(step, answer)
            changes = {"trials": FEW, **case.changes}
            asked = request(**changes)
            azure.run(contracts.RETRAIN, asked, RUN)
            histories = _distinct(list(histories_of(azure._hub)))
        for history in histories:
            if fault := replay_fault(history, every_turn=True):
                raise AssertionError(f"{name}, {history.instance}: {fault}")
        path = GOLDEN / f"retrain-{name}{SUFFIX}"
        write(path, histories)
        print(f"{path.name}: {len(histories)} histories, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
