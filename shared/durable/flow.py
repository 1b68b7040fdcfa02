"""What orchestrators are written with: call a step, wait, gather, hold a lease. The only caller of the durable context.

Every function here is a generator to be used with `yield from`. Nothing reads a clock, an environment or a random
number: time is `flow.now`, and it is the same on every replay.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import azure.durable_functions as df

from shared.domain.errors import AppError, Cancelled, TransientError
from shared.domain.status import RunStatus
from shared.domain.wire import Wire
from shared.durable import wire
from shared.durable.contracts import Step

logger = logging.getLogger("muster.flow")

CANCEL_EVENT = "cancel"
WAKE_EVENT = "wake"  # something was put on record that a run may be waiting for
MAX_TRANSIENT_TRIES = 8
DEFAULT_RETRY_AFTER_S = 60.0  # what Cluster API's Azure provider waits when a throttled answer names no time
# A crashed worker or a bug: the SDK's own retry has it. Expected failures come back as values and never get here.
CRASH_RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=5_000, max_number_of_attempts=3)

type Steps[T] = Generator[Any, Any, T]


@dataclass(frozen=True)
class Outcome[O]:
    """How one of several gathered pieces of work ended: with a value or with the error it failed with."""

    value: O | None = None
    error: AppError | None = None


class Flow:
    """One orchestration's durable context, in our words."""

    def __init__(self, context: df.DurableOrchestrationContext) -> None:
        self._context = context
        self._status = RunStatus(phase="started")
        self._cancel: Any = None
        self._word: Any = None
        self._next_look: datetime | None = None

    @property
    def now(self) -> datetime:
        moment: datetime = self._context.current_utc_datetime
        return moment

    @property
    def instance_id(self) -> str:
        return str(self._context.instance_id)

    def call[I: Wire, O: Wire](
        self, step: Step[I, O], payload: I, *, tries: int = MAX_TRANSIENT_TRIES
    ) -> Steps[O]:
        """Run an activity and give its answer. Raises the AppError it failed with.

        What Azure asks to wait for is waited for here, on a durable timer, until the activity was asked `tries` times.
        """
        for attempt in range(1, tries + 1):
            answer = yield self._context.call_activity_with_retry(
                step.name, CRASH_RETRY, wire.to_wire(payload)
            )
            try:
                return wire.read_answer(step.output, answer, step.name)
            except TransientError as error:
                if attempt == tries:
                    raise
                delay = (error.retry_after_s or DEFAULT_RETRY_AFTER_S) + self._jitter_s(step.name, attempt)
                before = self._status
                self.status(waiting_for=f"{step.name}: {error}", next_look_s=delay)
                yield from self.sleep(delay)
                self._show(before)
        raise AssertionError("unreachable")

    def gather[I: Wire, O: Wire](
        self, step: Step[I, O], requests: Sequence[I], instance_id: Callable[[I], str]
    ) -> Steps[list[Outcome[O]]]:
        """Run a sub-orchestrator per request and wait for all. Outcomes come in order; one failure hides no other."""
        tasks = [
            self._context.call_sub_orchestrator(step.name, wire.to_wire(request), instance_id(request))
            for request in requests
        ]
        if not tasks:
            return []
        try:
            yield self._context.task_all(tasks)
        except Exception as error:  # noqa: BLE001  # a child that died of a bug: the others' results still count
            self.note("a child failed", error=str(error))
        return [self._settled(step, task) for task in tasks]

    def sleep(self, seconds: float) -> Steps[None]:
        """Wait on a durable timer, whatever happens."""
        yield self._context.create_timer(self.now + timedelta(seconds=max(seconds, 0.001)))

    def rest(self, seconds: float) -> Steps[None]:
        """Wait on a durable timer or for cancellation. Raises Cancelled."""
        if self._cancel is None:
            self._cancel = self._context.wait_for_external_event(CANCEL_EVENT)
        self._next_look = self.now + timedelta(seconds=max(seconds, 0.001))
        timer = self._context.create_timer(self._next_look)
        first = yield self._context.task_any([timer, self._cancel])
        if first is self._cancel:
            timer.cancel()
            raise Cancelled(f"cancelled: {self._cancel.result or 'no reason given'}")

    def nap(self, seconds: float) -> Steps[bool]:
        """Wait on a durable timer or for word that a record was written; gives whether word came.

        The word says nothing: what counts is the record, which the next look reads, with or without the word.
        """
        if self._word is None:
            self._word = self._context.wait_for_external_event(WAKE_EVENT)
        timer = self._context.create_timer(self.now + timedelta(seconds=max(seconds, 0.001)))
        first = yield self._context.task_any([timer, self._word])
        if first is not self._word:
            return False
        timer.cancel()
        self._word = None
        return True

    def sit_out_the_rest(self) -> Steps[None]:
        """Wait until the look that a cancellation came before: Azure named that time, whatever we want to ask of it."""
        if self._next_look is not None and self.now < self._next_look:
            yield from self.sleep((self._next_look - self.now).total_seconds())

    def status(
        self, phase: str | None = None, *, waiting_for: str = "", next_look_s: float = 0, **facts: Any
    ) -> None:
        """Say where the run is. `since` restarts when phase or waiting_for change."""
        old = self._status
        moved = (phase is not None and phase != old.phase) or waiting_for != old.waiting_for
        self._show(
            old.model_copy(
                update={
                    "phase": phase or old.phase,
                    "waiting_for": waiting_for,
                    "since": self.now if moved or old.since is None else old.since,
                    "next_look": self.now + timedelta(seconds=next_look_s) if next_look_s else None,
                    **facts,
                }
            )
        )

    def note(self, event: str, **fields: Any) -> None:
        """Log once, not on every replay."""
        if not self._context.is_replaying:
            logger.info(event, extra={"run": self.instance_id, **fields})

    def _show(self, status: RunStatus) -> None:
        self._status = status
        self._context.set_custom_status(wire.to_wire(status))

    def _settled[I: Wire, O: Wire](self, step: Step[I, O], task: Any) -> Outcome[O]:
        if getattr(task, "is_failed", False):
            return Outcome(error=AppError(f"{step.name} died: {task.get_exception()}"))
        try:
            return Outcome(value=wire.read_answer(step.output, task.result, step.name))
        except AppError as error:
            return Outcome(error=error)

    def _jitter_s(self, step: str, attempt: int) -> float:
        """0 to 5 seconds, spread by instance so that a hundred runs do not knock at once; the same on every replay."""
        return zlib.crc32(f"{self.instance_id}/{step}/{attempt}".encode()) % 5000 / 1000
