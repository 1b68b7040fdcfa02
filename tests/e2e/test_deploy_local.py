"""The same rollout onto servers of the user's own machine: up step by step, and back by itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import pandas
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from localdev.demo.load import Load, Target
from shared.domain.names import deployment_name
from tests.node.jobs import as_parquet
from tests.support.conversions import conversion
from tests.support.deployments import (
    ask,
    calmly,
    decide,
    deployment,
    finish,
    put_model,
    put_version,
    rows,
)
from tests.support.estate import Estate, Ran, estate

NAME, CONVERTED = "here-live", "here-onnx"
DECLARED = {
    **deployment(NAME, rollout={"steps": [10, 100], "bake": "PT3M", "maxPredictionDrift": 0.5}),
    "target": {"platform": "local", "endpoint": NAME},
}
CONVERTING = {
    **deployment(
        CONVERTED,
        rollout={"steps": [100], "bake": "PT2M"},
        conversion=conversion(
            parity={"sample": {"container": "landing", "prefix": f"{CONVERTED}/"}},
            compute={"platform": "local", "regions": []},
        ),
    ),
    "target": {"platform": "local", "endpoint": CONVERTED},
}
del CONVERTING["scoring"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    place = tmp_path_factory.mktemp("deploy-local")
    with mock.patch.dict(os.environ), estate(place, [DECLARED, CONVERTING]) as world:
        yield world
        for path in (place / "local").rglob("process.json"):
            try:
                os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue


def _endpoint(here: Estate, name: str = NAME) -> Path:
    return Path(here.world.environment["MUSTER_LOCAL_WORK"]) / ".endpoints" / name


def _traffic(here: Estate) -> dict[str, int]:
    told: dict[str, int] = json.loads((_endpoint(here) / "endpoint.json").read_text())["traffic"]
    return told


def _client(here: Estate, folder: Path, name: str = NAME) -> Load:
    port, key = (
        (_endpoint(here, name) / "router/port").read_text(),
        json.loads((_endpoint(here, name) / "endpoint.json").read_text())["key"],
    )
    direct = {
        name: value for name, value in here.world.environment.items() if not name.lower().endswith("_proxy")
    }
    target = Target(name, f"http://127.0.0.1:{port}/score", key, 30.0)
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


def _fitted() -> tuple[Any, Any]:
    """A model whose conversion answers alike, and one whose does not: its tree splits where floats cannot tell apart."""
    chance = numpy.random.default_rng(5)
    frame = pandas.DataFrame({"distance": chance.uniform(0, 900, 400), "hour": chance.integers(0, 24, 400)})
    good = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(frame, frame["hour"] > 11)
    far = frame.assign(distance=16_777_216.0 + numpy.arange(400) % 64)
    bad = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)).fit(
        far, far["distance"] % 2
    )
    return good, bad


def test_a_model_is_served_as_onnx_if_it_answers_alike_and_not_at_all_if_it_does_not(
    here: Estate, tmp_path: Path
) -> None:
    good, bad = _fitted()
    for version, model in (("1", good), ("2", bad)):
        put_model(here, f"{CONVERTED}-model", version, model)
    far = pandas.DataFrame(
        {"distance": 16_777_216.0 + numpy.arange(200) % 64, "hour": numpy.arange(200) % 24}
    )
    here.land_bytes(f"{CONVERTED}/rows.parquet", as_parquet(far))

    first = ask(here, CONVERTED, "1")
    asked = calmly(
        lambda: here.read_json(here.state, f"deployments/{first.id}/approval-request.json"), "the question"
    )
    with _client(here, tmp_path / "load", CONVERTED):
        assert decide(here, first, "approve")[0] == 200
        ended = finish(here, first)

    found = ended.outcome["conversion"]
    assert ended.outcome["state"] == "Completed", ended.outcome
    assert found["converted"] and found["found"]["max_abs_difference"] < 1e-9, found
    assert ended.outcome["model_sha256"] == found["found"]["file"]["sha256"] == asked["model_sha256"]
    assert ended.report["conversion"] == found
    (server,) = _endpoint(here, CONVERTED).rglob("model/MODEL.json")
    card = json.loads(server.read_text())
    assert (card["flavor"], card["version"]) == ("onnx", ended.outcome["model"].partition(":")[2])

    refused = finish(here, ask(here, CONVERTED, "2"))
    assert refused.outcome["state"] == "Failed" and "labels flipped" in refused.outcome["reason"]
    assert list(_endpoint(here, CONVERTED).rglob("model/MODEL.json")) == [server]
    assert not list(here.state.list_blob_names(name_starts_with="leases/open/"))
