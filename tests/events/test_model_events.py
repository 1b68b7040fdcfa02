"""A registered version starts its declared deployment: once, by what is so in truth, and in its turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localdev.runner.hub import TaskHub
from shared.azure import blob, endpoint_records, event_ledger, ledger
from shared.domain.deploy import DeploymentRef, EndpointRecord
from shared.domain.names import deploy_run_id
from shared.domain.retrain_decision import Action
from tests.events import monitors
from tests.events.deliveries import ML, Deliveries, Event, as_cloud_event, event, key_of, pascal
from tests.events.retrainings import deployed
from tests.support.cloud import Cloud
from tests.support.deployments import deployment

SHY = "shy"  # declared without onModelRegistered


@pytest.fixture(scope="module", autouse=True)
def _deployed(simulated: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    declared = [deployment(f"live-{n}", onModelRegistered=True) for n in range(9)]
    with deployed(simulated, tmp_path_factory.mktemp("workloads"), *declared, deployment(SHY)):
        yield


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An endpoint of the test's own."""
    yield f"live-{next(_NUMBERS)}"


_NUMBERS = iter(range(9))


def registered(endpoint: str, version: str, *, is_there: bool = True, mark: str = "", **tags: str) -> Event:
    """The event of a version, which is whole and registered with `tags` if `is_there`. `mark`: what the event claims."""
    model = f"{endpoint}-model"
    if is_there:
        blob.create_only("models", f"{model}/{version}/MODEL.json", b"{}")
        monitors.register(model, version, **tags)
    data = {"modelName": model, "modelVersion": version, "modelTags": {"causedBy": mark} if mark else {}}
    return event(f"{ML}ModelRegistered", f"models/{model}:{version}", data)


def run_of(endpoint: str, raw: Event) -> str:
    return deploy_run_id(endpoint, f"event-{key_of(raw)[:16]}")


def decided(endpoint: str, raw: Event) -> tuple[Action, str]:
    decision, _ = event_ledger.read_decision(endpoint, key_of(raw))
    assert decision is not None
    return decision.action, decision.reasons[-1]


def deployments(hub: TaskHub, endpoint: str) -> list[str]:
    """Of this endpoint: a tick also starts what other modules claimed in the shared Azure, for hubs that are gone."""
    return sorted(each.id for each in hub.query(prefix=f"deploy-{endpoint}-", page_size=100)[0])


def hold(endpoint: str, **record: object) -> None:
    endpoint_records.update(
        endpoint, lambda _: EndpointRecord.model_validate({"endpoint": endpoint, "platform": "aks", **record})
    )


def test_one_fact_is_one_deployment_however_often_it_comes(
    deliveries: Deliveries, hub: TaskHub, endpoint: str
) -> None:
    raw = registered(endpoint, "2")
    cased = {**raw, "data": pascal(raw["data"])}
    forms = [raw, as_cloud_event(raw), cased, as_cloud_event(cased)] * 3
    assert deliveries.send(*forms) == [None] * 12
    assert deployments(hub, endpoint) == [], "the webhook only puts it on record"
    for _ in range(3):
        deliveries.tick()
        deliveries.send(raw)
    assert deployments(hub, endpoint) == [run_of(endpoint, raw)]
    assert decided(endpoint, raw)[0] is Action.START
    claim = ledger.read(f"claims/{run_of(endpoint, raw)}.json")
    assert claim is not None
    asked = claim["request"]
    assert (asked["version"], asked["cause"], asked["requested_by"]) == ("2", key_of(raw), "")
    assert endpoint_records.read(endpoint).holder == run_of(endpoint, raw)


def test_what_we_registered_starts_nothing_whatever_the_event_says(
    deliveries: Deliveries, hub: TaskHub, endpoint: str
) -> None:
    marked = registered(endpoint, "2", mark="muster/train-x")
    unmarked = registered(endpoint, "3", causedBy="muster event")
    assert deliveries.send(marked, unmarked) == [None] * 2
    deliveries.tick()
    assert deployments(hub, endpoint) == []
    assert event_ledger.read_decision(endpoint, key_of(marked))[0] is None
    action, reason = decided(endpoint, unmarked)
    assert (action, "Muster registered it" in reason) == (Action.IGNORE, True)


def test_an_event_that_lies_starts_nothing(deliveries: Deliveries, hub: TaskHub, endpoint: str) -> None:
    registered(endpoint, "1")
    deliveries.send(registered(endpoint, "66", is_there=False))
    lie = registered(endpoint, "66", is_there=False)
    deliveries.tick()
    assert deployments(hub, endpoint) == []
    assert "has no version '66'" in decided(endpoint, lie)[1]


def test_of_two_versions_at_a_time_the_newer_is_deployed(
    deliveries: Deliveries, hub: TaskHub, endpoint: str
) -> None:
    nine, ten = registered(endpoint, "9"), registered(endpoint, "10")
    deliveries.send(ten, nine)
    deliveries.tick()
    assert deployments(hub, endpoint) == [run_of(endpoint, ten)]
    assert "version 10 was registered meanwhile" in decided(endpoint, nine)[1]


def test_without_the_policy_s_word_a_registration_is_a_fact_and_no_more(
    deliveries: Deliveries, hub: TaskHub
) -> None:
    raw = registered(SHY, "2")
    deliveries.send(raw)
    deliveries.tick()
    assert deployments(hub, SHY) == []
    assert event_ledger.read_decision(SHY, key_of(raw))[0] is None


def test_while_the_endpoint_is_busy_it_waits_its_turn(
    deliveries: Deliveries, hub: TaskHub, endpoint: str
) -> None:
    hold(endpoint, holder="deploy-other-manual-" + "0" * 16, epoch=3)
    raw = registered(endpoint, "2")
    deliveries.send(raw)
    for _ in range(3):
        deliveries.tick()
    assert deployments(hub, endpoint) == []
    assert ledger.exists(f"claims/unstarted/{run_of(endpoint, raw)}.json")
    hold(endpoint, epoch=3, live=DeploymentRef(name="d1", model=f"{endpoint}-model:1").model_dump())
    deliveries.tick()
    assert deployments(hub, endpoint) == [run_of(endpoint, raw)]
    assert not ledger.exists(f"claims/unstarted/{run_of(endpoint, raw)}.json")


@pytest.mark.parametrize("live", ["3", "3-onnx-0123456789ab"])
def test_what_was_overtaken_while_it_waited_is_not_deployed(
    deliveries: Deliveries, hub: TaskHub, endpoint: str, live: str
) -> None:
    hold(endpoint, holder="deploy-other-manual-" + "0" * 16, epoch=3)
    raw = registered(endpoint, "2")
    deliveries.send(raw)
    deliveries.tick()
    hold(endpoint, epoch=3, live=DeploymentRef(name="d1", model=f"{endpoint}-model:{live}").model_dump())
    for _ in range(2):
        deliveries.tick()
    assert deployments(hub, endpoint) == []
    outcome = ledger.read(f"runs/{run_of(endpoint, raw)}/outcome.json")
    assert outcome is not None
    assert (outcome["state"], "version 3 is live" in outcome["reason"]) == ("Rejected", True)
    assert endpoint_records.read(endpoint).holder is None


def test_a_crash_at_the_start_is_made_good_by_the_next_tick(
    deliveries: Deliveries, hub: TaskHub, endpoint: str
) -> None:
    raw = registered(endpoint, "2")
    deliveries.send(raw)
    deliveries.die_at_start = True
    with pytest.raises(RuntimeError):
        deliveries.tick()
    assert deployments(hub, endpoint) == []
    deliveries.die_at_start = False
    deliveries.tick()
    assert deployments(hub, endpoint) == [run_of(endpoint, raw)]


def test_a_decision_whose_claim_was_lost_is_claimed_again(
    deliveries: Deliveries, hub: TaskHub, endpoint: str
) -> None:
    """The process died between the two: the marker of the open fact is what brings it back."""
    raw = registered(endpoint, "2")
    deliveries.send(raw)
    marker = blob.read("muster", f"events/open/{key_of(raw)}.json")
    deliveries.tick()
    run = run_of(endpoint, raw)
    for lost in (f"claims/{run}.json", f"claims/unstarted/{run}.json"):
        blob.delete("muster", lost)
    blob.create_only("muster", f"events/open/{key_of(raw)}.json", marker)
    deliveries.tick()
    assert ledger.exists(f"claims/{run}.json")
    assert deployments(hub, endpoint) == [run]
