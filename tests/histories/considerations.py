"""Record the histories of considered events: `python -m tests.histories.considerations`. Answers are as a script says."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from localdev.runner.hub import TaskHub
from shared.domain.considering import EventTruth
from shared.domain.errors import TransientError
from shared.domain.ml_events import EventKind, MlEvent
from shared.domain.retrain_decision import Action, Decision
from shared.domain.wire import Wire
from shared.durable import contracts
from tests.crash.clock import VirtualClock
from tests.crash.histories import histories_of, replay_fault
from tests.durable.stage import Answer, Stage
from tests.histories.files import GOLDEN, SUFFIX, write

_AT = datetime(2026, 3, 1, 2, tzinfo=UTC)
EVENT = MlEvent(
    kind=EventKind.DRIFT, source="/w", subject="runs/d7", run="d7", monitor="m", coefficient=0.4, occurred=_AT
)  # fmt: skip
_HEARD = EventTruth(run_status="Failed", workloads=("one",))
_TWO = EventTruth(run_status="Failed", workloads=("one", "two"))


def decision(action: Action, workload: str = "one", *, look: timedelta = timedelta(minutes=30)) -> Decision:
    waits = action is Action.WAIT
    return Decision(
        workload=workload, key=EVENT.key, action=action, reasons=("because",), at=_AT,
        look_at=VirtualClock().now() + look if waits else None,
    )  # fmt: skip


SCRIPTS: dict[str, tuple[list[Answer], list[Answer]]] = {
    "started": ([_HEARD], [decision(Action.START)]),
    "unheard": ([EventTruth()], [decision(Action.IGNORE, "_")]),
    "waited-and-deferred": (
        [_HEARD] * 3,
        [decision(Action.WAIT), decision(Action.WAIT, look=timedelta(hours=1)), decision(Action.DEFER)],
    ),
    "one-of-two-waited": (
        [_TWO] * 2,
        [decision(Action.ATTACH), decision(Action.WAIT, "two"), decision(Action.START, "two")],
    ),
    "throttled": (
        [TransientError("slow down", code="429", retry_after_s=30), _HEARD],
        [TransientError("contended", code="Contended", retry_after_s=5), decision(Action.START)],
    ),
    "crashed": ([RuntimeError("killed"), _HEARD], [RuntimeError("killed"), decision(Action.START)]),
}  # fmt: skip


def main() -> int:
    for name, (truths, decisions) in SCRIPTS.items():
        clock = VirtualClock()
        with TaskHub.open(None, clock=clock) as hub:
            stage = Stage(hub, clock, _unscripted)
            stage.script(contracts.READ_EVENT_TRUTH, *truths)
            stage.script(contracts.DECIDE_RETRAINING, *decisions)
            stage.outcome(contracts.CONSIDER_EVENT, EVENT, f"event-{EVENT.key}")
            histories = list(histories_of(hub))
        for history in histories:
            if fault := replay_fault(history, every_turn=True):
                raise AssertionError(f"{name}: {fault}")
        path = GOLDEN / f"event-{name}{SUFFIX}"
        write(path, histories)
        print(f"{path.name}: {len(histories)} histories, {path.stat().st_size} bytes")
    return 0


def _unscripted(step: str, payload: Any) -> Wire:
    """Asked before each scripted answer, and never given."""
    return EventTruth()


if __name__ == "__main__":
    sys.exit(main())
