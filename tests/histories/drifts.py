"""Record the histories of measured drift: `python -m tests.histories.drifts`. Answers are as a script says."""

from __future__ import annotations

import sys
from typing import Any

from shared.domain.drift import Comparison
from shared.domain.errors import CapacityError, JobFailed, TransientError
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.crash.histories import histories_of, replay_fault
from tests.durable.drift_night import FAILED, GOING, LOST, MANIFEST, DriftNight
from tests.durable.stage import Answer, stage
from tests.histories.files import GOLDEN, SUFFIX, write
from tests.support.drifts import drift_monitor, parsed, request

_CANCELLED = GOING.model_copy(update={"cancel_requested": True})
SCRIPTS: dict[str, dict[Step[Any, Any], list[Answer]]] = {
    "plain": {contracts.OBSERVE_JOBS: [GOING, GOING]},
    "nothing-to-compare": {contracts.FREEZE_COMPARISON: [Comparison(manifest=MANIFEST, target_blobs=7)]},
    "machine-lost": {contracts.OBSERVE_JOB: [LOST]},
    "no-room": {contracts.BEGIN_PROVISION: [CapacityError("SkuNotAvailable"), CapacityError("AllocationFailed")]},
    "job-failed": {contracts.OBSERVE_JOB: [FAILED]},
    "no-measurement": {contracts.READ_MEASUREMENT: [JobFailed("none of 3 common columns has ks")]},
    "cancelled": {contracts.OBSERVE_JOBS: [GOING, _CANCELLED]},
    "throttled": {
        contracts.FREEZE_COMPARISON: [TransientError("slow down", code="429", retry_after_s=30)],
        contracts.REPORT_DRIFT: [RuntimeError("killed")],
    },
}  # fmt: skip


def main() -> int:
    asked = request(parsed(drift_monitor("flights-drift")))
    for name, script in SCRIPTS.items():
        with stage(DriftNight()) as azure:
            for step, answers in script.items():
                azure.script(step, *answers)
            azure.run(contracts.MEASURE_DRIFT, asked, asked.run)
            histories = list(histories_of(azure._hub))
        for history in histories:
            if fault := replay_fault(history, every_turn=True):
                raise AssertionError(f"{name}: {fault}")
        path = GOLDEN / f"drift-{name}{SUFFIX}"
        write(path, histories)
        print(f"{path.name}: {len(histories)} histories, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
