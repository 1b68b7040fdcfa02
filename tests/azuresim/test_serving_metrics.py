"""What Azure Monitor tells of an endpoint, and when. The clock stands still unless a test lets it pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from localdev.azuresim import Simulator
from localdev.azuresim.serving import ServedModel
from localdev.azuresim.serving.models import Kind
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World
from localdev.clock import Clock
from tests.azuresim import serving_scripts as scripts
from tests.azuresim.azure_client import Azure, until
from tests.azuresim.ml_requests import WORKSPACE

START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/measured"
TYPE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
SPLIT = "deployment eq '*' and statusCodeClass eq '*'"


class Monitored:
    """Each test has hours of its own: what was asked before is out of its window."""

    def __init__(self, azure: Azure) -> None:
        azure.control.advance(7200 - azure.control.clock()["now"] % 3600)
        self.azure = azure
        self.began = datetime.fromtimestamp(azure.control.clock()["now"], UTC)

    def score(self, deployment: str, number: int = 1, **asked: Any) -> None:
        headers = {"Authorization": "Bearer key", "azureml-model-deployment": deployment}
        url = "https://measured.westeurope.inference.ml.azure.com/score"
        for _ in range(number):
            self.azure.plain("POST", url, json=asked, headers=headers)

    def pass_minutes(self, minutes: float) -> None:
        self.azure.control.advance(60 * minutes)

    def ask(self, names: str, filter_: str = "", **more: str) -> Any:
        now = datetime.fromtimestamp(self.azure.control.clock()["now"], UTC)
        query = {
            "api-version": "2018-01-01", "metricnames": names, "interval": "PT1M", "aggregation": "Average",
            "timespan": f"{self.began:%Y-%m-%dT%H:%M:%SZ}/{now:%Y-%m-%dT%H:%M:%SZ}", "$filter": filter_, **more,
        }  # fmt: skip
        path = f"{ENDPOINT}/providers/Microsoft.Insights/metrics?{urlencode(query)}"
        return self.azure.send("GET", path)

    def series(self, name: str, filter_: str = "") -> dict[tuple[str, ...], list[float | None]]:
        """Values by dimensions' values, in the order of the names of the dimensions."""
        (metric,) = self.ask(name, filter_).json()["value"]
        return {
            tuple(each["value"] for each in one["metadatavalues"]): [
                point.get("average") for point in one["data"]
            ]
            for one in metric["timeseries"]
        }


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("metrics")
    clock = Clock.create(folder / "clock.json", start=START, speed=0)
    code = scripts.write(folder / "code", scripts.OBEDIENT)

    def furnish(world: World) -> None:
        assert world.serving is not None
        world.store.put(Resource(ENDPOINT, TYPE, "westeurope", world.now(), world.now()))
        for name in ("blue", "green"):
            world.serving.launch(ENDPOINT, name, ServedModel(code, "score.py", code))
        world.serving.route(ENDPOINT, {"blue": 100}, ("key",))

    with Simulator(clock=clock) as simulator:
        simulator.act(furnish)
        yield simulator


@pytest.fixture(scope="module")
def azure(simulator: Simulator) -> Iterator[Azure]:
    azure = Azure(simulator)
    until(
        lambda: azure.control.serving("measured")["deployments"].values(),
        lambda seen: {each["phase"] for each in seen} == {"running"},
    )
    yield azure
    assert [e for e in azure.control.events() if e["type"] in ("defect", "contract_violation")] == []


@pytest.fixture
def monitored(azure: Azure) -> Iterator[Monitored]:
    yield Monitored(azure)
    azure.control.clear_faults()


def test_requests_are_counted_by_deployment_and_class_a_value_a_minute(monitored: Monitored) -> None:
    monitored.score("blue", 3)
    monitored.score("green", 2)
    monitored.score("green", error="boom")
    monitored.pass_minutes(2)
    monitored.score("blue", 4)
    monitored.pass_minutes(4)
    assert monitored.series("RequestsPerMinute", SPLIT) == {
        ("blue", "2xx"): [3, None, 4, None, None, None],
        ("green", "2xx"): [2, None, None, None, None, None],
        ("green", "5xx"): [1, None, None, None, None, None],
    }
    assert monitored.series("RequestsPerMinute") == {(): [6, None, 4, None, None, None]}
    only = "deployment eq 'green' and statusCodeClass eq '4xx' or statusCodeClass eq '5xx'"
    assert list(monitored.series("RequestsPerMinute", only)) == [("green", "5xx")]
    unequal = "deployment eq '*' and statusCodeClass ne '2xx'"
    assert list(monitored.series("RequestsPerMinute", unequal)) == [("green", "5xx")]


def test_behind_a_managed_endpoint_s_424_the_model_s_own_status_is_told(
    monitored: Monitored, simulator: Simulator
) -> None:
    def route(world: World, kind: Kind) -> None:
        assert world.serving is not None
        world.serving.route(ENDPOINT, {"blue": 100}, ("key",), kind=kind)

    simulator.act(lambda world: route(world, "managed"))
    monitored.score("blue", 2, status=400)
    monitored.score("blue", error="boom")
    monitored.score("blue")
    simulator.act(lambda world: route(world, "kubernetes"))
    monitored.pass_minutes(3)
    filter_ = "deployment eq '*' and statusCode eq '*' and modelStatusCode eq '*'"
    told = {key: series[0] for key, series in monitored.series("RequestsPerMinute", filter_).items()}
    assert told == {("blue", "200", "200"): 1, ("blue", "400", "424"): 2, ("blue", "500", "424"): 1}


def test_a_minute_is_told_late_and_at_first_in_part(monitored: Monitored) -> None:
    monitored.score("blue", 2)
    monitored.pass_minutes(0.9)
    monitored.score("blue", 3)
    told = []
    for _ in range(5):
        told.append(monitored.series("RequestsPerMinute")[()][0])
        monitored.pass_minutes(0.5)
    assert told == [None, None, 2, 2, 5]


def test_latency_is_that_of_the_servers_in_milliseconds(monitored: Monitored) -> None:
    monitored.score("blue", 9)
    monitored.score("blue", sleep=0.3)
    monitored.score("green", sleep=0.3)
    monitored.pass_minutes(3)
    values = {
        name: {key: series[0] or 0 for key, series in monitored.series(name, "deployment eq '*'").items()}
        for name in ("RequestLatency_P50", "RequestLatency_P90", "RequestLatency_P95", "RequestLatency_P99")
    }
    assert 0 < values["RequestLatency_P50"]["blue",] <= values["RequestLatency_P90"]["blue",]
    assert values["RequestLatency_P90"]["blue",] < values["RequestLatency_P95"]["blue",]
    assert 300 <= values["RequestLatency_P95"]["blue",] == values["RequestLatency_P99"]["blue",]
    assert values["RequestLatency_P50"]["green",] >= 300


def test_an_answer_has_the_form_that_microsoft_shows(monitored: Monitored) -> None:
    monitored.score("blue")
    monitored.pass_minutes(3)
    answer = monitored.ask("RequestsPerMinute,RequestLatency_P95", "deployment eq '*'").json()
    until_ = monitored.began + timedelta(minutes=3)
    assert answer["timespan"] == f"{monitored.began:%Y-%m-%dT%H:%M:%SZ}/{until_:%Y-%m-%dT%H:%M:%SZ}"
    assert (answer["interval"], answer["namespace"], answer["resourceregion"]) == ("PT1M", TYPE, "westeurope")
    count, latency = answer["value"]
    assert count["id"] == f"{ENDPOINT}/providers/Microsoft.Insights/metrics/RequestsPerMinute"
    assert (count["unit"], latency["unit"]) == ("Count", "MilliSeconds")
    name = {"value": "deployment", "localizedValue": "deployment"}
    assert count["timeseries"][0] == {
        "metadatavalues": [{"name": name, "value": "blue"}],
        "data": [
            {"timeStamp": f"{monitored.began:%Y-%m-%dT%H:%M:%SZ}", "average": 1.0},
            *({"timeStamp": f"{monitored.began + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}"} for n in (1, 2)),
        ],
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"metricnames": "Requests"},
        {"aggregation": "Total"},
        {"interval": "PT2M"},
        {"timespan": "yesterday"},
        {"metricnames": "RequestLatency_P95", "$filter": SPLIT},
        {"$filter": "deployment eq 'a' or statusCodeClass eq '2xx'"},
        {"$filter": "deployment is 'a'"},
    ],
)
def test_a_wrong_question_is_refused_outside_arms_envelope(
    monitored: Monitored, wrong: dict[str, str]
) -> None:
    monitored.pass_minutes(1)
    answer = monitored.ask("RequestsPerMinute", **wrong)
    assert answer.status_code == 400
    assert answer.json()["code"] == "BadRequest"
    assert answer.json()["message"]


def test_no_more_series_are_told_than_asked_for(monitored: Monitored) -> None:
    monitored.score("blue")
    monitored.score("green")
    monitored.pass_minutes(3)
    answer = monitored.ask("RequestsPerMinute", SPLIT, top="1").json()
    assert len(answer["value"][0]["timeseries"]) == 1


def test_metrics_can_be_missing_and_stale(monitored: Monitored) -> None:
    monitored.score("blue", 2)
    monitored.pass_minutes(3)
    control = monitored.azure.control
    control.add_faults({"preset": "metrics-missing", "resource": "*/onlineEndpoints/measured/*"})
    assert monitored.series("RequestsPerMinute", SPLIT) == {}
    assert monitored.series("RequestsPerMinute") == {(): [None, None, None]}
    control.clear_faults()
    control.add_faults({"preset": "metrics-stale"})
    assert monitored.series("RequestsPerMinute", SPLIT) == {}
    monitored.pass_minutes(13)
    assert monitored.series("RequestsPerMinute", SPLIT)["blue", "2xx"][0] == 2


def test_there_are_no_metrics_of_an_endpoint_that_is_not_there(monitored: Monitored) -> None:
    path = f"{WORKSPACE}/onlineEndpoints/other/providers/Microsoft.Insights/metrics?api-version=2018-01-01"
    answer = monitored.azure.send("GET", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
