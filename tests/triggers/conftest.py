"""A running world for what callers of the app see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from tests.events.retrainings import retraining
from tests.support.deployments import deployment, post, put_version
from tests.support.estate import SPEED, Estate, declaration, estate

LOCAL = {"platform": "local"}
NIGHTLY = {"cron": "0 2 * * *", "timeZone": "Europe/Paris"}
CAREFUL = {"required": True, "timeout": "PT1H"}
ENDPOINTS = (  # each for one test
    "asked", "raced", "keyed", "awake", "typed", "by-hand-live", "approved", "paused", "late", "own", "taken-back",
    "off-by-cancel", "off-by-rollback",
)  # fmt: skip
DEPLOYMENTS = [deployment(name, approval=CAREFUL) for name in ENDPOINTS]
DECLARATIONS = [
    *DEPLOYMENTS,
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
        models = running.service.get_container_client("models")
        for each in DEPLOYMENTS:
            put_version(running, each["model"]["name"], "1")
            models.upload_blob(f"{each['model']['name']}/champion.json", '{"version": "1"}')
        yield running


@pytest.fixture(scope="module")
def stopped(world: Estate) -> Iterator[None]:
    """The clock stands still: a deployment that waits for Azure goes on waiting, at work."""
    world.world.clock.set_speed(0)
    yield
    _, answer = world.world.api("deployments")
    for each in answer["deployments"]:
        post(world, f"deployments/{each['id']}/cancel", "default")
    world.world.clock.set_speed(SPEED)
