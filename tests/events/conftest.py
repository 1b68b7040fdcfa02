"""A task hub in memory, and the app's own functions called as the host calls them, in the simulated Azure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localdev.runner.hub import TaskHub
from tests.crash.clock import VirtualClock
from tests.events.deliveries import Deliveries
from tests.support.cloud import Cloud


@pytest.fixture
def hub() -> Iterator[TaskHub]:
    with TaskHub.open(None, clock=VirtualClock()) as hub:
        yield hub


@pytest.fixture
def deliveries(cloud: Cloud, hub: TaskHub) -> Deliveries:
    return Deliveries(hub)
