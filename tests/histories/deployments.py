"""Record the histories of deployments: `python -m tests.histories.deployments [CASE ...]`, answered as a script says."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from shared.domain.deploy import RollBackRequest
from shared.domain.errors import AppError, CapacityError, ConflictError, TransientError
from shared.domain.jobs import JobGlance, JobsReport, JobState
from shared.domain.serving import DeploymentState, TargetLook
from shared.domain.tending import TendRequest
from shared.domain.wire import Wire
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.crash.histories import histories_of, replay_fault
from tests.durable.converting_day import ConvertingDay
from tests.durable.drift_night import FAILED, LOST
from tests.durable.serving_day import BLUE, RUN, ServingDay, on_stage, request
from tests.durable.stage import Stage
from tests.histories.files import GOLDEN, SUFFIX, write
from tests.histories.record import _distinct
from tests.support.conversions import conversion

ROLLBACK = f"rollback-{RUN}"
BUSY = TransientError("Updating", code="Conflict", retry_after_s=60)
CANCELLED = JobsReport(jobs=(JobGlance(id="convert-e1", state=JobState.RUNNING),), cancel_requested=True)
ATTACHING = TargetLook(ready=False, attaching=True, reason="attaching")


def _day(**changed: Any) -> ServingDay:
    day = ServingDay(live=changed.pop("live", True))
    for name, value in changed.items():
        setattr(day, name, value)
    return day


@dataclass(frozen=True)
class Case:
    """`answers`: what the first calls of a step are answered instead of what is usual; `after`: what comes then."""

    day: ServingDay
    answers: Sequence[tuple[Step[Any, Any], Wire | AppError]] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    after: Callable[[Stage, ServingDay], None] = lambda azure, day: None


def cases() -> dict[str, Case]:
    asked = {"approval": {"required": True}}
    return {
        "good": Case(_day()),
        "approved": Case(_day(answer="approve"), changes=asked),
        "rejected": Case(_day(answer="reject"), changes=asked),
        "nobody-approves": Case(_day(), changes=asked),
        "first": Case(_day(live=False, answer="approve")),
        "errors": Case(_day(errors_at={5: 0.5})),
        "errors-later": Case(_day(errors_at={50: 0.5}), changes={"rollout": {"keepFailed": "PT0S"}}),
        "silent": Case(_day(silent=True)),
        "silent-approved": Case(_day(silent=True, answer="approve")),
        "green-failed": Case(_day(green_state=DeploymentState.FAILED)),
        "test-failed": Case(_day(failing_probe="golden")),
        "attached": Case(_day(), [(contracts.CHECK_TARGET, ATTACHING)]),
        "endpoint-busy": Case(_day(), [(contracts.SET_TRAFFIC, BUSY)]),
        "lineage": Case(_day(), [(contracts.CHECK_LINEAGE, ConflictError("another digest"))]),
        "cancelled-while-testing": Case(_day(stop_in="run_probe")),
        "rolled-back-while-shifting": Case(_day(stop="rollback", stop_in="record_step")),
        "taken-back": Case(_day(), after=_roll_back),
        "nothing-to-go-back-to": Case(_day(), after=_roll_back_in_vain),
        "frozen": Case(
            _day(errors_at={5: 0.5}, holds_writes=lambda change: change.weights == {BLUE.name: 100}),
            after=_thaw,
        ),
        "frozen-still": Case(
            _day(errors_at={5: 0.5}, holds_writes=lambda change: change.weights == {BLUE.name: 100}),
            after=_roll_back,
        ),
        "deleted": Case(_day(), after=_roll_back_what_is_gone),
        **_conversions(),
        **_profiles(),
        "lost": Case(_day(stop_in="hold_endpoint"), after=_tend),
    }


def _conversions() -> dict[str, Case]:
    declared = {"conversion": conversion()}
    return {
        "converted": Case(_converting(), changes=declared),
        "converted-before": Case(_converting(is_done=True), changes=declared),
        "converted-on-another-machine": Case(
            _converting(), [(contracts.OBSERVE_JOB, LOST)], changes=declared
        ),
        "converted-where-there-is-room": Case(
            _converting(), [(contracts.BEGIN_PROVISION, CapacityError("none left"))], changes=declared
        ),
        "not-converted": Case(_converting(found={"label_flips": 9}), changes=declared),
        "conversion-cancelled": Case(_converting(), [(contracts.OBSERVE_JOBS, CANCELLED)], changes=declared),
        "original-served": Case(
            _converting(), [(contracts.OBSERVE_JOB, FAILED)],
            changes={"conversion": conversion(onFailure="serve-original")},
        ),
    }  # fmt: skip


def _profiles() -> dict[str, Case]:
    sizes = ["Standard_F2s_v2", "Standard_F4s_v2"]
    declared = {
        "target": {"platform": "managed_endpoint", "endpoint": "flights-live", "compute": None},
        "resources": {"instanceType": sizes[0], "maxConcurrent": 4},
        "profile": {"instanceTypes": sizes, "load": {"requests": 50, "concurrency": [1, 4], "p95": "PT0.2S"}},
    }
    slow = {sizes[0]: 60.0, sizes[1]: 30.0}
    return {
        "profiled": Case(_day(p95_at=slow), changes=declared),
        "profiled-in-vain": Case(_day(p95_at=dict.fromkeys(sizes, 900.0)), changes=declared),
        "profile-cancelled": Case(_day(stop_in="run_probe"), changes=declared),
        "profile-without-quota": Case(
            _day(), [(contracts.BEGIN_DEPLOYMENT, CapacityError("OutOfQuota"))], changes=declared
        ),
    }  # fmt: skip


def _converting(**changed: Any) -> ServingDay:
    day = ConvertingDay()
    for name, value in changed.items():
        setattr(day, name, value)
    return day


def _roll_back(azure: Stage, day: ServingDay) -> None:
    asked = RollBackRequest(
        run=ROLLBACK, deploy_run=RUN, endpoint="flights-live", platform="aks", started_by="test"
    )
    azure.run(contracts.ROLL_BACK, asked, ROLLBACK)


def _roll_back_in_vain(azure: Stage, day: ServingDay) -> None:
    del day.deployments[BLUE.name]
    _roll_back(azure, day)


def _roll_back_what_is_gone(azure: Stage, day: ServingDay) -> None:
    day.exists = False
    _roll_back(azure, day)


def _thaw(azure: Stage, day: ServingDay) -> None:
    day.holds_writes = lambda _: False
    _roll_back(azure, day)


def _tend(azure: Stage, day: ServingDay) -> None:
    """Three passes: a lost rollout is taken back, the endpoint let go, and nothing is left to do."""
    day.record = day.record.model_copy(
        update={"holder": RUN, "is_saved": True, "last_good": {BLUE.name: 100}, "frozen": ""}
    )
    for number in range(3):
        azure._clock.advance(timedelta(minutes=1))
        azure.run(contracts.TEND_ENDPOINTS, TendRequest(owners_over=(RUN,)), f"tend-{number}")


def main(chosen: Sequence[str]) -> int:
    logging.disable(logging.CRITICAL)
    for name, case in cases().items():
        if chosen and name not in chosen:
            continue
        with on_stage(case.day) as azure:
            for step, answer in case.answers:
                azure.script(step, answer)
            azure.run(contracts.DEPLOY_MODEL, request(**case.changes), RUN)
            case.after(azure, case.day)
            histories = _distinct(list(histories_of(azure._hub)))
        for history in histories:
            if fault := replay_fault(history, every_turn=True):
                raise AssertionError(f"{name}, {history.instance}: {fault}")
        path = GOLDEN / f"deploy-{name}{SUFFIX}"
        write(path, histories)
        print(f"{path.name}: {len(histories)} histories, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
