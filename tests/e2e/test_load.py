"""The outside client counts what it is given: nothing is tried again, nothing is left out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localdev.demo.load import Load, Target
from tests.support.estate import wait

ROWS = {"columns": ["distance", "hour"], "data": [[1.0, 1], [2.0, 2], [3.0, 3], [4.0, 4]]}


class Scorer(BaseHTTPRequestHandler):
    """Every fourth row, by its hour, is refused by green; without the key nothing is answered."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input_data"]["data"][0]
        known = self.headers["Authorization"] == "Bearer secret"
        status = 401 if not known else 500 if row[1] == 4 else 200
        body = b'{"predictions": [0.5]}'
        self.send_response(status)
        self.send_header("azureml-model-deployment", "green" if row[1] == 4 else "blue")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def uri() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Scorer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/score"
        server.shutdown()
        thread.join()


def test_each_answer_is_counted_once_by_deployment_and_status(tmp_path: Path, uri: str) -> None:
    targets = [Target("known", uri, "secret", rate=100), Target("stranger", uri, "guess", rate=20)]
    with Load(targets, ROWS, folder=tmp_path, environment={}) as load:
        wait(lambda: load.report("known")["answered"] >= 100, "a hundred answers")
        load.stop()
        known, stranger = load.report("known"), load.report("stranger")

    assert known["answered"] == known["sent"] >= 100
    blue, green = known["deployments"]["blue"], known["deployments"]["green"]
    assert blue["200"] + green["500"] == known["answered"]
    assert green["500"] == known["failed"] == known["sent"] // 4
    assert "200" not in green and blue["p95_ms"] >= blue["p50_ms"] > 0
    assert stranger["failed"] == stranger["sent"] > 0
    assert "401" in stranger["failures"][0] and "secret" not in json.dumps([known, stranger])


def test_an_endpoint_that_is_not_there_counts_as_failed(tmp_path: Path) -> None:
    nowhere = Target("nowhere", "http://127.0.0.1:9/score", "secret", rate=20)
    with Load([nowhere], ROWS, folder=tmp_path, environment={}) as load:
        wait(lambda: load.report("nowhere")["failed"] >= 5, "failures")
        load.stop()

    report = load.report("nowhere")
    assert report["failed"] == report["sent"]
    assert "ClientConnectorError" in report["deployments"]["-"]
