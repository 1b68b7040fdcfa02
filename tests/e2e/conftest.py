"""One running world for all scenarios of this folder; after each of them the checker looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.declarations import DECLARATIONS
from tests.support.checker import violations
from tests.support.estate import Estate, estate


@pytest.fixture(scope="package")
def shared_estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with estate(tmp_path_factory.mktemp("world"), DECLARATIONS) as running:
        yield running


@pytest.fixture
def here(shared_estate: Estate, request: pytest.FixtureRequest) -> Iterator[Estate]:
    """The estate; after the test the invariants must hold. Mark `degraded` where a machine is meant to be left."""
    since = len(shared_estate.world.control.events())
    yield shared_estate
    shared_estate.world.control.clear_faults()
    assert violations(shared_estate, since=since, degraded="degraded" in request.keywords) == []


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path
