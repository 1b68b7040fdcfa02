"""One simulated Azure for all tests of this folder, and inputs that have settled."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from shared.azure import blob, ledger
from tests.activities.runs import INPUTS, PREFIX
from tests.support.cloud import Cloud, simulated_azure, without_faults


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with simulated_azure(tmp_path_factory.mktemp("azure")) as cloud:
        for name in INPUTS:
            blob.create_only("landing", PREFIX + name, name.encode())
        _settle()
        yield cloud


def _settle() -> None:
    """Last-Modified has whole seconds: until the storage's own clock has left the one of the landing."""
    landed, pause = ledger.storage_now(), threading.Event()
    while (ledger.storage_now() - landed).total_seconds() < 2:
        pause.wait(0.05)


@pytest.fixture
def cloud(simulated: Cloud) -> Iterator[Cloud]:
    with without_faults(simulated) as cloud:
        yield cloud
