"""Events are on record before they are acknowledged, and each fact is considered once, whatever Event Grid does."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from localdev.runner.hub import Status, TaskHub
from shared.azure import blob, event_ledger
from shared.domain.errors import NotFoundError
from tests.events.deliveries import (
    AT,
    ML,
    Deliveries,
    Event,
    as_cloud_event,
    breach,
    dataset_drift,
    event,
    key_of,
    pascal,
    terminate,
    workspace,
)
from tests.support.cloud import Cloud, environment, forget

FACTS = 100
COPIES = 100
BATCH = 1_000


def on_record() -> set[str]:
    paths = [found.name for found in blob.list_blobs("muster", "events/")]
    not_taken = ("refused", "unknown")
    return {
        path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths if path.split("/")[1] not in not_taken
    }


def places(raw: Event) -> list[str]:
    """Where the ledger has the fact."""
    paths = [found.name for found in blob.list_blobs("muster", "events/")]
    return [path.split("/")[1] for path in paths if path.endswith(f"/{key_of(raw)}.json")]


def test_a_drift_is_on_record_and_considered_and_then_under_its_own_day(deliveries: Deliveries) -> None:
    raw = breach("first", at=AT - timedelta(hours=3))
    assert deliveries.send(raw) == [None]
    assert places(raw) == ["open"]
    assert deliveries.considered() == [key_of(raw)]
    event_ledger.set_considered(key_of(raw))
    event_ledger.set_considered(key_of(raw))
    assert places(raw) == ["20260228"]
    deliveries.send(breach("second"))
    deliveries.tick()
    assert deliveries.starts.count("consider_event") == len(deliveries.considered()), "it is being considered"


@pytest.mark.parametrize("number", range(5))
def test_one_fact_in_any_schema_and_casing_is_considered_once(deliveries: Deliveries, number: int) -> None:
    plain = breach(f"forms-{number}")
    cased = {**plain, "data": pascal(plain["data"])}
    forms = [
        plain,
        as_cloud_event(plain),
        cased,
        as_cloud_event(cased),
        breach(f"forms-{number}", status="Running"),
    ]
    forms = forms[number:] + forms[:number]
    assert deliveries.send(*forms) == [None] * 5
    assert deliveries.starts == ["consider_event"]


@pytest.mark.parametrize("is_considered", [True, False])
def test_a_copy_that_comes_a_day_later_finds_the_fact(deliveries: Deliveries, is_considered: bool) -> None:
    """In another process, which remembers nothing of the first."""
    raw = breach(f"late-{is_considered}")
    deliveries.send(raw)
    if is_considered:
        event_ledger.set_considered(key_of(raw))
    where = places(raw)
    forget()
    assert deliveries.send(raw, as_cloud_event(raw)) == [None, None]
    assert len(deliveries.starts) == 1
    assert places(raw) == where


def test_ten_thousand_deliveries_of_a_hundred_facts_are_a_hundred_considerations(
    deliveries: Deliveries,
) -> None:
    """Doubled, disordered, late, in both schemas, and to workers that know nothing of what others took."""
    chance = random.Random(4)
    facts = [breach(f"storm-{n}", at=AT - timedelta(minutes=15 * n)) for n in range(FACTS)]
    copies = [chance.choice((dict, as_cloud_event))(fact) for fact in facts for _ in range(COPIES)]
    chance.shuffle(copies)
    for start in range(0, len(copies), BATCH):
        forget()
        assert set(deliveries.send(*copies[start : start + BATCH])) == {None}
    keys = sorted(map(key_of, facts))
    assert len(deliveries.starts) == FACTS
    assert deliveries.considered() == keys
    assert set(keys) <= on_record()


def test_what_is_of_another_workspace_is_refused_on_record_and_not_asked_for_again(
    deliveries: Deliveries,
) -> None:
    before = event_ledger.count_refused("refused")
    foreign = breach("foreign", topic=workspace() + "-of-somebody")
    assert (
        deliveries.send(foreign, as_cloud_event(foreign), breach("foreign-2", topic="/subscriptions/s"))
        == [None] * 3
    )
    assert deliveries.starts == []
    assert key_of(foreign) not in on_record()
    assert event_ledger.count_refused("refused") == before + 2


def test_blobs_of_our_account_are_recorded_and_of_others_refused(deliveries: Deliveries) -> None:
    account = "/subscriptions/S/resourceGroups/R/providers/Microsoft.Storage/storageAccounts/"
    subject = "/blobServices/default/containers/landing/blobs/flights/a.parquet"
    ours = event("Microsoft.Storage.BlobCreated", subject, {"eTag": "0x1"}, topic=account + "musterdev")
    theirs = {**ours, "topic": account + "notmusterdev"}
    disguised = breach("blob-account", topic=account + "musterdev")
    assert deliveries.send(ours, theirs, disguised) == [None] * 3
    assert {key_of(ours), key_of(theirs), key_of(disguised)} & on_record() == {key_of(ours)}
    assert deliveries.starts == []


def test_unknown_types_are_counted_each_delivery_once(deliveries: Deliveries) -> None:
    before = event_ledger.count_refused("unknown")
    unheard = event("Microsoft.MachineLearningServices.Unheard", "x", {})
    validation = event("Microsoft.EventGrid.SubscriptionValidationEvent", "", {"validationCode": "forged"})
    assert deliveries.send(unheard, unheard, validation, breach("", at=AT)) == [None] * 4
    assert event_ledger.count_refused("unknown") == before + 3
    assert deliveries.starts == []


@pytest.mark.parametrize("mark", ["muster/train-flights-retrain-event-0123456789abcdef", "muster"])
def test_what_we_caused_is_recorded_and_not_acted_upon(deliveries: Deliveries, mark: str) -> None:
    registered = event(f"{ML}ModelRegistered", "models/m:2", {"modelTags": {"causedBy": mark}})
    drift = breach(f"own-{mark[-4:]}")
    drift["data"]["runTags"]["CausedBy"] = mark
    assert deliveries.send(registered, drift) == [None, None]
    assert {key_of(registered), key_of(drift)} <= on_record()
    assert deliveries.starts == []


def test_facts_that_need_no_decision_start_nothing(deliveries: Deliveries) -> None:
    data = {"runId": "trial", "runStatus": "Running", "runTags": {}}
    facts = [event(f"{ML}RunCompleted", "experiments/x/runs/trial", data),
             event(f"{ML}RunStatusChanged", "experiments/x/runs/trial", data),
             event(f"{ML}ModelRegistered", "models/elsewhere:1", {})]  # fmt: skip
    assert deliveries.send(*facts) == [None] * 3
    assert {key_of(fact) for fact in facts} <= on_record()
    assert deliveries.starts == []


def test_a_crash_between_record_and_start_is_made_good_by_the_next_tick(deliveries: Deliveries) -> None:
    raw = dataset_drift("cut-off", 0.5)
    deliveries.die_at_start = True
    assert deliveries.send(raw) == [None], "it is on record, and that is what is acknowledged"
    assert key_of(raw) in on_record()
    deliveries.die_at_start = False
    assert deliveries.send(raw) == [None]
    assert deliveries.considered() == []
    deliveries.tick()
    assert key_of(raw) in deliveries.considered()
    started = len(deliveries.starts)
    deliveries.tick()
    assert len(deliveries.starts) == started


def test_what_could_not_be_considered_is_tried_again_until_it_is(
    deliveries: Deliveries, hub: TaskHub
) -> None:
    raw = breach("died")
    deliveries.send(raw)
    terminate(hub, f"event-{key_of(raw)}")
    deliveries.tick()
    found = hub.get_instance(f"event-{key_of(raw)}")
    assert found is not None and found.status is Status.PENDING
    terminate(hub, f"event-{key_of(raw)}")
    event_ledger.set_considered(key_of(raw))
    deliveries.tick()
    found = hub.get_instance(f"event-{key_of(raw)}")
    assert found is not None and found.status is Status.TERMINATED


def test_a_crash_while_a_considered_fact_is_put_under_its_day_loses_nothing(deliveries: Deliveries) -> None:
    raw = breach("moved")
    deliveries.send(raw)
    entry = blob.read("muster", f"events/open/{key_of(raw)}.json")
    event_ledger.set_considered(key_of(raw))
    blob.create_only("muster", f"events/open/{key_of(raw)}.json", entry)
    assert key_of(raw) in {each.key for each in event_ledger.unconsidered()}
    event_ledger.set_considered(key_of(raw))
    assert places(raw) == ["20260301"]


def test_what_cannot_be_put_on_record_is_not_acknowledged(deliveries: Deliveries, cloud: Cloud) -> None:
    """Event Grid keeps it and sends it again."""
    raw = breach("storage-away")
    with environment({**cloud.settings, "MUSTER_STATE_CONTAINER": "deleted-by-mistake"}):
        (raised,) = deliveries.send(raw)
    assert isinstance(raised, NotFoundError)
    assert deliveries.starts == []
    assert deliveries.send(raw) == [None]
    assert deliveries.considered() == [key_of(raw)]
