"""Delivery by Event Grid: at least once, by the documented schedule, in the schema and casing that is asked for."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from localdev.azuresim import Simulator
from localdev.azuresim.control import ControlError
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure, until
from tests.azuresim.conftest import START
from tests.azuresim.specifications import specs_dir
from tests.azuresim.webhook import Webhook

RUN_STATUS = "Microsoft.MachineLearningServices.RunStatusChanged"
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
DATA = {"runId": "r1", "runStatus": "Completed", "runTags": {"causedBy": "x"}}


def publish(azure: Azure, subject: str = "experiments/e/runs/r1", **how: Any) -> str:
    return azure.control.publish_event(RUN_STATUS, subject, DATA, **how)


def attempts(azure: Azure, count: int) -> list[dict[str, Any]]:
    """The attempts on the log, once there are `count` of them."""
    until(lambda: len(azure.control.events(type_="event_delivery")), lambda found: found >= count)
    return azure.control.events(type_="event_delivery")


def storage(azure: Azure, method: str, path: str) -> requests.Response:
    token = azure.identity(resource="https://storage.azure.com").json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-10-04"}
    answer = azure.plain(method, f"{azure.env['MUSTER_STORAGE_ACCOUNT_URL']}/{path}", headers=headers)
    assert answer.ok, answer.text
    return answer


def quiet(azure: Azure) -> None:
    until(azure.control.owed_deliveries, lambda owed: owed == 0)


def test_an_event_is_delivered_once_as_event_grid_writes_it(azure: Azure) -> None:
    with Webhook() as hook:
        azure.control.subscribe(hook.url, types=[RUN_STATUS], name="mine")
        id_ = publish(azure)
        (event,) = hook.events(1)
        quiet(azure)
        (delivery,) = hook.notifications
    assert event == {
        "id": id_,
        "topic": azure.env["MUSTER_ML_WORKSPACE"],
        "subject": "experiments/e/runs/r1",
        "eventType": RUN_STATUS,
        "eventTime": "2026-03-01T02:00:00.000000Z",
        "data": DATA,
        "dataVersion": "",
        "metadataVersion": "1",
    }
    assert delivery.path == "/hook?code=secret"
    assert delivery.headers["aeg-subscription-name"] == "MINE"
    assert delivery.headers["aeg-delivery-count"] == "0"
    (attempt,) = attempts(azure, 1)
    assert (attempt["event_id"], attempt["attempt"], attempt["status"]) == (id_, 1, 200)


def test_a_cloud_event_is_one_object_of_its_own_media_type(azure: Azure) -> None:
    with Webhook() as hook:
        azure.control.subscribe(hook.url, schema="cloudevents")
        publish(azure)
        (event,) = hook.events(1)
        (delivery,) = hook.notifications
    assert hook.received[0].method == "OPTIONS"
    assert hook.received[0].headers["webhook-request-origin"] == "eventgrid.azure.net"
    assert delivery.headers["content-type"].startswith("application/cloudevents+json")
    assert isinstance(delivery.body, dict)
    assert (event["specversion"], event["type"], event["source"]) == (
        "1.0",
        RUN_STATUS,
        azure.env["MUSTER_ML_WORKSPACE"],
    )
    assert event["data"] == DATA


def test_the_retry_schedule_is_the_documented_one(azure: Azure) -> None:
    waits = (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600)
    with Webhook(*[500] * len(waits)) as hook:
        azure.control.subscribe(hook.url)
        publish(azure)
        for number, wait_s in enumerate(waits, 1):
            attempts(azure, number)
            azure.control.advance(wait_s - 1)
            assert len(azure.control.events(type_="event_delivery")) == number
            azure.control.advance(1)
        made = attempts(azure, len(waits) + 1)
        quiet(azure)
    moments = [each["attempted"] for each in made]
    assert tuple(after - before for before, after in itertools.pairwise(moments)) == waits
    assert [each["status"] for each in made] == [500] * len(waits) + [200]
    assert [each.headers["aeg-delivery-count"] for each in hook.notifications] == [str(n) for n in range(10)]


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_a_final_refusal_is_not_retried(azure: Azure, status: int) -> None:
    with Webhook(status) as hook:
        azure.control.subscribe(hook.url)
        publish(azure)
        quiet(azure)
        azure.control.advance(24 * 3600)
        assert len(hook.notifications) == 1
    (dropped,) = azure.control.events(type_="event_dropped")
    assert dropped["attempt"] == 1


def test_a_handshake_that_fails_makes_no_subscription(azure: Azure) -> None:
    with Webhook(validates=False, allows="elsewhere.example") as hook:
        for schema in ("eventgrid", "cloudevents"):
            with pytest.raises(ControlError, match="handshake failed"):
                azure.control.subscribe(hook.url, schema=schema)
        publish(azure)
        (published,) = azure.control.events(type_="grid_event")
        assert published["subscriptions"] == []
        assert hook.notifications == []


def test_a_leap_of_the_clock_lives_through_the_whole_schedule(azure: Azure) -> None:
    with Webhook(*[503] * 100) as hook:
        azure.control.subscribe(hook.url)
        publish(azure)
        azure.control.advance(48 * 3600)
        quiet(azure)
    made = azure.control.events(type_="event_delivery")
    waits = [after["attempted"] - before["attempted"] for before, after in itertools.pairwise(made)]
    assert waits == [30, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200]  # the next one would be too late
    (dropped,) = azure.control.events(type_="event_dropped")
    assert dropped["reason"] == "TimeToLiveExceeded"


def test_who_does_not_answer_in_30_seconds_is_asked_again(azure: Azure) -> None:
    with Webhook() as hook:
        azure.control.subscribe(hook.url)
        hook.hang.clear()
        publish(azure)
        until(lambda: len(hook.notifications), lambda count: count == 1)
        azure.control.advance(31)
        (attempt,) = attempts(azure, 1)
        assert (attempt["status"], attempt["outcome"]) == (408, "TimedOut")
        hook.hang.set()
        azure.control.advance(118)
        assert len(hook.notifications) == 1
        azure.control.advance(1)
        quiet(azure)
        assert [each.headers["aeg-delivery-count"] for each in hook.notifications] == ["0", "1"]


def test_an_endpoint_that_is_not_there_is_tried_again(azure: Azure) -> None:
    with Webhook() as hook:
        azure.control.subscribe(hook.url)
    publish(azure)
    azure.control.advance(40)
    assert [each["outcome"] for each in attempts(azure, 3)] == ["Unreachable"] * 3
    assert azure.control.owed_deliveries() == 1


def test_a_redirect_is_a_failure_and_not_followed(azure: Azure) -> None:
    with Webhook(302, 307) as hook:
        azure.control.subscribe(hook.url, retry={"maxDeliveryAttempts": 2})
        publish(azure)
        azure.control.advance(10)
        quiet(azure)
        assert len(hook.notifications) == 2
    (dropped,) = azure.control.events(type_="event_dropped")
    assert dropped["reason"] == "MaxDeliveryAttemptsExceeded"


def test_either_limit_of_the_retry_policy_ends_it(azure: Azure) -> None:
    with Webhook(*[500] * 9) as short, Webhook(*[500] * 9) as brief:
        azure.control.subscribe(short.url, name="few", retry={"maxDeliveryAttempts": 2})
        azure.control.subscribe(brief.url, name="brief", retry={"eventTimeToLiveInMinutes": 1})
        publish(azure)
        azure.control.advance(3600)
        quiet(azure)
    dropped = {each["subscription"]: each for each in azure.control.events(type_="event_dropped")}
    assert (dropped["few"]["reason"], dropped["few"]["attempt"]) == ("MaxDeliveryAttemptsExceeded", 2)
    assert (dropped["brief"]["reason"], dropped["brief"]["attempt"]) == ("TimeToLiveExceeded", 3)


@pytest.mark.parametrize("schema", ["eventgrid", "cloudevents"])
def test_batches_hold_what_is_due_and_never_more_than_allowed(azure: Azure, schema: str) -> None:
    with Webhook(500) as hook:
        azure.control.subscribe(hook.url, schema=schema, batch={"maxEventsPerBatch": 4})
        publish(azure, copies=10)
        hook.events(10)
        azure.control.advance(10)
        quiet(azure)
        sizes = [len(each.body) for each in hook.notifications]
        made = azure.control.events(type_="event_delivery")
        first_refused = sum(each["status"] == 500 for each in made)
        kinds = {each.headers["content-type"].partition(";")[0] for each in hook.notifications}
    assert sorted(sizes[:3]) == [2, 4, 4]
    assert sizes[3:] == [first_refused]  # the batch that failed comes again, whole
    assert kinds == {"application/json" if schema == "eventgrid" else "application/cloudevents-batch+json"}


def test_a_batch_keeps_to_its_size_and_a_large_event_goes_alone(azure: Azure) -> None:
    with Webhook() as hook:
        batch = {"maxEventsPerBatch": 100, "preferredBatchSizeInKilobytes": 1}
        azure.control.subscribe(hook.url, batch=batch)
        azure.control.publish_event(RUN_STATUS, "large", {"x": "y" * 5000}, delay_s=1)
        publish(azure, copies=6, delay_s=1)
        azure.control.advance(1)
        quiet(azure)
        batches = [[event["subject"] for event in each.events] for each in hook.notifications]
    assert ["large"] in batches
    assert sum(map(len, batches)) == 7
    assert len(batches) > 2


def test_copies_are_the_same_event_again(azure: Azure) -> None:
    with Webhook() as hook:
        azure.control.subscribe(hook.url)
        id_ = publish(azure, copies=3)
        quiet(azure)
        assert [event["id"] for event in hook.events(3)] == [id_] * 3


def test_an_event_can_come_late_or_be_overtaken(azure: Azure) -> None:
    with Webhook() as hook:
        azure.control.subscribe(hook.url)
        publish(azure, "held", order="overtaken")
        publish(azure, "delayed", delay_s=60)
        publish(azure, "first")
        hook.events(2)
        quiet_but_one = azure.control.events(type_="event_delivery")
        assert [each["subject"] for each in quiet_but_one] == ["first", "held"]
        azure.control.advance(60)
        assert hook.events(3)[-1]["subject"] == "delayed"


def test_one_event_may_be_asked_for_in_another_schema_and_casing(azure: Azure) -> None:
    data = {"modelName": "m", "modelVersion": "3", "modelTags": {"causedBy": "x"}, "modelProperties": {}}
    with Webhook() as hook:
        azure.control.subscribe(hook.url)
        azure.control.publish_event(REGISTERED, "models/m:3", data, schema="cloudevents", casing="pascal")
        (event,) = hook.events(1)
    assert event["specversion"] == "1.0"
    assert event["data"] == {
        "ModelName": "m",
        "ModelVersion": 3,
        "ModelTags": {"causedBy": "x"},
        "ModelProperties": {},
    }


def test_filters_choose_by_type_subject_and_data(azure: Azure) -> None:
    advanced = [
        {"operatorType": "StringIn", "key": "data.runStatus", "values": ["completed", "Failed"]},
        {"operatorType": "NumberGreaterThan", "key": "data.score", "value": 0.5},
        {"operatorType": "StringNotContains", "key": "data.missing", "values": ["x"]},
    ]
    with Webhook() as hook:
        azure.control.subscribe(hook.url, types=[RUN_STATUS.upper()], name="types")
        azure.control.subscribe(
            hook.url, name="subjects", filter={"subjectBeginsWith": "EXP", "subjectEndsWith": "/1"}
        )
        strict = {"subjectBeginsWith": "EXP", "isSubjectCaseSensitive": True}
        azure.control.subscribe(hook.url, name="strict", filter=strict)
        azure.control.subscribe(hook.url, name="data", filter={"advancedFilters": advanced})
        azure.control.publish_event(RUN_STATUS, "experiments/1", {"runStatus": "Completed", "score": 0.6})
        azure.control.publish_event(REGISTERED, "experiments/1", {"runStatus": "Completed", "score": 0.5})
        azure.control.publish_event(REGISTERED, "EXPERIMENTS/2", {"runStatus": "Running", "score": 0.6})
        quiet(azure)
    chosen = [each["subscriptions"] for each in azure.control.events(type_="grid_event")]
    assert chosen == [["data", "subjects", "types"], ["subjects"], ["strict"]]


def test_a_storm_of_events_is_delivered_in_parallel_and_whole(azure: Azure) -> None:
    with Webhook(*[500] * 100) as hook:
        azure.control.subscribe(hook.url)
        for number in range(5):
            publish(azure, f"s{number}", copies=100)
        attempts(azure, 500)
        azure.control.advance(10)
        quiet(azure)
        assert len(hook.notifications) == 600


def test_what_a_workspace_tells_is_delivered_as_microsoft_specifies_it(azure: Azure) -> None:
    """A model registered through ARM, its event held against the official schema."""
    model = f"{azure.env['MUSTER_ML_WORKSPACE']}/models/flights/versions/7"
    uri = "azureml://datastores/models/paths/flights/7/"
    with Webhook() as hook:
        azure.control.subscribe(hook.url, types=[REGISTERED])
        asked = {"properties": {"modelUri": uri, "modelType": "custom_model", "tags": {"causedBy": "muster"}}}
        made = azure.send("PUT", model, asked, version="2024-10-01")
        assert made.status_code == 201, made.text
        (event,) = hook.events(1)
    assert event["subject"] == "models/flights:7"
    assert event["data"]["modelTags"] == {"causedBy": "muster"}
    official = specs_dir() / "official/specification/eventgrid/data-plane/Microsoft.MachineLearningServices"
    swagger = json.loads((official / "stable/2018-01-01/MachineLearningServices.json").read_text())
    specified = swagger["definitions"]["MachineLearningServicesModelRegisteredEventData"]["properties"]
    assert set(event["data"]) <= set(specified)
    example = official / "stable/2018-01-01/examples/event-grid-schema/model_registered.json"
    assert set(event) == set(json.loads(example.read_text()))


def test_what_nobody_took_becomes_a_blob(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock.json", start=START, speed=0)
    with Simulator(clock=clock) as simulator, Webhook(400) as hook, Webhook(503, 503) as cloud_hook:
        azure = Azure(simulator)
        azure.control.subscribe(hook.url, name="grid", dead_letter_container="letters")
        azure.control.subscribe(
            cloud_hook.url,
            name="cloud",
            schema="cloudevents",
            dead_letter_container="letters",
            retry={"maxDeliveryAttempts": 2},
        )
        id_ = publish(azure)
        attempts(azure, 2)
        azure.control.advance(30)
        attempts(azure, 3)
        azure.control.advance(300)
        assert azure.control.events(type_="event_dead_lettered") == []  # there is no such container
        storage(azure, "PUT", "letters?restype=container")
        azure.control.advance(600)
        written = until(
            lambda: azure.control.events(type_="event_dead_lettered"), lambda found: len(found) == 2
        )
        names = {each["subscription"]: each["blob"].partition("/")[2] for each in written}
        letters = {name: storage(azure, "GET", f"letters/{blob}").json() for name, blob in names.items()}
    assert names["grid"].startswith("GRID/2026/3/1/2/")
    (letter,) = letters["grid"]
    assert (letter["id"], letter["data"], letter["eventType"]) == (id_, DATA, RUN_STATUS)
    assert letter["deadLetterReason"] == "UndeliverableDueToHttpBadRequest"
    assert (letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == (1, "BadRequest")
    (letter,) = letters["cloud"]
    assert (letter["specversion"], letter["deadletterreason"]) == ("1.0", "MaxDeliveryAttemptsExceeded")
    assert (letter["deliveryattempts"], letter["lastdeliveryoutcome"]) == (2, "ServiceUnavailable")
