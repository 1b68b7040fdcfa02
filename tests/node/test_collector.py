"""What scoring servers collect: rows of several writers in real append blobs, and never at a request's cost."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.models import parse_card
from node.serving.collector import collector_of
from tests.node.estate import ACCOUNT_URL, CLIENT_ID, Estate
from tests.node.servers import GOOD, needs_inference, served, store_model, unpacked

WORKSPACE = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/w1"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("code"))


class Collected:
    """A container of its own, and servers that collect in it."""

    def __init__(self, estate: Estate, code: Path, folder: Path, model: Any) -> None:
        self.estate, self.code, self.model = estate, code, folder / "model"
        self.container = f"modeldata-{os.urandom(4).hex()}"
        self.digest = store_model(self.model, model)
        estate.blobs.create_container(self.container)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **{name: value for name, value in self.estate.env.items() if name not in ("PATH", "HOME")},
            "MUSTER_MODEL_SHA256": self.digest,
            "MUSTER_COLLECT": f"{ACCOUNT_URL}/{self.container}",
            "MUSTER_COLLECT_CLIENT_ID": CLIENT_ID,
            "MUSTER_COLLECT_EVERY_S": "0.2",
            "MUSTER_WORKSPACE": WORKSPACE,
            "MUSTER_SERVICE": "flights-live",
            "MUSTER_MODEL": "flights-delay",
            "MUSTER_VERSION": "1",
            "MUSTER_DEPLOYMENT": "d0a1b2c3d",
            **more,
        }

    def rows(self, designation: str) -> list[dict[str, str]]:
        client = self.estate.blobs.get_container_client(self.container)
        found: list[dict[str, str]] = []
        for blob in client.list_blobs(f"s1/g1/w1/flights-live/flights-delay/1/{designation}/"):
            assert blob.blob_type == "AppendBlob"
            assert blob.name.endswith("/data.csv")
            text = client.download_blob(blob.name).readall().decode()
            found += csv.DictReader(io.StringIO(text))
        return found

    def until(self, reached: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(300):
            if reached():
                return
            pause.wait(0.1)
        raise AssertionError(
            f"{len(self.rows('inputs'))} inputs, {len(self.rows('predictions'))} predictions"
        )


@pytest.fixture
def collected(machine: Estate, code: Path, tmp_path: Path, model: Any) -> Collected:
    return Collected(machine, code, tmp_path, model)


@needs_inference
def test_what_is_served_is_collected_by_several_writers_under_one_header(collected: Collected) -> None:
    environment = collected.environment()
    with (
        served("inference", collected.code, collected.model, environment) as one,
        served("wsgi", collected.code, collected.model, environment) as other,
    ):
        answers = [
            server.post(GOOD, **{"x-ms-client-request-id": f"c{n}"}) for n, server in enumerate([one, other])
        ]
        one.post({"input_data": {"columns": ["hour", "distance"], "data": [["late", 1.0]]}})
        one.post(GOOD, **{"x-ms-client-request-id": "muster-probe-1"})
        collected.until(lambda: len(collected.rows("predictions")) >= 4 <= len(collected.rows("inputs")))
    inputs, predictions = collected.rows("inputs"), collected.rows("predictions")
    told = {
        (headers["x-muster-request-id"], str(row)): value
        for _, answer, headers in answers
        for row, value in enumerate(answer["predictions"])
    }
    assert {(row["request_id"], row["row"]): float(row["late_probability"]) for row in predictions} == told
    assert sorted((r["client_request_id"], r["distance"], r["hour"]) for r in inputs) == [
        ("c0", "500.5", "7"), ("c0", "90.0", "23"), ("c1", "500.5", "7"), ("c1", "90.0", "23"),
    ]  # fmt: skip
    assert {row["deployment"] for row in inputs} == {"d0a1b2c3d"}
    assert all(row["time"].endswith("Z") for row in inputs)


@needs_inference
def test_what_waits_is_written_before_a_server_ends(collected: Collected) -> None:
    environment = collected.environment(MUSTER_COLLECT_EVERY_S="3600")
    with served("inference", collected.code, collected.model, environment) as server:
        server.post(GOOD)
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(60)
    assert len(collected.rows("inputs")) == len(collected.rows("predictions")) == 2


def test_where_storage_is_away_requests_go_on_and_rows_are_dropped_and_counted(collected: Collected) -> None:
    environment = collected.environment(HTTPS_PROXY="http://127.0.0.1:9")
    padded = json.dumps(GOOD).encode().ljust(1024 * 1024)
    with served("wsgi", collected.code, collected.model, environment) as server:
        assert [server.post(padded)[0] for _ in range(6)] == [200] * 6
        collected.until(lambda: "collecting failed" in server.said())
        collected.until(lambda: "collecting: 4 rows were dropped so far" in server.said())
        assert server.post(GOOD)[0] == 200


def test_a_container_that_is_not_there_fails_no_request(collected: Collected) -> None:
    environment = collected.environment(MUSTER_COLLECT=f"{ACCOUNT_URL}/there-is-none")
    with served("wsgi", collected.code, collected.model, environment) as server:
        assert server.post(GOOD)[0] == 200
        collected.until(lambda: "ContainerNotFound" in server.said())
        assert server.post(GOOD)[0] == 200


@pytest.mark.parametrize(
    "broken",
    [
        {"MUSTER_COLLECT": "https://elsewhere.example/modeldata"},
        {"MUSTER_COLLECT": f"{ACCOUNT_URL}/a/b"},
        {"MUSTER_WORKSPACE": "nothing"},
        {"MUSTER_VERSION": "../../other"},
        {"MUSTER_SERVICE": ""},
    ],
)
def test_a_wrong_setting_collects_nothing_and_serves(
    collected: Collected, caplog: pytest.LogCaptureFixture, broken: dict[str, str]
) -> None:
    card = parse_card((collected.model / "MODEL.json").read_bytes())
    assert collector_of(collected.environment(**broken), card) is None
    assert "nothing is collected" in caplog.text


def test_a_blob_taken_away_is_begun_again_with_its_header(collected: Collected) -> None:
    with served("wsgi", collected.code, collected.model, collected.environment()) as server:
        server.post(GOOD)
        collected.until(lambda: len(collected.rows("inputs")) == 2)
        client = collected.estate.blobs.get_container_client(collected.container)
        for blob in list(client.list_blobs()):
            client.delete_blob(blob.name)
        server.post(GOOD)
        collected.until(lambda: len(collected.rows("predictions")) == 2 == len(collected.rows("inputs")))
