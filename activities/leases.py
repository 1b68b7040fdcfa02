"""The books: leases opened and closed, audit, cost, and what the reaper takes away."""

from __future__ import annotations

import azure.durable_functions as df

from shared.azure import ledger
from shared.domain.audit import AuditEntry, AuditLink
from shared.domain.cost import RunCost
from shared.domain.lease import LeaseClosing, LeaseOpening
from shared.domain.upkeep import MAX_REMOVALS_PER_PASS, Overdue, ReapRequest, Removal, reason_to_remove
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing
from shared.platforms import platform, platforms

bp = df.Blueprint()


@activity(bp, contracts.OPEN_LEASE)
def open_lease(opening: LeaseOpening) -> Nothing:
    """Put the intent on record before anything is created."""
    ledger.open_lease(opening)
    return Nothing()


@activity(bp, contracts.CLOSE_LEASE)
def close_lease(closing: LeaseClosing) -> Nothing:
    """Put the end on record: from here on nothing is created under the lease's epoch."""
    ledger.close_lease(closing)
    return Nothing()


@activity(bp, contracts.LIST_LEASES)
def list_leases(request: ReapRequest) -> Overdue:
    """Everything in Azure under this app's tags that is nobody's any more, machines first."""
    owners_over = frozenset(request.owners_over)
    removals: list[Removal] = []
    alive: set[str] = set()
    now = None
    for found in platforms().values():
        inventory = found.provisioner.list_owned()
        now = max(now, inventory.now) if now else inventory.now
        for resource in inventory.resources:
            reason = reason_to_remove(resource, now=inventory.now, owners_over=owners_over)
            if reason:
                removals.append(Removal(platform=found.name, resource=resource, reason=reason))
            else:
                alive.add(resource.tags.get("muster-lease", resource.id))
    if now is None:
        raise RuntimeError("no platform answered with its time")
    return Overdue(
        removals=tuple(removals[:MAX_REMOVALS_PER_PASS]),
        alive=len(alive),
        left_for_next_pass=max(0, len(removals) - MAX_REMOVALS_PER_PASS),
        now=now,
    )


@activity(bp, contracts.REMOVE_RESOURCE)
def remove_resource(removal: Removal) -> Nothing:
    """One removing request for one resource; its tags are read again right before."""
    platform(removal.platform).provisioner.begin_removal(removal.resource)
    return Nothing()


@activity(bp, contracts.RECORD_COST)
def record_cost(cost: RunCost) -> Nothing:
    """The run's account of the money, for ever."""
    ledger.create(f"runs/{cost.run}/cost.json", cost)
    return Nothing()


@activity(bp, contracts.AUDIT)
def write_audit(entry: AuditEntry) -> AuditLink:
    """One audit record; its hash goes into the next."""
    return AuditLink(digest=ledger.write_audit(entry))
