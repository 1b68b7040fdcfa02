"""The books: leases opened and closed, audit, cost, and what the reaper takes away."""

from __future__ import annotations

from collections.abc import Iterable

from shared.azure import ledger
from shared.domain.audit import AuditEntry, AuditLink
from shared.domain.cost import RunCost
from shared.domain.lease import TAG_EPOCH, TAG_LEASE, Inventory, LeaseClosing, LeaseOpening, OwnedResource
from shared.domain.upkeep import MAX_PER_PASS, Overdue, ReapRequest, Removal, is_settled, reason_to_remove
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing
from shared.platforms import platform, with_machines


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

    The records are read before Azure is listed: a lease that opens meanwhile is not looked at in this pass. Whether a
    lease was closed is asked only for what has no open record, which in order is nothing at all.
    """
    owners_over = frozenset(request.owners_over)
    open_leases = [opening.lease for opening in ledger.open_leases()]
    inventories = {p.name: p.provisioner.list_owned() for p in with_machines().values()}
    now = max(inventory.now for inventory in inventories.values())
    removals: list[Removal] = []
    found: list[OwnedResource] = []
    closed = _closed({(lease.id, str(lease.epoch)) for lease in open_leases}, inventories.values())
    for name, inventory in inventories.items():
        found += inventory.resources
        for resource in inventory.resources:
            reason = reason_to_remove(
                resource,
                now=inventory.now,
                owners_over=owners_over,
                is_closed=_lease_of(resource) in closed,
            )
            if reason:
                removals.append(Removal(platform=name, resource=resource, reason=reason))
    settled = [lease for lease in open_leases if is_settled(lease, found, now=now, owners_over=owners_over)]
    return Overdue(
        removals=tuple(removals[:MAX_PER_PASS]),
        settled=tuple(settled[:MAX_PER_PASS]),
        alive=len({r.tags.get(TAG_LEASE) for r in found})
        - len({r.resource.tags.get(TAG_LEASE) for r in removals}),
        now=now,
    )


def _closed(open_: set[tuple[str, str]], inventories: Iterable[Inventory]) -> set[tuple[str, str]]:
    """Leases, by id and epoch, of which something is left though their end is on record."""
    found = {_lease_of(resource) for inventory in inventories for resource in inventory.resources}
    return {(lease, epoch) for lease, epoch in found - open_ if ledger.is_epoch_closed(lease, epoch)}


def _lease_of(resource: OwnedResource) -> tuple[str, str]:
    return resource.tags.get(TAG_LEASE, ""), resource.tags.get(TAG_EPOCH, "")


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
