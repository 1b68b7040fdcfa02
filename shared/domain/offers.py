"""Where a machine could be had, at what price, and which to take."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.wire import Wire


class Priority(StrEnum):
    REGULAR = "Regular"
    SPOT = "Spot"


class Offer(Wire):
    """One size in one region at one priority. Price in USD per hour of one node, from the price book."""

    size: str
    region: str
    priority: Priority = Priority.REGULAR
    vcpus: int = 1
    price_usd_per_hour: float = 0.0

    def __str__(self) -> str:
        spot = " spot" if self.priority is Priority.SPOT else ""
        return f"{self.size} in {self.region}{spot}"


class Headroom(Wire):
    """What a preflight look found for one offer: `needed` and `limit` in cores of `family`."""

    offer: Offer
    available: bool
    family: str = ""
    limit: int = 0
    usage: int = 0
    needed: int = 0
    reason: str = ""


class Choice(Wire):
    """The offer taken (none if nothing fits) and one line of reason for every offer looked at."""

    offer: Offer | None
    reasons: tuple[str, ...]


def choose_offer(headroom: tuple[Headroom, ...], *, refused: tuple[str, ...] = ()) -> Choice:
    """The first available offer in declared order that was not `refused` earlier in this run (by its text).

    choose_offer((quota 0 in westeurope, room in northeurope)) -> northeurope, with both reasons kept.
    """
    reasons: list[str] = []
    for look in headroom:
        if str(look.offer) in refused:
            reasons.append(f"{look.offer}: refused earlier in this run")
        elif not look.available:
            reasons.append(f"{look.offer}: {look.reason}")
        else:
            reasons.append(f"{look.offer}: taken at ${look.offer.price_usd_per_hour:.4f}/h")
            return Choice(offer=look.offer, reasons=tuple(reasons))
    return Choice(offer=None, reasons=tuple(reasons))
