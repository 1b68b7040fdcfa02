"""One simulated Azure for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cloud import Cloud, simulated_azure, without_faults


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with simulated_azure(tmp_path_factory.mktemp("azure")) as cloud:
        yield cloud


@pytest.fixture
def cloud(simulated: Cloud) -> Iterator[Cloud]:
    with without_faults(simulated) as cloud:
        yield cloud
