from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from localdev.clock import Clock
from tests.hub import app
from tests.hub.rig import Rig


@pytest.fixture(scope="module", params=["grpc", "in process"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("hub")
    clock = Clock.create(folder / "clock.json", start=datetime(2030, 1, 1, tzinfo=UTC))
    rig = Rig(folder / "hub.db", clock, request.param)
    yield rig
    for gate in app.GATES.values():
        gate.set()
    rig.close()
