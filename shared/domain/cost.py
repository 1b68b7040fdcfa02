"""The account of the money: what each machine cost, to the second, from our own meter.

Azure's cost data comes 8 to 24 hours late; this is known when the run ends.
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.offers import Offer
from shared.domain.wire import Wire


class Charge(Wire):
    """One machine's bill: from the request that created it until it was read back as no longer billing."""

    lease: str
    epoch: int
    offer: Offer
    nodes: int = 1
    since: datetime
    until: datetime
    usd: float

    @property
    def minutes(self) -> float:
        return (self.until - self.since).total_seconds() / 60


def charge(*, lease: str, epoch: int, offer: Offer, nodes: int, since: datetime, until: datetime) -> Charge:
    """charge(0.20 USD/h, 1 node, 30 minutes) -> 0.10 USD. Never negative."""
    hours = max(0.0, (until - since).total_seconds()) / 3600
    usd = round(hours * offer.price_usd_per_hour * nodes, 6)
    return Charge(lease=lease, epoch=epoch, offer=offer, nodes=nodes, since=since, until=until, usd=usd)


def worst_case_usd(offer: Offer, *, machines: int, ttl_s: float) -> float:
    """What a run could cost at most: every machine for its whole time to live."""
    return round(offer.price_usd_per_hour * machines * ttl_s / 3600, 6)


class RunCost(Wire):
    run: str
    charges: tuple[Charge, ...] = ()
    usd: float = 0.0

    @classmethod
    def of(cls, run: str, charges: tuple[Charge, ...]) -> RunCost:
        return cls(run=run, charges=charges, usd=round(sum(c.usd for c in charges), 6))
