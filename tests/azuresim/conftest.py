"""A simulated Azure per test, on a clock that stands still. What it did is held against its own rules afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localdev.azuresim import Simulator
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure

START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azure]:
    """Without Azurite: nothing here needs blobs. Checked against Microsoft's specifications if AZURE_SPECS_DIR is set."""
    clock = Clock.create(tmp_path / "clock.json", start=START, speed=0)
    with Simulator(clock=clock, storage=False) as simulator:
        caller = Azure(simulator)
        yield caller
        kinds = [
            event for event in caller.control.events() if event["type"] in ("contract_violation", "defect")
        ]
        assert kinds == []
