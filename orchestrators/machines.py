"""Machines for a piece of a run: which offers it may take, and one machine after the other until the work is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from shared.domain import names
from shared.domain.cost import Charge, worst_case_usd
from shared.domain.errors import AppError, CapacityError, Failure, LeaseLost, to_failure
from shared.domain.lease import Lease
from shared.domain.offers import HeadroomQuery, HeadroomReport, Offer, Setback, choose_offer, next_offer
from shared.domain.sections import Compute, Limits
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.flow import Flow, Steps
from shared.durable.leased import Held, leased

MAX_EPOCHS = 4  # machines tried for one piece: no capacity, no boot, eviction and loss all count


def check_headroom(flow: Flow, compute: Compute, *, machines: int) -> Steps[HeadroomReport]:
    """Quota and stock for every declared offer. Costs nothing."""
    flow.status("preflight", waiting_for="quota and stock")
    report = yield from flow.call(
        contracts.CHECK_HEADROOM,
        HeadroomQuery(platform=compute.platform, sizes=compute.sizes, regions=compute.regions,
                      priority=compute.priority, nodes=machines),
    )  # fmt: skip
    return report


def reasons_of(report: HeadroomReport) -> tuple[str, ...]:
    """One line for every offer looked at."""
    return choose_offer(report.looks).reasons


def affordable_offers(
    report: HeadroomReport, limits: Limits, *, machines: int, needed: timedelta | None = None
) -> tuple[Offer, ...]:
    """The offers that have room and fit the budget, in declared order. Raises CapacityError naming why none does.

    A budget must do for the machines' whole time to live, or for `needed`, where the work ends itself in time.
    """
    choice = choose_offer(report.looks)
    if choice.offer is None:
        raise CapacityError("no offer has room: " + "; ".join(choice.reasons))
    open_offers = tuple(look.offer for look in report.looks if look.available)
    if limits.budget_usd is None:
        return open_offers
    kept = limits.ttl if needed is None else needed
    ttl_s = kept.total_seconds()
    affordable = tuple(
        o for o in open_offers if worst_case_usd(o, machines=machines, ttl_s=ttl_s) <= limits.budget_usd
    )
    if not affordable:
        least = min(worst_case_usd(o, machines=machines, ttl_s=ttl_s) for o in open_offers)
        raise CapacityError(
            f"budget: {machines} machines for {kept} cost up to ${least:.2f}, "
            f"limits.budgetUsd is ${limits.budget_usd:.2f}; raise it, or lower limits.ttl or compute.instances"
        )
    return affordable


def lease_of(
    flow: Flow, run: str, role: str, compute: Compute, limits: Limits, *,
    offer: Offer, epoch: int, ordinal: int = 0, nodes: int = 1,
) -> Lease:  # fmt: skip
    """The lease of one piece of a run in its `epoch`, kept for `limits.ttl` from now at most."""
    return Lease(
        id=names.lease_id(run, role, ordinal),
        owner=run,
        epoch=epoch,
        platform=compute.platform,
        offer=offer,
        deadline=flow.now + limits.ttl,
        nodes=nodes,
    )


@dataclass
class Tried:
    """What the machines of a piece of work came to, however it ended. `error` is of the last of them."""

    charges: list[Charge] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    setbacks: list[Setback] = field(default_factory=list)
    error: AppError | None = None

    @property
    def failure(self) -> Failure | None:
        return to_failure(self.error) if self.error else None


def on_machines(
    flow: Flow,
    trail: AuditTrail,
    offers: tuple[Offer, ...],
    lease_of: Callable[[Offer, int], Lease],
    body: Callable[[Lease], Steps[Any]],
) -> Steps[Tried]:
    """Run `body` on a leased machine, on another if the first cannot be had or is lost. Each is released."""
    tried = Tried()
    for epoch in range(1, MAX_EPOCHS + 1):
        offer = next_offer(offers, tuple(tried.setbacks))
        if offer is None:
            break
        held, tried.error = Held(), None
        try:
            lease = lease_of(offer, epoch)
            yield from leased(flow, trail, lease, held, body)
        except AppError as caught:
            tried.error = caught
        tried.charges += [held.charge] if held.charge else []
        tried.remains += held.remains
        if not isinstance(tried.error, CapacityError | LeaseLost):
            break
        tried.setbacks.append(Setback(offer=offer, refused=isinstance(tried.error, CapacityError)))
    return tried
