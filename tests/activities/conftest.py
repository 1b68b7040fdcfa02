"""Inputs that have settled, in the simulated Azure."""

from __future__ import annotations

import threading

import pytest

from shared.azure import blob, ledger
from tests.activities.runs import INPUTS, PREFIX
from tests.support.cloud import Cloud


@pytest.fixture(scope="session")
def simulated(simulated: Cloud) -> Cloud:
    with simulated.inhabited():
        for name in INPUTS:
            blob.create_only("landing", PREFIX + name, name.encode())
        _settle()
    return simulated


def _settle() -> None:
    """Last-Modified has whole seconds: until the storage's own clock has left the one of the landing."""
    landed, pause = ledger.storage_now(), threading.Event()
    while (ledger.storage_now() - landed).total_seconds() < 2:
        pause.wait(0.05)
