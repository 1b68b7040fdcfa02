"""What crosses the durable boundary while an event is considered."""

from __future__ import annotations

from datetime import datetime

from shared.domain.ml_events import MlEvent
from shared.domain.retrain_decision import Decision
from shared.domain.wire import Wire


class EventTruth(Wire):
    """What is so, whatever the event says: its run's status (None: Azure ML knows no such run), and who listens."""

    run_status: str | None = None
    workloads: tuple[str, ...] = ()


class DecideRequest(Wire):
    """Decide about an event for one workload; for none ("") it is put on record that nobody listens."""

    event: MlEvent
    workload: str
    now: datetime
    waiting_since: datetime
    run_status: str | None = None


class EventOutcome(Wire):
    """What was decided. `error`: why nothing could be; the event stays marked as one that nobody considered."""

    key: str
    decisions: tuple[Decision, ...] = ()
    error: str = ""
