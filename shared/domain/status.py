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
    percent: int = 0  # of a rollout's way, from the first look at its target to the commit
    weights: dict[str, int] = {}  # of an endpoint, as they were last written or read back
    rows: tuple[str, ...] = ()  # what tests and steps have shown so far: a line each, bounded
