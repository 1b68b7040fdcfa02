"""What Event Grid lost is found in Azure ML itself, and goes the way that events go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from localdev.runner.hub import TaskHub
from shared.azure import blob, event_ledger, ledger
from shared.domain.retrain_decision import TriggerState
from tests.crash.app import run_timer
from tests.events import monitors
from tests.events.deliveries import Deliveries, breach, key_of
from tests.events.retrainings import deployed, retraining
from tests.support.cloud import Cloud, forget

LOST = "train-lost-event-0123456789abcdef"


@pytest.fixture(scope="module")
def history(inhabited: Cloud) -> Cloud:
    """A monitor breached, another run did not, a model was registered: no event of it ever came."""
    monitors.run(inhabited, "unheard-breach")
    monitors.run(inhabited, "unheard-success", command="true")
    monitors.register("found", "1")
    monitors.register("ours", "7", causedBy="muster/train-x-manual-0123456789abcdef")
    return inhabited


@pytest.fixture
def deliveries(history: Cloud, hub: TaskHub) -> Deliveries:
    for found in blob.list_blobs("muster", "events/"):
        blob.delete("muster", found.name)
    forget()
    return Deliveries(hub)


def reconcile(deliveries: Deliveries, cloud: Cloud, *, hours: float = 0) -> None:
    run_timer("reconcile", cloud.clock.now() + timedelta(hours=hours), deliveries.client)


def on_record() -> dict[str, str]:
    """What is on record, by subject, and how it came."""
    entries = [ledger.read(f.name) for f in blob.list_blobs("muster", "events/")]
    return {entry["event"]["subject"]: entry["origin"] for entry in entries if entry and "origin" in entry}


def test_what_never_came_is_put_on_record_and_considered(deliveries: Deliveries, history: Cloud) -> None:
    reconcile(deliveries, history)
    lost = ("runs/unheard-breach", "runs/unheard-success", "models/found", "models/ours")
    assert dict.fromkeys(lost, "reconciled").items() <= on_record().items()
    assert key_of(breach("unheard-breach")) in deliveries.considered()


def test_what_came_is_not_taken_twice(
    deliveries: Deliveries, history: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Event Grid tells it at another time, on another day even, than the one that Azure ML shows."""
    deliveries.send(breach("unheard-breach", at=history.clock.now() - timedelta(hours=20)))
    reconcile(deliveries, history)
    reconcile(deliveries, history, hours=1)
    assert on_record()["runs/unheard-breach"] == "eventgrid"
    said_to_be_lost = {key for each in caplog.records for key in getattr(each, "keys", ())}
    assert said_to_be_lost and key_of(breach("unheard-breach")) not in said_to_be_lost
    deliveries.send(breach("unheard-breach", at=history.clock.now() - timedelta(hours=20)))
    assert deliveries.starts.count("consider_event") == len(deliveries.considered())


def test_what_is_long_past_is_not_dug_up(deliveries: Deliveries, history: Cloud) -> None:
    reconcile(deliveries, history, hours=26)
    assert on_record() == {}
    assert event_ledger.read_reconciled()[0] is not None


def test_after_an_outage_it_goes_back_to_where_it_was(deliveries: Deliveries, history: Cloud) -> None:
    event_ledger.write_reconciled(history.clock.now() - timedelta(hours=2), "")
    reconcile(deliveries, history, hours=40)
    assert "runs/unheard-breach" in on_record()


@pytest.fixture
def lost(history: Cloud, tmp_path: Path) -> Iterator[None]:
    """A workload whose retrainings are on record as a test says."""
    with deployed(history, tmp_path, retraining("lost")):
        blob.delete("muster", "retraining/lost.json")
        yield


@pytest.mark.usefixtures("lost")
def test_a_run_that_left_no_word_does_not_hold_back_the_next(deliveries: Deliveries, history: Cloud) -> None:
    began = history.clock.now() - timedelta(hours=1)
    event_ledger.write_state("lost", TriggerState().started(LOST, began, cause="k"), "")
    reconcile(deliveries, history)
    state, _ = event_ledger.read_state("lost")
    assert (state.active, state.failures) == ((), 1)


@pytest.mark.usefixtures("lost")
@pytest.mark.parametrize("sign", ["at work", "claimed", "just decided", "ended"])
def test_a_run_that_is_not_lost_is_left_alone(
    deliveries: Deliveries, history: Cloud, hub: TaskHub, sign: str
) -> None:
    ago = timedelta(minutes=1) if sign == "just decided" else timedelta(hours=1)
    event_ledger.write_state("lost", TriggerState().started(LOST, history.clock.now() - ago, cause="k"), "")
    path = {"claimed": f"claims/unstarted/{LOST}.json", "ended": f"runs/{LOST}/outcome.json"}.get(sign)
    if path:
        blob.create_only("muster", path, b"{}" if sign == "claimed" else b'{"state": "Completed"}')
    if sign == "at work":
        hub.start("retrain", instance_id=LOST, input="{}")
    try:
        reconcile(deliveries, history)
        assert [active.run for active in event_ledger.read_state("lost")[0].active] == [LOST]
    finally:
        blob.delete("muster", path or "absent")
