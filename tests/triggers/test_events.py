"""Events as Event Grid delivers them to the running app, and what a person is told of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.domain.names import train_run_id
from tests.events.deliveries import ML, dataset_drift, key_of
from tests.support.estate import Estate, wait
from tests.triggers.test_cli import Muster

DRIFT = f"{ML}DatasetDriftDetected"
UNDER = 0.1


@pytest.fixture(scope="module")
def endpoint(world: Estate) -> Iterator[str]:
    """The app's webhook with its key. Event Grid has validated it and delivers in both schemas."""
    key = json.loads((world.world.state / "keys.json").read_text())["systemKeys"]["eventgrid_extension"]
    url = f"{world.world.url}/runtime/webhooks/EventGrid?functionName=ml_event&code={key}"
    world.world.control.subscribe(url, name="plain")
    world.world.control.subscribe(url, schema="cloudevents", name="cloud")
    yield url


@pytest.fixture
def muster(world: Estate, tmp_path: Path) -> Muster:
    return Muster(tmp_path, MUSTER_URL=world.world.url, MUSTER_KEY=world.world.key)


def publish(world: Estate, monitor: str, coefficient: float, **how: Any) -> str:
    """A drift that Azure ML tells; the key of its fact."""
    run = f"drift-{uuid.uuid4().hex[:8]}"
    raw = dataset_drift(
        run, coefficient, monitor=monitor, topic=world.world.environment["MUSTER_ML_WORKSPACE"]
    )
    world.world.control.publish_event(DRIFT, raw["subject"], raw["data"], **how)
    return key_of(raw)


def decided(world: Estate, key: str) -> dict[str, Any]:
    """The decision about an event, when there is a final one."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        status, answer = world.world.api(f"decisions/{key}")
        found[:] = answer["decisions"] if status == 200 else []
        return bool(found) and found[0]["action"] != "WAIT"

    wait(look, f"a decision about {key}; last seen {found}", 90)
    (decision,) = found
    return decision


def all_delivered(world: Estate) -> None:
    wait(lambda: world.world.control.owed_deliveries() == 0, "Event Grid to be rid of its events")


@pytest.mark.parametrize("casing", ["camel", "pascal"])
def test_a_drift_in_any_form_and_number_is_one_decision(world: Estate, endpoint: str, casing: str) -> None:
    key = publish(world, "retrains-monitor", UNDER, copies=4, casing=casing)
    decision = decided(world, key)
    assert (decision["workload"], decision["action"]) == ("retrains", "IGNORE")
    all_delivered(world)
    _, answer = world.world.api("decisions?workload=retrains")
    assert [each["key"] for each in answer["decisions"]].count(key) == 1


def test_a_person_is_told_what_was_decided_and_why(world: Estate, endpoint: str, muster: Muster) -> None:
    key = publish(world, "retrains-monitor", UNDER)
    decided(world, key)
    text = muster.ok("explain", key)
    first, *reasons = text.splitlines()
    assert "  IGNORE  retrains  retrains-monitor runs/drift-" in first and f"(event {key})" in first
    assert reasons[-1] == "  because      Ignored: drift 0.1 is under the threshold 0.3"
    assert text in muster.ok("explain", "retrains")
    assert muster("explain", key, "--json").json["decisions"][0]["key"] == key


def test_drift_that_counts_starts_a_run_that_is_listed_and_explained(
    world: Estate, endpoint: str, muster: Muster
) -> None:
    key = publish(world, "retrains-monitor", 0.7)
    decision = decided(world, key)
    assert (decision["action"], decision["run"]) == ("START", train_run_id("retrains", f"event-{key[:16]}"))
    wait(lambda: decision["run"] in muster.ok("runs"), "the tick to start it")
    assert muster.ok("explain", decision["run"]).startswith(f"{decision['run']}: ")
    assert f"  run          {decision['run']}\n" in muster.ok("explain", "retrains")


def test_a_retraining_may_be_started_by_hand(world: Estate, muster: Muster) -> None:
    said = muster("run", "by-hand", "--idempotency-key", "one", "--json").json
    assert said["id"].startswith("train-by-hand-manual-")
    assert muster.ok("run", "by-hand", "--idempotency-key", "one").startswith(
        f"{said['id']} was started before"
    )
    assert said["id"] in muster.ok("runs")


def test_without_new_data_it_waits_durably_and_says_until_when(
    world: Estate, endpoint: str, muster: Muster
) -> None:
    key = publish(world, "lacks-monitor", 0.7)
    wait(lambda: world.world.api(f"decisions/{key}")[0] == 200, "the first look")
    text = muster.ok("explain", key)
    assert "  because      waiting for data: 0 of 1 new blobs\n  next look    20" in text
    decision = decided(world, key)
    assert decision["action"] == "DEFER"
    assert decision["reasons"][-1] == "Deferred: 0 of 1 new blobs after PT10M (readyWithin)"


def test_a_drift_is_considered_at_once_and_does_not_wait_for_the_next_tick(
    world: Estate, endpoint: str
) -> None:
    clock = world.world.clock
    speed = clock.speed
    clock.set_speed(0)  # no timer fires
    try:
        assert decided(world, publish(world, "retrains-monitor", UNDER))["action"] == "IGNORE"
    finally:
        clock.set_speed(speed)


def test_a_drift_that_nobody_listens_to_is_explained(world: Estate, endpoint: str, muster: Muster) -> None:
    key = publish(world, "strangers-monitor", 0.9)
    assert decided(world, key)["action"] == "IGNORE"
    assert "no workload listens to monitor 'strangers-monitor'; there are: by-hand" in muster.ok(
        "explain", key
    )


def test_what_we_refuse_is_not_sent_again(world: Estate, endpoint: str, muster: Muster) -> None:
    """Another workspace's event and one of a type nobody knows: taken, on record, and done with."""
    foreign = world.world.environment["MUSTER_ML_WORKSPACE"] + "-of-somebody"
    key = publish(world, "retrains-monitor", 0.9, topic=foreign)
    world.world.control.publish_event("Microsoft.MachineLearningServices.Unheard", "x", {"a": 1})
    all_delivered(world)
    assert muster("explain", key).status == 1
    folders = {blob.name.split("/")[1] for blob in world.state.list_blobs("events/")}
    assert {"refused", "unknown"} <= folders


def test_a_forged_handshake_is_refused(world: Estate, endpoint: str) -> None:
    """Without the key nothing is validated, and no event is taken; with it, a notification is no handshake."""
    type_ = "Microsoft.EventGrid.SubscriptionValidationEvent"
    validation = [
        {"id": "1", "topic": "t", "subject": "", "eventType": type_, "eventTime": "2026-03-01T00:00:00Z",
         "data": {"validationCode": "forged"}, "dataVersion": "1"}
    ]  # fmt: skip
    for url in (endpoint.split("&code=")[0], endpoint + "x"):
        for kind in ("SubscriptionValidation", "Notification"):
            assert _post(url, validation, kind)[0] == 401
    status, text = _post(endpoint, validation, "Notification")
    assert (status, "forged" in text) == (202, False)


def _post(url: str, body: Any, kind: str) -> tuple[int, str]:
    headers = {"aeg-event-type": kind, "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
