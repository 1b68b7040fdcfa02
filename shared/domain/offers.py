"""Where a machine could be had, at what price, and which to take."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.wire import Wire


class Priority(StrEnum):
    REGULAR = "Regular"
    SPOT = "Spot"


class Offer(Wire):
    """One size in one region at one priority. Prices in USD per hour of one node and of its disk, from the price book."""

    size: str
    region: str
    priority: Priority = Priority.REGULAR
    vcpus: int = 1
    price_usd_per_hour: float = 0.0
    disk_usd_per_hour: float = 0.0

    @property
    def usd_per_hour(self) -> float:
        """A node with its disk, while it is not deallocated."""
        return self.price_usd_per_hour + self.disk_usd_per_hour

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


class HeadroomQuery(Wire):
    """Which offers a declaration allows on `platform`, and whether `nodes` machines fit. Sizes and regions in order."""

    platform: str
    sizes: tuple[str, ...]
    regions: tuple[str, ...]
    priority: str
    nodes: int = 1


class HeadroomReport(Wire):
    """`shares_machine`: one lease of the platform serves several jobs at once, on nodes of its own."""

    looks: tuple[Headroom, ...] = ()
    shares_machine: bool = False


class Choice(Wire):
    """The offer taken (none if nothing fits) and one line of reason for every offer looked at."""

    offer: Offer | None
    reasons: tuple[str, ...]


def choose_offer(headroom: tuple[Headroom, ...]) -> Choice:
    """The first available offer in declared order.

    choose_offer((quota 0 in westeurope, room in northeurope)) -> northeurope, with both reasons kept.
    """
    reasons: list[str] = []
    for look in headroom:
        if not look.available:
            reasons.append(f"{look.offer}: {look.reason}")
        else:
            reasons.append(f"{look.offer}: taken at ${look.offer.usd_per_hour:.4f}/h")
            return Choice(offer=look.offer, reasons=tuple(reasons))
    return Choice(offer=None, reasons=tuple(reasons))


class Setback(Wire):
    """An offer that did not serve: `refused` it was not to be had, otherwise its machine was had and lost."""

    offer: Offer
    refused: bool


MAX_LOSSES = 2  # of machines at one priority, for one batch


def next_offer(offers: tuple[Offer, ...], setbacks: tuple[Setback, ...]) -> Offer | None:
    """The first offer still worth a try.

    An offer that was refused is not asked again in this run. A lost machine is replaced once; the second loss at a
    priority ends that priority: evicted twice from Spot, a batch goes on with a machine that stays.
    """
    refused = {str(s.offer) for s in setbacks if s.refused}
    lost = [s.offer.priority for s in setbacks if not s.refused]
    over = {priority for priority in Priority if lost.count(priority) >= MAX_LOSSES}
    return next((o for o in offers if str(o) not in refused and o.priority not in over), None)
