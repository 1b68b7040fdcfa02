"""The price book: facts that can be looked up, and the order offers are tried in."""

from __future__ import annotations

import pytest

from shared.domain.errors import SpecError
from shared.domain.offers import Offer, Priority
from shared.domain.price_book import find_size, offers_for, regions, sizes


def _plan(offers: tuple[Offer, ...]) -> list[str]:
    return [str(offer) for offer in offers]


def test_a_price_is_the_retail_price_of_its_region_and_priority() -> None:
    (spot,) = offers_for(["Standard_D4s_v5"], ["northeurope"], "spot")
    (dedicated,) = offers_for(["Standard_D4s_v5"], ["northeurope"], "dedicated")

    assert (spot.price_usd_per_hour, dedicated.price_usd_per_hour) == (0.068394, 0.214)
    assert (spot.priority, spot.vcpus) == (Priority.SPOT, 4)


def test_another_size_here_is_tried_before_another_region_and_spot_everywhere_before_dedicated() -> None:
    offers = offers_for(["D4s_v5", "E4s_v5"], ["westeurope", "northeurope"], "spot-then-dedicated")

    assert _plan(offers) == [
        "Standard_D4s_v5 in westeurope spot",
        "Standard_E4s_v5 in westeurope spot",
        "Standard_D4s_v5 in northeurope spot",
        "Standard_E4s_v5 in northeurope spot",
        "Standard_D4s_v5 in westeurope",
        "Standard_E4s_v5 in westeurope",
        "Standard_D4s_v5 in northeurope",
        "Standard_E4s_v5 in northeurope",
    ]


def test_what_is_not_sold_is_not_offered() -> None:
    offers = offers_for(["Standard_B2ms", "Standard_D2s_v5"], ["westeurope"], "spot")

    assert _plan(offers) == ["Standard_D2s_v5 in westeurope spot"]


def test_nothing_on_sale_is_an_error_that_says_why() -> None:
    with pytest.raises(SpecError, match=r"Standard_B2ms.*as spot in westeurope.*cannot be Spot"):
        offers_for(["Standard_B2ms"], ["westeurope"], "spot")


def test_an_unknown_size_is_refused_with_those_that_look_like_it() -> None:
    with pytest.raises(SpecError, match=r"did you mean Standard_NC4as_T4_v3"):
        find_size("Standard_NC4as_T4_v4")


@pytest.mark.parametrize("name", ["westeurope", "West Europe", "WESTEUROPE"])
def test_a_region_may_be_written_as_the_portal_writes_it(name: str) -> None:
    assert offers_for(["Standard_D2s_v5"], [name])[0].region == "westeurope"


def test_an_unknown_region_or_priority_is_refused() -> None:
    with pytest.raises(SpecError, match="'mars' is not a region"):
        offers_for(["Standard_D2s_v5"], ["mars"])
    with pytest.raises(SpecError, match="expected one of dedicated, spot, spot-then-dedicated"):
        offers_for(["Standard_D2s_v5"], ["westeurope"], "cheap")


@pytest.mark.parametrize("name", sizes())
def test_every_row_of_the_book_is_sound(name: str) -> None:
    size = find_size(name)

    assert size.vcpus > 0 and size.family
    assert any(price.dedicated for price in size.prices.values())
    for place in regions():
        price = size.prices[place]
        assert price.spot is None or (price.dedicated is not None and 0 < price.spot < price.dedicated)
