"""What a run says of itself while it works: phase, what it waits for and since when, and when it looks next."""

from __future__ import annotations

from datetime import datetime

from shared.domain.wire import Wire


class RunStatus(Wire):
    """The custom status of an orchestration. Small: it is stored with every turn."""

    phase: str
    waiting_for: str = ""
    since: datetime | None = None
    next_look: datetime | None = None
    lease: str = ""
    machine: str = ""
    usd_per_hour: float = 0.0
    billing_since: datetime | None = None
    spent_usd: float = 0.0
    notes: tuple[str, ...] = ()
