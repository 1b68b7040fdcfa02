"""The books: leases opened and closed, audit, cost, and what the reaper takes away."""

from __future__ import annotations

from shared.azure import ledger
from shared.domain.audit import AuditEntry, AuditLink
from shared.domain.cost import RunCost
from shared.domain.lease import TAG_LEASE, LeaseClosing, LeaseOpening, OwnedResource
from shared.domain.upkeep import MAX_PER_PASS, Overdue, ReapRequest, Removal, is_settled, reason_to_remove
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing
from shared.platforms import platform, platforms


@activity(contracts.OPEN_LEASE)
def open_lease(opening: LeaseOpening) -> Nothing:
    """Put the intent on record before anything is created."""
    ledger.open_lease(opening)
    return Nothing()


@activity(contracts.CLOSE_LEASE)
def close_lease(closing: LeaseClosing) -> Nothing:
    """Put the end on record: from here on nothing is created under the lease's epoch."""
    ledger.close_lease(closing)
    return Nothing()


@activity(contracts.SETTLE_LEASE)
def settle_lease(closing: LeaseClosing) -> Nothing:
    """Close the book of a lease whose run cannot do it any more."""
    ledger.settle_lease(closing)
    return Nothing()


@activity(contracts.LIST_LEASES)
def list_leases(request: ReapRequest) -> Overdue:
    """Everything in Azure under this app's tags that is nobody's any more, and open leases of which nothing is left.

    The records are read before Azure is listed: a lease that opens meanwhile is not looked at in this pass.
    """
    owners_over = frozenset(request.owners_over)
    open_leases = [opening.lease for opening in ledger.open_leases()]
    inventories = {p.name: p.provisioner.list_owned() for p in platforms().values()}
    now = max(inventory.now for inventory in inventories.values())
    removals: list[Removal] = []
    found: list[OwnedResource] = []
    for name, inventory in inventories.items():
        found += inventory.resources
        for resource in inventory.resources:
            if reason := reason_to_remove(resource, now=inventory.now, owners_over=owners_over):
                removals.append(Removal(platform=name, resource=resource, reason=reason))
    settled = [lease for lease in open_leases if is_settled(lease, found, now=now, owners_over=owners_over)]
    return Overdue(
        removals=tuple(removals[:MAX_PER_PASS]),
        settled=tuple(settled[:MAX_PER_PASS]),
        alive=len({r.tags.get(TAG_LEASE) for r in found})
        - len({r.resource.tags.get(TAG_LEASE) for r in removals}),
        now=now,
    )


@activity(contracts.REMOVE_RESOURCE)
def remove_resource(removal: Removal) -> Nothing:
    """One removing request for one resource; its tags are read again right before."""
    platform(removal.platform).provisioner.begin_removal(removal.resource)
    return Nothing()


@activity(contracts.RECORD_COST)
def record_cost(cost: RunCost) -> Nothing:
    """The run's account of the money, for ever."""
    ledger.create(f"runs/{cost.run}/cost.json", cost)
    return Nothing()


@activity(contracts.AUDIT)
def write_audit(entry: AuditEntry) -> AuditLink:
    """One audit record; its hash goes into the next."""
    return AuditLink(digest=ledger.write_audit(entry))
