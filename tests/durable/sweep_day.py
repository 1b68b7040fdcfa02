"""A day on which Azure ML runs a retraining's search: what it answers to each look at the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.domain.jobs import BlobRef
from shared.domain.lease import Operation
from shared.domain.sweep import SweepClosed, SweepLook, SweepSpec, WrittenSweep
from shared.domain.wire import Wire
from tests.durable.retraining_day import Day

SWEEP = {"engine": "sweep", "earlyTermination": {"type": "median_stopping"}}
AT_WORK = SweepLook(state="Running", children=4, running=4)
OVER = SweepLook(state="Completed", is_over=True, succeeded=True, children=8, done=7, stopped=1)
_BLOB = BlobRef(container="muster", blob="b")


class SweepDay(Day):
    """The looks at the sweep are `looks`, the last of them for ever."""

    def __init__(self, *looks: SweepLook) -> None:
        super().__init__()
        self._looks_at: Sequence[SweepLook] = looks or (AT_WORK, AT_WORK, OVER)
        self._look = 0

    def write_sweep(self, _: Any) -> Wire:
        return WrittenSweep(sweep=SweepSpec(id="sweep-e1", agent=_BLOB, job=_BLOB, search=_BLOB, trials=8))

    def submit_sweep(self, _: Any) -> Wire:
        return Operation(poll_after_s=1.0)

    def observe_sweep(self, _: Any) -> Wire:
        self._look += 1
        seen = self._looks_at[min(self._look, len(self._looks_at)) - 1]
        return seen.model_copy(update={"cancel_requested": self._is_cancelled})

    def close_sweep(self, _: Any) -> Wire:
        return SweepClosed(recorded=1)
