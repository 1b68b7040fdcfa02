"""One simulated Azure for all tests of a process that go no further than the app's own code."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.cloud import Cloud, simulated_azure, without_faults

# Whole worlds first: a worker that begins one when the others are done keeps everybody waiting.
LONGEST = ("tests/e2e/", "tests/crash/", "tests/triggers/", "tests/node/")

# Cores are shared, here and where others run this.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="module", autouse=True)
def fresh_opener() -> None:
    """urllib keeps its first opener for ever, with the proxies of the world that it was made in."""
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # as it is before the first request


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with simulated_azure(tmp_path_factory.mktemp("azure")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def inhabited(simulated: Cloud) -> Iterator[Cloud]:
    """The environment is lent to one module at a time: whichever runs next may live in another world."""
    with simulated.inhabited() as cloud:
        cloud.let_limits_recover()
        yield cloud


@pytest.fixture(autouse=True)
def asked_by_nobody_before(request: pytest.FixtureRequest) -> None:
    """What a test may ask of Azure does not depend on which tests this process ran before."""
    if "inhabited" in request.fixturenames:
        request.getfixturevalue("inhabited").let_limits_recover()


@pytest.fixture
def cloud(inhabited: Cloud) -> Iterator[Cloud]:
    with without_faults(inhabited) as cloud:
        yield cloud
