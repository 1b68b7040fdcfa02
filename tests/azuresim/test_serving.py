"""The data plane of online endpoints, as its clients see it: real servers behind the real proxy."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from localdev.azuresim import Simulator
from localdev.azuresim.serving import BlobFolder, Health, ServedModel, Serving
from localdev.clock import Clock
from tests.azuresim import serving_scripts as scripts
from tests.azuresim.azure_client import Azure, until

START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
ENDPOINT, KEYS = "flights", ("first-key", "second-key")
DEPLOYMENT = "azureml-model-deployment"


@dataclass
class House:
    """A simulator with one endpoint and two deployments of a script that does as it is told."""

    simulator: Simulator
    azure: Azure
    folder: Path

    def do[T](self, deed: Callable[[Serving], T]) -> T:
        def with_serving(world: Any) -> T:
            return deed(world.serving)

        return self.simulator.act(with_serving)

    def launch(self, deployment: str, served: ServedModel) -> None:
        self.do(lambda serving: serving.launch(ENDPOINT, deployment, served))

    def model(self, name: str, script: str = scripts.OBEDIENT) -> ServedModel:
        folder = scripts.write(self.folder / name, script)
        return ServedModel(folder, "score.py", folder, timeout_s=10)

    def route(self, weights: dict[str, int], **options: Any) -> None:
        self.do(lambda serving: serving.route(ENDPOINT, weights, **{"keys": KEYS, **options}))

    def health(self, deployment: str) -> Health:
        return self.do(lambda serving: serving.state(ENDPOINT, deployment))

    def wait(self, deployment: str, phase: str) -> Health:
        return until(lambda: self.health(deployment), lambda health: health.phase == phase)

    def score(self, asked: dict[str, Any] | None = None, **headers: str) -> requests.Response:
        return Client(self).score(asked, **headers)


class Client:
    """A connection of its own, kept alive."""

    def __init__(self, house: House) -> None:
        self._azure = Azure.at(house.azure.env)

    def score(self, asked: dict[str, Any] | None = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"https://{ENDPOINT}.westeurope.inference.ml.azure.com/score"
        sent = {"Authorization": f"Bearer {KEYS[0]}", **named}
        return self._azure.plain("POST", url, json=asked or {}, headers=sent)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("serving")
    clock = Clock.create(folder / "clock.json", start=START, speed=0)
    with Simulator(clock=clock) as simulator:
        house = House(simulator, Azure(simulator), folder)
        for name in ("blue", "green"):
            house.launch(name, house.model(name))
        for name in ("blue", "green"):
            house.wait(name, "running")
        yield house
        assert [
            e for e in house.azure.control.events() if e["type"] in ("defect", "contract_violation")
        ] == []


def test_requests_are_spread_by_weight(house: House) -> None:
    house.route({"blue": 90, "green": 10}, seed=7)
    client = Client(house)
    seen = Counter(client.score().headers[DEPLOYMENT] for _ in range(400))
    assert set(seen) == {"blue", "green"}
    assert abs(seen["green"] - 40) < 4 * (400 * 0.1 * 0.9) ** 0.5


def test_a_request_may_name_its_deployment_and_the_next_one_is_free_again(house: House) -> None:
    house.route({"blue": 100, "green": 0})
    client = Client(house)
    assert client.score(azureml_model_deployment="green").headers[DEPLOYMENT] == "green"
    assert {client.score().headers[DEPLOYMENT] for _ in range(20)} == {"blue"}
    refused = client.score(azureml_model_deployment="purple")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NotFound")


def test_only_the_endpoints_keys_open_it_and_the_model_does_not_see_them(house: House) -> None:
    house.route({"blue": 100})
    assert house.score(Authorization="Bearer second-key").status_code == 200
    assert house.score(Authorization="Bearer third-key").status_code == 401
    assert house.score(Authorization="first-key").status_code == 401
    assert house.score(Authorization="").status_code == 401


def test_an_endpoint_without_keys_takes_tokens_for_machine_learning_only(house: House) -> None:
    house.route({"blue": 100}, keys=())
    for resource, status in (("https://ml.azure.com", 200), ("https://management.azure.com", 401)):
        client_id = house.azure.env["AZURE_CLIENT_ID"]
        token = house.azure.identity(resource=resource, client_id=client_id).json()["access_token"]
        assert house.score(Authorization=f"Bearer {token}").status_code == status
    assert house.score(Authorization=f"Bearer {KEYS[0]}").status_code == 401


def test_without_weight_and_without_a_route_there_is_nothing(house: House) -> None:
    house.route({"blue": 0, "green": 0})
    assert house.score().status_code == 404
    other = "https://nobody.westeurope.inference.ml.azure.com/score"
    assert house.azure.plain("POST", other, json={}).status_code == 404


@pytest.mark.parametrize(
    ("asked", "kubernetes", "managed"),
    [({"error": "boom"}, 502, 424), ({"status": 400}, 400, 424), ({"exit": 1}, 502, 424)],
)
def test_a_failure_of_the_model_looks_as_the_kind_of_endpoint_says(
    house: House, asked: dict[str, Any], kubernetes: int, managed: int
) -> None:
    for kind, status in (("kubernetes", kubernetes), ("managed", managed)):
        house.route({"blue": 100}, kind=kind)
        until(house.score, lambda answer: answer.status_code == 200)
        answer = house.score(asked)
        assert (answer.status_code, answer.headers[DEPLOYMENT]) == (status, "blue")
        assert bool(answer.headers.get("ms-azureml-model-error-statuscode")) == (status == 424)
    until(house.score, lambda answer: answer.status_code == 200)


def test_a_request_that_takes_too_long_is_given_up(house: House) -> None:
    house.launch("hasty", replace(house.model("hasty"), timeout_s=0.5))
    house.wait("hasty", "running")
    for kind, status in (("kubernetes", 504), ("managed", 408)):
        house.route({"hasty": 100}, kind=kind)
        until(house.score, lambda answer: answer.status_code == 200)
        assert house.score({"sleep": 1.0}).status_code == status
    house.do(lambda serving: serving.stop(ENDPOINT, "hasty"))


def test_what_nobody_can_take_is_refused(house: House) -> None:
    with ThreadPoolExecutor(5) as pool:
        house.route({"blue": 100}, kind="managed")
        answers = pool.map(lambda _: house.score({"sleep": 1.0}).status_code, range(5))
        assert Counter(answers) == {200: 2, 429: 3}  # 2 x max_concurrent x instances
        house.route({"blue": 100})
        answers = pool.map(lambda _: house.score({"sleep": 1.2}).status_code, range(3))
        assert Counter(answers) == {200: 1, 503: 2}
        answers = pool.map(lambda _: house.score({"sleep": 0.02}).status_code, range(5))
        assert Counter(answers) == {200: 5}  # they wait their turn


def test_instances_share_the_work(house: House) -> None:
    house.launch("pair", replace(house.model("pair"), instances=2))
    house.wait("pair", "running")
    house.route({"pair": 100})
    with ThreadPoolExecutor(2) as pool:
        hosts = pool.map(lambda _: house.score({"sleep": 0.2, "environment": 1}).json()["HOME"], range(2))
        assert len(set(hosts)) == 2
    house.do(lambda serving: serving.stop(ENDPOINT, "pair"))


def test_an_instance_serves_as_many_at_once_as_it_has_workers(house: House) -> None:
    """What tells sizes apart here: a larger one is told to start more processes, and has no more processors."""
    pair = replace(house.model("workers"), max_concurrent=4, environment={"WORKER_COUNT": "2"})
    house.launch("workers", pair)
    house.wait("workers", "running")
    house.route({"workers": 100})
    with ThreadPoolExecutor(4) as pool:

        def processes() -> set[int]:
            return set(
                pool.map(lambda _: house.score({"sleep": 0.2, "process": 1}).json()["process"], range(4))
            )

        assert (
            len(until(processes, lambda found: len(found) == 2)) == 2
        )  # the second may be up a little later
    house.do(lambda serving: serving.stop(ENDPOINT, "workers"))


def test_a_body_that_is_too_large_is_refused(house: House) -> None:
    house.route({"blue": 100}, kind="managed")
    assert house.score({"data": "x" * (11 * 1024 * 1024)}).status_code == 413
    house.route({"blue": 100})
    assert house.score({"data": "x" * (11 * 1024 * 1024)}).json()["received"] > 11 * 1024 * 1024


def test_a_script_that_cannot_start_is_in_a_crash_loop_with_its_log(house: House) -> None:
    house.launch("broken", house.model("broken", scripts.BROKEN))
    house.route({"broken": 100})
    health = house.wait("broken", "crash_loop")
    assert "ValueError: no model of that name" in health.log
    assert "container exited with code 3" in house.do(lambda serving: serving.logs(ENDPOINT, "broken"))
    assert house.score().status_code == 503
    house.route({"broken": 100}, kind="managed")
    assert house.score().status_code == 424
    house.do(lambda serving: serving.stop(ENDPOINT, "broken"))
    assert house.health("broken") == ("absent", "")


def test_a_script_that_takes_more_memory_than_it_may_is_killed(house: House) -> None:
    house.launch("hungry", replace(house.model("hungry", scripts.HUNGRY), memory_mb=250))
    assert "OOMKilled" in house.wait("hungry", "out_of_memory").log
    house.do(lambda serving: serving.stop(ENDPOINT, "hungry"))


def test_a_server_that_dies_under_a_request_comes_back(house: House) -> None:
    house.launch("frail", replace(house.model("frail"), memory_mb=250))
    house.wait("frail", "running")
    house.route({"frail": 100})
    assert house.score({"hog_mb": 400}).status_code == 502
    until(house.score, lambda answer: answer.status_code == 200)
    assert house.azure.control.serving(ENDPOINT)["deployments"]["frail"]["restarts"] == 1
    assert "OOMKilled" in house.do(lambda serving: serving.logs(ENDPOINT, "frail"))
    house.do(lambda serving: serving.stop(ENDPOINT, "frail"))


def test_a_shift_under_load_fails_no_request_even_if_blue_is_stopped_at_once(house: House) -> None:
    house.launch("old", house.model("old"))
    house.wait("old", "running")
    house.route({"old": 100}, seed=3)
    over = threading.Event()

    def load(pause: float) -> Counter[tuple[int, str]]:
        client, seen = Client(house), Counter[tuple[int, str]]()
        while not over.is_set():
            answer = client.score({"sleep": pause})
            seen[answer.status_code, answer.headers.get(DEPLOYMENT, "")] += 1
        return seen

    def counts() -> dict[str, int]:
        found = house.azure.control.serving(ENDPOINT)["requests"]
        return {name: found.get(name, {}).get("200", 0) for name in ("old", "green")}

    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load, pause) for pause in (0.0, 0.002, 0.1)]
        until(counts, lambda seen: seen["old"] >= 40)
        before = counts()["green"]
        for share in (5, 50, 100):
            house.route({"old": 100 - share, "green": share})
            reached = counts()["green"]
            until(counts, lambda seen, least=reached + 5: seen["green"] >= least)  # type: ignore[misc]
        house.do(lambda serving: serving.stop(ENDPOINT, "old"))
        until(counts, lambda seen: seen["green"] >= before + 60)
        over.set()
    seen = sum((each.result() for each in loads), Counter[tuple[int, str]]())
    assert {status for status, _ in seen} == {200}
    assert {name for _, name in seen} == {"old", "green"}


def test_a_server_that_is_stopped_may_do_what_it_does_at_its_end(house: House) -> None:
    farewell = house.folder / "farewell"
    house.launch("polite", replace(house.model("polite"), environment={"FAREWELL": str(farewell)}))
    house.wait("polite", "running")
    house.do(lambda serving: serving.stop(ENDPOINT, "polite"))
    until(farewell.exists, bool)


def test_files_come_from_storage_and_the_server_may_write_to_it(house: House) -> None:
    account = house.azure.env["MUSTER_STORAGE_ACCOUNT_URL"]
    token = house.azure.identity(resource="https://storage.azure.com").json()["access_token"]
    sent = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-10-04"}

    def put(path: str, content: bytes, **headers: str) -> None:
        answer = house.azure.plain("PUT", f"{account}/{path}", data=content, headers={**sent, **headers})
        assert answer.status_code == 201, answer.text

    code = scripts.write(house.folder / "collecting", scripts.COLLECTING) / "score.py"
    for container in ("shelf", "modeldata"):
        put(f"{container}?restype=container", b"")
    put("shelf/code/score.py", code.read_bytes(), **{"x-ms-blob-type": "BlockBlob"})
    put("shelf/flights/7/weights.txt", b"seven", **{"x-ms-blob-type": "BlockBlob"})
    served = ServedModel(
        BlobFolder("shelf", "code"), "score.py", BlobFolder("shelf", "flights/7"), {"ACCOUNT_URL": account},
        timeout_s=20, client_id=house.azure.env["MUSTER_VM_IDENTITY_CLIENT_ID"],
    )  # fmt: skip
    house.launch("collecting", served)
    house.wait("collecting", "running")
    house.route({"collecting": 100})
    assert house.score({"a": 1}).json() == {"model": "seven"}
    assert house.azure.plain("GET", f"{account}/modeldata/seen.txt", headers=sent).json() == {"a": 1}
    house.do(lambda serving: serving.stop(ENDPOINT, "collecting"))


def test_files_that_are_not_there_are_named(house: House) -> None:
    nowhere = BlobFolder("azureml", "models/none")
    house.launch("empty", ServedModel(nowhere, "score.py", nowhere))
    assert house.wait("empty", "crash_loop").log == "no blobs found at models/none"
    house.do(lambda serving: serving.stop(ENDPOINT, "empty"))


def test_a_script_sees_its_own_variables_and_nothing_of_the_simulators(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "x")
    house.launch("seeing", replace(house.model("seeing"), environment={"MUSTER_MODEL": "flights"}))
    house.wait("seeing", "running")
    house.route({"seeing": 100})
    seen = house.score({"environment": 1}).json()
    assert seen["AZUREML_MODEL_DIR"] == seen["AML_APP_ROOT"] == str(house.folder / "seeing")
    assert seen["MUSTER_MODEL"] == "flights"
    assert not {"A_SECRET_OF_THE_HOST", "MSI_SECRET", "PYTEST_CURRENT_TEST"} & set(seen)
    house.do(lambda serving: serving.stop(ENDPOINT, "seeing"))


def test_servers_end_with_a_simulator_that_is_killed(tmp_path: Path) -> None:
    code = scripts.write(tmp_path / "code", scripts.OBEDIENT)
    program = [sys.executable, "-m", "tests.azuresim.serving_process", str(code)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        server = int(simulator.stdout.readline())
        assert Path(f"/proc/{server}").exists()
        simulator.kill()
    until(lambda: Path(f"/proc/{server}").exists(), lambda is_there: not is_there)
