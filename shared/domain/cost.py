"""The account of the money: what each machine cost, to the second, from our own meter.

Azure's cost data comes 8 to 24 hours late; this is known when the run ends.
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.lease import Lease
from shared.domain.offers import Offer
from shared.domain.wire import Wire


class Charge(Wire):
    """One machine's bill: compute until it was read back as deallocated (`until`), its disk until that was `gone`."""

    lease: str
    epoch: int
    offer: Offer
    nodes: int = 1
    since: datetime
    until: datetime
    gone: datetime
    usd: float


def charge(lease: Lease, *, since: datetime, until: datetime, gone: datetime) -> Charge:
    """charge(a machine at 0.20 USD/h for 30 minutes, its disk at 0.02 for 45) -> 0.115 USD. Never negative."""
    offer = lease.offer
    usd = _hours(since, until) * offer.price_usd_per_hour + _hours(since, gone) * offer.disk_usd_per_hour
    return Charge(
        lease=lease.id, epoch=lease.epoch, offer=offer, nodes=lease.nodes,
        since=since, until=until, gone=gone, usd=round(usd * lease.nodes, 6),
    )  # fmt: skip


def _hours(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds()) / 3600


def worst_case_usd(offer: Offer, *, machines: int, ttl_s: float) -> float:
    """What a run could cost at most: every machine for its whole time to live."""
    return round(offer.usd_per_hour * machines * ttl_s / 3600, 6)


class RunCost(Wire):
    run: str
    charges: tuple[Charge, ...] = ()
    usd: float = 0.0

    @classmethod
    def of(cls, run: str, charges: tuple[Charge, ...]) -> RunCost:
        return cls(run=run, charges=charges, usd=round(sum(c.usd for c in charges), 6))
