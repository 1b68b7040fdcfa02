"""A run as a person wants to see it: one value made of the orchestrations' statuses and the agents' progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.domain.deploy import DeployOutcome, DeployState
from shared.domain.drift import DriftOutcome, measure_instance_id
from shared.domain.jobs import Progress
from shared.domain.retrain import RetrainOutcome
from shared.domain.scoring import RunOutcome, batch_instance_id
from shared.domain.status import RunStatus
from shared.domain.wire import Wire
from shared.domain.workload import MAX_INSTANCES

type Outcome = RunOutcome | RetrainOutcome | DriftOutcome | DeployOutcome
# What a root orchestration answers with, by its name.
OUTCOMES: Mapping[str, type[RunOutcome | RetrainOutcome | DriftOutcome | DeployOutcome]] = {
    "score_batch": RunOutcome,
    "retrain": RetrainOutcome,
    "measure_drift": DriftOutcome,
    "deploy_model": DeployOutcome,
    "roll_back": DeployOutcome,
}
_ROOTS = {
    "score": "score_batch",
    "train": "retrain",
    "drift": "measure_drift",
    "deploy": "deploy_model",
    "rollback": "roll_back",
}  # by what a run's id begins with
_ITEMS = {"train": "trials", "drift": "measurements", "deploy": "steps", "rollback": "steps"}

_FAR = datetime.max.replace(tzinfo=UTC)
OVER = ("Completed", "Failed", "Terminated", "Canceled")


class InstanceLook(Wire):
    """One orchestration as the task hub knows it. `as_of` is when it last said something."""

    id: str
    runtime: str
    status: RunStatus | None = None
    created: datetime | None = None
    as_of: datetime | None = None
    outcome: Outcome | None = None
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
    """`items` are what the run is made of: inputs to be scored, trials, its one measurement, or steps of a rollout."""

    id: str
    state: str
    phase: str
    waiting_for: str = ""
    since: datetime | None = None
    next_look: datetime | None = None
    percent: float = 0.0
    items: str = "inputs"
    items_done: int = 0
    items_total: int = 0
    rows: int = 0
    quarantined: int = 0
    machines: tuple[MachineReport, ...] = ()
    spent_usd: float = 0.0
    as_of: datetime | None = None
    started: datetime | None = None
    error: str = ""
    outcome: Outcome | None = None


def read_look(
    id_: str,
    name: str,
    *,
    runtime: str,
    custom: object,
    output: object,
    created: datetime | None,
    updated: datetime | None,
) -> InstanceLook:
    """What a task hub keeps of an instance. `custom` and `output` are its JSON; a failed one's output is the reason."""
    answer = output.get("ok") if isinstance(output, dict) else None
    outcome = OUTCOMES[name].model_validate(answer) if answer and name in OUTCOMES else None
    return InstanceLook(
        id=id_,
        runtime=runtime,
        status=RunStatus.model_validate(custom) if isinstance(custom, dict) else None,
        created=created,
        as_of=updated,
        outcome=outcome,
        error=str(output) if runtime == "Failed" and output else "",
    )


def read_outcome(run: str, record: object) -> Outcome:
    """The outcome that is on record of a run."""
    return OUTCOMES[_ROOTS[_verb(run)]].model_validate(record)


def is_retraining(run: str) -> bool:
    return _verb(run) == "train"


def is_deployment(run: str) -> bool:
    """Whether the run writes an endpoint's traffic: a deployment, or what takes one back after its commit."""
    return _verb(run) in ("deploy", "rollback")


def _verb(run: str) -> str:
    return run.partition("-")[0]


def child_ids(run: str) -> list[str]:
    """The children of a run that may hold machines: its batches, its lanes of trials and its evaluation, or its one."""
    if is_retraining(run):
        return [*(f"{run}.t{lane:02d}" for lane in range(MAX_INSTANCES)), f"{run}.eval"]
    if _verb(run) == "drift":
        return [measure_instance_id(run)]
    if is_deployment(run):
        return [run]  # it has no children: what serves is its own
    return [batch_instance_id(run, index) for index in range(MAX_INSTANCES)]


def summary(look: InstanceLook) -> dict[str, Any]:
    """A run's line in a list of runs."""
    return {
        "id": look.id,
        "state": look.outcome.state if look.outcome else look.runtime,
        "phase": look.status.phase if look.status else "",
        "created": look.created.isoformat() if look.created else None,
    }


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
        percent=100.0 if _is_whole(outcome) else round(100 * done / total, 1) if total else 0.0,
        items=_ITEMS.get(_verb(root.id), "inputs"),
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


def _is_whole(outcome: Outcome | None) -> bool:
    """Whether the run came to the end that it was started for."""
    match outcome:
        case RunOutcome():
            return outcome.receipt is not None
        case RetrainOutcome():
            return bool(outcome.verdict)
        case DriftOutcome():
            return outcome.measurement is not None
        case DeployOutcome():
            return outcome.state is DeployState.COMPLETED
        case None:
            return False


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
