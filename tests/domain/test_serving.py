"""What one look at an endpoint says, and what it does not."""

from __future__ import annotations

import pytest

from shared.domain.serving import EndpointLook

MAP = {"d0000001": 100}


@pytest.mark.parametrize("state", ["Creating", "Updating"])
def test_a_map_that_is_shown_during_a_change_is_not_believed(state: str) -> None:
    assert EndpointLook(exists=True, state=state, traffic=MAP).map_in_force is None


@pytest.mark.parametrize("state", ["Succeeded", "Failed", "Deleting", ""])
def test_a_map_at_rest_is_in_force(state: str) -> None:
    assert EndpointLook(exists=True, state=state, traffic=MAP).map_in_force == MAP


def test_an_endpoint_that_is_gone_has_no_map() -> None:
    assert EndpointLook(exists=False).map_in_force is None
