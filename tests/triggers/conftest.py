"""A running world for what callers of the app see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from tests.events.retrainings import retraining
from tests.support.estate import Estate, declaration, estate

LOCAL = {"platform": "local"}
NIGHTLY = {"cron": "0 2 * * *", "timeZone": "Europe/Paris"}
DECLARATIONS = [
    declaration("nightly", compute=LOCAL, schedule=NIGHTLY),
    declaration("scored", compute=LOCAL),
    declaration("held", compute=LOCAL),
    declaration("no-model", compute=LOCAL, model={"name": "unheard-of"}),
    declaration("steals-records", compute=LOCAL, output={"container": "muster"}),
    retraining("retrains", monitor="retrains-monitor"),
    retraining("by-hand", monitor="by-hand-monitor"),
    retraining(
        "lacks-data", monitor="lacks-monitor", trigger={"readyWithin": "PT10M"}, data={"minNewBlobs": 1}
    ),
]


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    # A world sets the environment of this process; other ones may be running.
    place = tmp_path_factory.mktemp("called")
    with mock.patch.dict(os.environ), estate(place, DECLARATIONS) as running:
        yield running
