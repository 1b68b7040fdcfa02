"""The same rollout onto servers of the user's own machine: up step by step, and back by itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from localdev.demo.load import Load, Target
from shared.domain.names import deployment_name
from tests.support.deployments import ask, calmly, decide, deployment, finish, put_version, rows
from tests.support.estate import Estate, Ran, estate

NAME = "here-live"
DECLARED = {
    **deployment(NAME, rollout={"steps": [10, 100], "bake": "PT3M", "maxPredictionDrift": 0.5}),
    "target": {"platform": "local", "endpoint": NAME},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    place = tmp_path_factory.mktemp("deploy-local")
    with mock.patch.dict(os.environ), estate(place, [DECLARED]) as world:
        yield world
        for path in (place / "local").rglob("process.json"):
            try:
                os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue


def _endpoint(here: Estate) -> Path:
    return Path(here.world.environment["MUSTER_LOCAL_WORK"]) / ".endpoints" / NAME


def _traffic(here: Estate) -> dict[str, int]:
    told: dict[str, int] = json.loads((_endpoint(here) / "endpoint.json").read_text())["traffic"]
    return told


def _client(here: Estate, folder: Path) -> Load:
    port, key = (
        (_endpoint(here) / "router/port").read_text(),
        json.loads((_endpoint(here) / "endpoint.json").read_text())["key"],
    )
    direct = {
        name: value for name, value in here.world.environment.items() if not name.lower().endswith("_proxy")
    }
    target = Target(NAME, f"http://127.0.0.1:{port}/score", key, 30.0)
    return Load([target], rows(), folder=folder, environment=direct)


def _deploy(here: Estate, version: str, **deeds: Any) -> Ran:
    put_version(here, f"{NAME}-model", version, **deeds)
    return ask(here, NAME, version)


def test_two_versions_go_live_without_a_lost_request_and_a_bad_third_does_not(
    here: Estate, tmp_path: Path
) -> None:
    first = _deploy(here, "1")
    calmly((_endpoint(here) / "router/port").exists, "the router")
    with _client(here, tmp_path / "first"):
        assert decide(here, first, "approve")[0] == 200
        assert finish(here, first).outcome["state"] == "Completed", first.outcome

    with _client(here, tmp_path / "second") as load:
        second = finish(here, _deploy(here, "2"))
        assert second.outcome["state"] == "Completed", (second.outcome["reason"], second.outcome["steps"])
        assert "prediction drift 0." in str(
            second.outcome["steps"]
        )  # what was served was collected, and read
        bad = finish(here, _deploy(here, "3", deed="good then bad", after=120))
        load.stop()
        report = load.report(NAME)

    assert bad.outcome["state"] == "RolledBack", bad.outcome
    assert _traffic(here) == {deployment_name(second.id): 100}
    lost = {
        name for name, answers in report["deployments"].items() if set(answers) - {"200", "p50_ms", "p95_ms"}
    }
    assert lost <= {deployment_name(bad.id)}, report  # none at all, if something else gave it away first
