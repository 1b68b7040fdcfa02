"""Which machine to take, and which not to ask for again."""

from __future__ import annotations

from shared.domain.offers import Headroom, Offer, Priority, Setback, choose_offer, next_offer

WEST = Offer(size="Standard_D4s_v5", region="westeurope", price_usd_per_hour=0.23)
NORTH = Offer(size="Standard_D4s_v5", region="northeurope", price_usd_per_hour=0.21)
SPOT = Offer(size="Standard_D4s_v5", region="westeurope", priority=Priority.SPOT, price_usd_per_hour=0.05)
SPOT_NORTH = Offer(
    size="Standard_D4s_v5", region="northeurope", priority=Priority.SPOT, price_usd_per_hour=0.04
)


def test_the_first_offer_with_room_is_taken_and_every_look_gives_a_reason() -> None:
    choice = choose_offer((
        Headroom(offer=WEST, available=False, reason="quota 0 of standardDSv5Family, needed 4"),
        Headroom(offer=NORTH, available=True),
    ))  # fmt: skip
    assert choice.offer == NORTH
    assert "quota 0" in choice.reasons[0]
    assert "taken at $0.2100/h" in choice.reasons[1]


def test_no_room_anywhere_is_no_offer_and_all_reasons() -> None:
    choice = choose_offer(
        (
            Headroom(offer=WEST, available=False, reason="a"),
            Headroom(offer=NORTH, available=False, reason="b"),
        )
    )
    assert choice.offer is None
    assert [r.split(": ")[1] for r in choice.reasons] == ["a", "b"]


def test_a_refused_offer_is_not_asked_again() -> None:
    assert next_offer((WEST, NORTH), (Setback(offer=WEST, refused=True),)) == NORTH
    assert next_offer((WEST,), (Setback(offer=WEST, refused=True),)) is None


def test_a_lost_machine_is_replaced_once_and_then_no_more() -> None:
    lost = Setback(offer=WEST, refused=False)
    assert next_offer((WEST, NORTH), (lost,)) == WEST
    assert next_offer((WEST, NORTH), (lost, lost)) is None


def test_evicted_twice_from_spot_a_batch_goes_on_with_a_machine_that_stays() -> None:
    evictions = (Setback(offer=SPOT, refused=False), Setback(offer=SPOT, refused=False))
    assert next_offer((SPOT, SPOT_NORTH, WEST), evictions) == WEST


def test_a_loss_at_one_priority_says_nothing_of_the_other() -> None:
    setbacks = (
        Setback(offer=SPOT, refused=False),
        Setback(offer=SPOT, refused=False),
        Setback(offer=WEST, refused=False),
    )
    assert next_offer((SPOT, WEST), setbacks) == WEST
