"""Endpoints with real servers behind them: through azure-ai-ml, and over a restart of the simulator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim import Control, Simulator
from localdev.azuresim.world import World
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure, inside, until
from tests.azuresim.endpoint_requests import (
    ENDPOINTS_API,
    endpoint,
    endpoint_id,
    logs,
    put_deployment,
    put_endpoint,
    register_assets,
    state,
)
from tests.azuresim.specifications import specs_dir

ROOT = Path(__file__).resolve().parents[2]
SCORE = """
import os, time
from pathlib import Path

def init():
    if "NEEDS_MIB" in os.environ:
        hoard = b"x" * int(os.environ["NEEDS_MIB"]) * 1024 * 1024
        time.sleep(60)

def run(raw):
    return next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.txt")).read_text()
"""


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What the program sdk_ml_endpoints.py saw, its traffic held against Microsoft's specifications."""
    with Simulator(specs=specs_dir(), speed=200) as simulator:
        program = [sys.executable, "-m", "tests.azuresim.sdk_ml_endpoints"]
        ran = subprocess.run(
            program, env=inside(simulator.env), cwd=ROOT, capture_output=True, text=True, timeout=240
        )
        control = Control(simulator.control_url)
        events = control.events()
        bill = control.bill()["lines"]
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert [event for event in events if event["type"] in ("contract_violation", "defect")] == []
    yield {**json.loads(ran.stdout.splitlines()[-1]), "events": events, "bill": bill}


def test_the_sdk_puts_models_behind_an_endpoint_of_a_cluster(seen: dict[str, Any]) -> None:
    mine = seen["kubernetes"]
    assert mine["made"] == ["Succeeded", {"epoch": "1"}, "aks-prod"]
    assert mine["traffic"] == [{"blue": 100}, {"blue": 100, "green": 0}]
    assert (mine["listed"], mine["shown"]) == (["blue", "green"], {"of": "green"})
    assert mine["scored"] == [{"answer": "blue", "rows": 2}, {"answer": "green", "rows": 2}, 401]
    assert mine["logs"]
    assert mine["new key"] == [True, 401, "blue"]
    assert mine["gone"] == "not found"


def test_the_sdk_is_refused_what_cannot_be(seen: dict[str, Any]) -> None:
    assert seen["kubernetes"]["refused"] == ["BadArgument", "BadArgument"]
    assert seen["kubernetes"]["deleted live"] == "BadArgument"


def test_a_script_that_fails_makes_its_deployment_fail_with_its_own_log(seen: dict[str, Any]) -> None:
    mine = seen["kubernetes"]
    assert (mine["broken"], mine["broken state"]) == ("UserScriptInitFailed", "Failed")
    assert mine["broken log"]
    assert mine["left"] == ["blue", "green"]


def test_a_managed_endpoint_serves_on_machines_that_cost(seen: dict[str, Any]) -> None:
    assert seen["managed"]["scored"] == {"answer": "blue", "rows": 2}
    assert seen["managed"]["endpoints"] == ["rented"]
    assert seen["managed"]["head"] == "Instance status:"
    assert [(line["meter"], line["ended"] is None) for line in seen["bill"]] == [
        ("Online endpoint Standard_D2s_v5", False)
    ]


def test_every_map_that_was_accepted_is_told_with_the_states_of_its_deployments(seen: dict[str, Any]) -> None:
    told = [event for event in seen["events"] if event["type"] == "traffic"]
    assert [event["traffic"] for event in told] == [{"blue": 100}, {"blue": 100}]
    assert [event["endpoint"] for event in told] == ["live", "rented"]
    assert told[0]["tags"] == {"epoch": "1"}
    assert told[0]["deployments"] == {"blue": "Succeeded", "green": "Succeeded"}
    assert told[0]["principal"]["name"] == "muster-app"


def upload(simulator: Simulator, container: str, blob: str, text: str) -> None:
    def put(world: World) -> None:
        assert world.blobs is not None
        world.blobs.ensure_container(container)
        assert world.blobs.put(container, blob, text.encode())

    simulator.act(put)


def ready(azure: Azure, name: str) -> str:
    def look() -> str:
        azure.control.advance(10)
        return state(azure, name)

    return until(look, lambda seen: seen in ("Succeeded", "Failed"), 60)


def ask(azure: Azure) -> Any:
    key = azure.send("POST", f"{endpoint_id()}/listKeys", version=ENDPOINTS_API).json()["primaryKey"]
    uri = endpoint(azure)["properties"]["scoringUri"]
    return azure.plain("POST", uri, json={}, headers={"Authorization": f"Bearer {key}"})


def test_servers_start_anew_with_the_simulator_and_what_eats_its_memory_is_given_up(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock.json", start=datetime(2026, 3, 1, 2, 0, tzinfo=UTC), speed=0)
    with Simulator(clock=clock, state=tmp_path / "state") as simulator:
        azure = Azure(simulator)
        for container, blob, text in (
            ("models", "flights/1/model.txt", "it"),
            ("code", "score/score.py", SCORE),
        ):
            upload(simulator, container, blob, text)
        register_assets(azure)
        assert put_endpoint(azure).status_code == 201
        azure.control.advance(60)
        assert put_deployment(azure, "blue").status_code == 201
        assert ready(azure, "blue") == "Succeeded"
        put_endpoint(azure, traffic={"blue": 100})
        azure.control.advance(30)
        assert ask(azure).text == '"it"'
        small = {f"containerResource{name}": {"memory": "256Mi"} for name in ("Requests", "Limits")}
        needs: dict[str, Any] = {
            "containerResourceRequirements": small,
            "environmentVariables": {"NEEDS_MIB": "400"},
        }
        hungry = put_deployment(azure, "hungry", **needs)
        assert (hungry.status_code, ready(azure, "hungry")) == (201, "Failed")
        assert azure.control.endpoint("live")["deployments"][1]["code"] == "PodOutOfMemory"
        assert "OOMKilled" in logs(azure, "hungry")
    with Simulator(clock=clock, state=tmp_path / "state") as simulator:
        azure = Azure(simulator)
        assert state(azure, "blue") == "Succeeded"
        answer = until(lambda: ask(azure), lambda answer: answer.status_code == 200, 60)
        assert answer.text == '"it"'
