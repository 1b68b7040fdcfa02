"""Upkeep: what must happen whether or not any run remembers to do it."""

from __future__ import annotations

from shared.domain.errors import AppError
from shared.domain.lease import LeaseClosing
from shared.domain.upkeep import REAPER, ReapReport, ReapRequest
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps


@orchestrator(contracts.REAP_LEASES)
def reap_leases(flow: Flow, request: ReapRequest) -> Steps[ReapReport]:
    """Take one step towards zero for every machine that is nobody's: deallocate it, or delete it.

    1. List what carries this app's tags, and Azure's own time.
    2. For each resource whose deadline passed or whose owner is over: one removing request.
    3. Close the books of leases that are over and of which nothing is left.
    It never waits for Azure: the next pass, a minute later, sees what is left and goes on. So it cannot hang, and a
    pass that dies costs one minute.
    """
    overdue = yield from flow.call(contracts.LIST_LEASES, request)
    # Every pass is a chain of its own: one follows the other under one instance id, and one may be at work beside it.
    beside = flow.instance_id.partition(REAPER)[2]
    trail = AuditTrail(flow, who="reaper", chain=f"reap{beside}-{overdue.now:%Y%m%dT%H%M%SZ}")
    failed: list[str] = []
    for removal in overdue.removals:
        try:
            yield from flow.call(contracts.REMOVE_RESOURCE, removal)
            yield from trail.write("removal begun", removal.resource.id, why=removal.reason)
        except AppError as error:
            failed.append(f"{removal.resource.name}: {error}")
    for lease in overdue.settled:
        yield from flow.call(contracts.SETTLE_LEASE, LeaseClosing(lease=lease, at=overdue.now))
    return ReapReport(
        removed=len(overdue.removals) - len(failed),
        settled=len(overdue.settled),
        failed=tuple(failed),
        alive=overdue.alive,
    )
