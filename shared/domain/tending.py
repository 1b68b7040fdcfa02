"""What endpoints need between rollouts: a lost rollout taken back, and what stands by too long taken away.

Decided from the record and one look at the endpoint, a step at a time: the next pass sees what is left.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.deploy import EndpointRecord
from shared.domain.fence import TENDER
from shared.domain.lease import TAG_MANAGED_BY, TAG_OWNER, TagFault, deadline_of
from shared.domain.names import deployment_name
from shared.domain.serving import DeploymentLook, DeploymentState, EndpointLook, serving
from shared.domain.wire import Wire

MAX_PER_PASS = 12  # chores: a wrong idea must not empty a workspace in a minute
MAX_LOOKS = 10  # endpoints looked at in one pass: an activity may take a minute
SWEEP_MINUTES = 10  # how often an endpoint is looked at of which the record says nothing
GRACE = timedelta(minutes=5)  # after the deadline, for the run's own restore to finish first


class TendRequest(Wire):
    """Look after endpoints between rollouts. `owners_over`: runs that are known to have ended."""

    owners_over: tuple[str, ...] = ()


class Chore(Wire):
    """One thing to do for an endpoint: restore `weights` of a lost rollout, or delete `deployment`.

    `epoch` is the record's: the chore is void if somebody took the endpoint since.
    """

    kind: Literal["restore", "retire", "free", "freeze"]
    endpoint: str
    platform: str
    epoch: int
    run: str = ""
    weights: dict[str, int] = {}
    deployment: str = ""
    is_gone: bool = False  # the endpoint itself
    reason: str = ""


class Chores(Wire):
    """What one look over all endpoint records and our deployments found. `alive` counts those in order."""

    chores: tuple[Chore, ...] = ()
    failed: tuple[str, ...] = ()  # endpoints that could not be looked at
    alive: int = 0
    now: datetime


class TendReport(Wire):
    restored: int = 0
    retired: int = 0
    freed: int = 0
    failed: tuple[str, ...] = ()
    alive: int = 0


def choose_looks(
    records: Iterable[EndpointRecord], *, over: Collection[str], now: datetime
) -> list[EndpointRecord]:
    """The endpoints to look at in this pass: those the record says something is to do for, then a share of the rest."""
    alive = [record for record in records if not record.frozen]
    lost = [record for record in alive if is_lost(record, over=over, now=now)]
    free = [record for record in alive if record.holder is None]
    due = [record for record in free if _is_due(record, now)]
    swept = [record for record in free if record not in due and _is_swept(record, now)]
    return [*lost, *due, *swept][:MAX_LOOKS]


def is_lost(record: EndpointRecord, *, over: Collection[str], now: datetime) -> bool:
    """Whether the one who holds the endpoint will not bring it to an end. A frozen one waits for a person."""
    if record.holder is None or record.frozen:
        return False
    if record.holder == TENDER or record.holder in over:
        return True
    return record.deadline is not None and now >= record.deadline + GRACE


def _is_due(record: EndpointRecord, now: datetime) -> bool:
    ends = [record.hold_until] if record.previous else []
    ends += [each.until for each in record.kept]
    return any(end is None or now >= end for end in ends)


def _is_swept(record: EndpointRecord, now: datetime) -> bool:
    return zlib.crc32(record.endpoint.encode()) % SWEEP_MINUTES == now.minute % SWEEP_MINUTES


def owners(look: EndpointLook) -> set[str]:
    """The runs that made what is there, as its tags say."""
    return {d.tags[TAG_OWNER] for d in look.deployments if _is_ours(d) and TAG_OWNER in d.tags}


def chores(
    record: EndpointRecord, look: EndpointLook, *, over: Collection[str], now: datetime
) -> list[Chore]:
    """What is to do for one endpoint now."""
    if record.frozen:
        return []
    if record.holder is None:
        return _retirements(record, look, over=over, now=now)
    return [_of_lost(record, look, now)] if is_lost(record, over=over, now=now) else []


def _of_lost(record: EndpointRecord, look: EndpointLook, now: datetime) -> Chore:
    """Take the endpoint over and write the last good map once more, whatever it shows: a write of the lost run may
    still be on its way, and only what is read back under our own epoch counts."""
    run = record.held_for or record.holder or ""
    chore = Chore(
        kind="free", endpoint=record.endpoint, platform=record.platform, epoch=record.epoch, run=run,
        weights=record.last_good, reason=f"{run} held it and is over, or past its deadline",
    )  # fmt: skip
    if not look.exists:
        return chore.model_copy(update={"is_gone": True, "reason": "the endpoint was deleted"})
    if not record.is_saved:
        return chore
    shown = serving(look.traffic)
    if not record.last_good and set(shown) - {deployment_name(run)}:
        return chore  # it was never live under us, and somebody else gave it traffic
    is_confirmed = look.epoch == record.epoch and look.state == "Succeeded"
    if record.holder == TENDER and is_confirmed and shown == serving(record.last_good):
        return chore.model_copy(update={"reason": "the last good map was read back"})
    if record.holder == TENDER and record.deadline and now >= record.deadline:
        return chore.model_copy(
            update={"kind": "freeze", "reason": f"it shows {shown}, not {record.last_good}"}
        )
    return chore.model_copy(update={"kind": "restore"})


def _retirements(
    record: EndpointRecord, look: EndpointLook, *, over: Collection[str], now: datetime
) -> list[Chore]:
    found = []
    there = {deployment.name: deployment for deployment in look.deployments}
    expired = _expired(record, now)
    for name in sorted({*there, *expired}):
        deployment = there.get(name)
        if deployment and (look.traffic.get(name) or deployment.state is DeploymentState.DELETING):
            continue
        reason = expired.get(name) or (_orphan(deployment, record, over, now) if deployment else "")
        if reason:
            chore = Chore(
                kind="retire", endpoint=record.endpoint, platform=record.platform, epoch=record.epoch,
                deployment=name, reason=reason,
            )  # fmt: skip
            found.append(chore)
    return found


def _expired(record: EndpointRecord, now: datetime) -> dict[str, str]:
    """What the record names and lets go, and why."""
    ended = {
        each.deployment.name: f"kept until {each.until.isoformat()}"
        for each in record.kept
        if now >= each.until
    }
    if record.previous and (record.hold_until is None or now >= record.hold_until):
        ended[record.previous.name] = "its hold is over"
    return ended


def _orphan(deployment: DeploymentLook, record: EndpointRecord, over: Collection[str], now: datetime) -> str:
    """Why a deployment that has no traffic and that no record names must go; "" while it may stay."""
    if not _is_ours(deployment) or deployment.name in _named(record):
        return ""
    owner = deployment.tags.get(TAG_OWNER, "")
    if owner in over:
        return f"its run {owner} is over and no record names it"
    try:
        deadline = deadline_of(deployment.tags)
    except TagFault as fault:
        return f"unreadable deadline: {fault}"
    return f"its deadline {deadline.isoformat()} passed" if now >= deadline + GRACE else ""


def _named(record: EndpointRecord) -> set[str]:
    refs: Sequence[str] = [ref.name for ref in (record.live, record.previous) if ref]
    return {*refs, *(each.deployment.name for each in record.kept)}


def _is_ours(deployment: DeploymentLook) -> bool:
    return TAG_MANAGED_BY in deployment.tags
