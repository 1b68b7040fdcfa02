"""Online endpoints of the simulated workspace: states, traffic, failures, what it costs."""

from __future__ import annotations

import pytest

from tests.azuresim.azure_client import Azure
from tests.azuresim.endpoint_requests import (
    deployment,
    endpoint,
    live_endpoint,
    operation,
    put_deployment,
    put_endpoint,
    register_assets,
    set_traffic,
    state,
)


@pytest.mark.parametrize("managed", [False, True], ids=["kubernetes", "managed"])
def test_traffic_moves_from_one_deployment_to_another(azure: Azure, managed: bool) -> None:
    live_endpoint(azure, "blue", "green", managed=managed)
    set_traffic(azure, {"blue": 100}, managed=managed)
    set_traffic(azure, {"blue": 75, "green": 25}, managed=managed)
    applied = azure.control.events(type_="traffic_applied")
    assert [event["traffic"] for event in applied] == [{}, {"blue": 100}, {"blue": 75, "green": 25}]
