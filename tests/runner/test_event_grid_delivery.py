"""A real function app under the runner, and the simulated Event Grid that delivers to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localdev.azuresim import Control, Simulator
from localdev.azuresim.control import ControlError
from localdev.clock import Clock
from localdev.runner import Runner
from tests.runner.conftest import Trace
from tests.runner.support import APPS, until

RUN_COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def app(clock: Clock, trace: Trace, keys: Path) -> Iterator[Runner]:
    with Runner(APPS / "basics", clock=clock, keys=keys) as runner:
        yield runner


@pytest.fixture
def azure(clock: Clock) -> Iterator[Control]:
    with Simulator(clock=clock, storage=False) as simulator:
        yield Control(simulator.control_url)


def hook(app: Runner, keys: Path, function: str = "on_event", key: str = "") -> str:
    key = key or json.loads(keys.read_text())["systemKeys"]["eventgrid_extension"]
    return f"{app.url}/runtime/webhooks/EventGrid?functionName={function}&code={key}"


@pytest.mark.parametrize(("schema", "kind"), [("eventgrid", "EventGridEvent"), ("cloudevents", "CloudEvent")])
def test_an_event_becomes_one_call_of_the_function(
    azure: Control, app: Runner, keys: Path, trace: Trace, schema: str, kind: str
) -> None:
    azure.subscribe(hook(app, keys), schema=schema)
    id_ = azure.publish_event(RUN_COMPLETED, "experiments/e/runs/r", {"runId": "r"})
    (seen,) = until(lambda: trace("on_event"))
    until(lambda: azure.owed_deliveries() == 0)
    assert seen == {
        "name": "on_event",
        "kind": kind,
        "id": id_,
        "type": RUN_COMPLETED,
        "data": {"runId": "r"},
    }
    (attempt,) = azure.events(type_="event_delivery")
    assert attempt["status"] == 202


def test_a_batch_becomes_one_call_an_event(azure: Control, app: Runner, keys: Path, trace: Trace) -> None:
    azure.subscribe(hook(app, keys), batch={"maxEventsPerBatch": 10})
    id_ = azure.publish_event(RUN_COMPLETED, "experiments/e/runs/r", {"runId": "r"}, copies=5)
    until(lambda: azure.owed_deliveries() == 0)
    assert [each["id"] for each in trace("on_event")] == [id_] * 5
    assert len({each["batch"] for each in azure.events(type_="event_delivery")}) == 1


def test_an_app_that_fails_is_called_again_until_the_event_is_given_up(
    azure: Control, app: Runner, keys: Path, trace: Trace
) -> None:
    azure.subscribe(hook(app, keys), retry={"maxDeliveryAttempts": 3})
    azure.publish_event(RUN_COMPLETED, "s", {}, id="poison")
    azure.advance(3600)
    until(lambda: azure.owed_deliveries() == 0)
    assert [each["id"] for each in trace("on_event")] == ["poison"] * 3
    assert [each["status"] for each in azure.events(type_="event_delivery")] == [500] * 3
    (dropped,) = azure.events(type_="event_dropped")
    assert dropped["reason"] == "MaxDeliveryAttemptsExceeded"


def test_a_wrong_key_or_function_does_not_pass_the_handshake(azure: Control, app: Runner, keys: Path) -> None:
    for url, status in ((hook(app, keys, key="wrong"), 401), (hook(app, keys, function="nobody"), 404)):
        for schema in ("eventgrid", "cloudevents"):
            with pytest.raises(ControlError, match=f"response code {status}"):
                azure.subscribe(url, schema=schema)


def test_an_event_of_a_foreign_subscription_reaches_the_function(
    azure: Control, app: Runner, keys: Path, trace: Trace
) -> None:
    """The host delivers whatever Event Grid sends; to refuse it is the function's own affair."""
    azure.subscribe(hook(app, keys), name="ours")
    foreign = "/subscriptions/99999999-9999-9999-9999-999999999999/resourceGroups/x/providers/x/y/z"
    azure.publish_event(RUN_COMPLETED, "s", {}, source=foreign, to="ours", id="foreign")
    (seen,) = until(lambda: trace("on_event"))
    assert seen["id"] == "foreign"
