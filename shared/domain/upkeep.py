"""Which machines are nobody's any more. Decided from their tags alone, never from our own memory."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from shared.domain.lease import TAG_EPOCH, TAG_LEASE, TAG_OWNER, Lease, OwnedResource, TagFault, deadline_of
from shared.domain.wire import Wire

REAPER = "reap-leases"  # a pass's instance id; that of one beside it goes on with "-2"
MAX_PER_PASS = 12  # a wrong idea must not empty the group in a minute; the next pass goes on
GRACE = timedelta(minutes=2)  # after the deadline, for the run's own release to finish first


class ReapRequest(Wire):
    """`owners_over`: runs that are known to have ended, whose machines need not wait for their deadline."""

    owners_over: tuple[str, ...] = ()


class Removal(Wire):
    platform: str
    resource: OwnedResource
    reason: str


class Overdue(Wire):
    """What one look found. `now` is Azure's time of the look; `alive` counts leases that are in order."""

    removals: tuple[Removal, ...] = ()
    settled: tuple[Lease, ...] = ()  # on record as open, but their time is over and nothing of them is left
    alive: int = 0
    now: datetime


class ReapReport(Wire):
    removed: int = 0
    settled: int = 0
    failed: tuple[str, ...] = ()
    alive: int = 0


def reason_to_remove(
    resource: OwnedResource, *, now: datetime, owners_over: frozenset[str], is_closed: bool = False
) -> str | None:
    """Why this resource must go, or None while its lease is alive.

    Its deadline passed (two minutes' grace, in which the run's own release may still be at work), its deadline cannot
    be read, its owner is over, or its lease was closed under the epoch it bears: a late copy of the creating call made
    it, and nobody knows of it.
    """
    owner = resource.tags.get(TAG_OWNER, "")
    if is_closed:
        return f"its lease was closed under epoch {resource.tags.get(TAG_EPOCH)}"
    if owner in owners_over:
        return f"its owner {owner} is over"
    try:
        deadline = deadline_of(resource.tags)
    except TagFault as fault:
        return f"unreadable deadline: {fault}"
    if now >= deadline + GRACE:
        return f"its deadline {deadline.isoformat()} passed"
    return None


def is_settled(
    lease: Lease, found: Iterable[OwnedResource], *, now: datetime, owners_over: frozenset[str]
) -> bool:
    """Whether a lease that is on record as open is over in truth: nobody owns it any more and nothing of it is left."""
    over = lease.owner in owners_over or now >= lease.deadline + GRACE
    return over and all(resource.tags.get(TAG_LEASE) != lease.id for resource in found)
