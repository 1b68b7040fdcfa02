"""A run as a person wants to see it: one value made of the orchestrations' statuses and the agents' progress."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from shared.domain.jobs import Progress
from shared.domain.scoring import RunOutcome
from shared.domain.status import RunStatus
from shared.domain.wire import Wire

_FAR = datetime.max.replace(tzinfo=UTC)
OVER = ("Completed", "Failed", "Terminated", "Canceled")


class InstanceLook(Wire):
    """One orchestration as the task hub knows it. `as_of` is when it last said something."""

    id: str
    runtime: str
    status: RunStatus | None = None
    created: datetime | None = None
    as_of: datetime | None = None
    outcome: RunOutcome | None = None
    error: str = ""

    @property
    def is_over(self) -> bool:
        return self.runtime in OVER


class MachineReport(Wire):
    """A machine that a run holds. `spent_usd` is what it has cost as of the last look."""

    lease: str
    machine: str
    phase: str
    waiting_for: str
    since: datetime | None
    next_look: datetime | None
    usd_per_hour: float
    spent_usd: float


class RunReport(Wire):
    id: str
    state: str
    phase: str
    waiting_for: str = ""
    since: datetime | None = None
    next_look: datetime | None = None
    percent: float = 0.0
    items_done: int = 0
    items_total: int = 0
    rows: int = 0
    quarantined: int = 0
    machines: tuple[MachineReport, ...] = ()
    spent_usd: float = 0.0
    as_of: datetime | None = None
    started: datetime | None = None
    error: str = ""
    outcome: RunOutcome | None = None


def build_report(
    root: InstanceLook, batches: Sequence[InstanceLook], progress: Sequence[Progress]
) -> RunReport:
    """The whole run: its own status, or that of the batch it waits for, and what its machines cost so far."""
    status = root.status or RunStatus(phase=root.runtime)
    working = [b for b in batches if not b.is_over and b.status]
    slowest = min(working, key=lambda b: (b.status and b.status.since) or b.created or _FAR, default=None)
    focus = slowest.status if slowest and slowest.status else status
    machines = tuple(_machine(b) for b in working if b.status and b.status.lease)
    closed = sum(b.status.spent_usd for b in batches if b.status)
    done, total = sum(p.items_done for p in progress), sum(p.items_total for p in progress)
    outcome = root.outcome
    return RunReport(
        id=root.id,
        state=outcome.state if outcome else root.runtime,
        phase=focus.phase,
        waiting_for="" if root.is_over else focus.waiting_for,
        since=focus.since,
        next_look=None if root.is_over else focus.next_look,
        percent=100.0 if outcome and outcome.receipt else round(100 * done / total, 1) if total else 0.0,
        items_done=done,
        items_total=total,
        rows=sum(p.rows for p in progress),
        quarantined=sum(p.items_quarantined for p in progress),
        machines=machines,
        spent_usd=outcome.usd if outcome else round(closed + sum(m.spent_usd for m in machines), 6),
        as_of=max((look.as_of for look in (root, *batches) if look.as_of), default=None),
        started=root.created,
        error=root.error,
        outcome=outcome,
    )


def _machine(batch: InstanceLook) -> MachineReport:
    status = batch.status or RunStatus(phase=batch.runtime)
    hours = 0.0
    if status.billing_since and batch.as_of:
        hours = max(0.0, (batch.as_of - status.billing_since).total_seconds() / 3600)
    return MachineReport(
        lease=status.lease,
        machine=status.machine,
        phase=status.phase,
        waiting_for=status.waiting_for,
        since=status.since,
        next_look=status.next_look,
        usd_per_hour=status.usd_per_hour,
        spent_usd=round(hours * status.usd_per_hour, 6),
    )
