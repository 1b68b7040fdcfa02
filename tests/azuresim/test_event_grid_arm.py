"""Event subscriptions and topics through Azure Resource Manager, and publishing with Microsoft's own client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim import Simulator, estate, tokens
from tests.azuresim.azure_client import GROUP, SUBSCRIPTION, Azure, code, inside, until
from tests.azuresim.webhook import Webhook

VERSION = "2022-06-15"
RUN_STATUS = "Microsoft.MachineLearningServices.RunStatusChanged"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook() as hook:
        yield hook


def subscription_id(azure: Azure, name: str = "sub-1", scope: str = "") -> str:
    return (
        f"{scope or azure.env['MUSTER_ML_WORKSPACE']}/providers/Microsoft.EventGrid/eventSubscriptions/{name}"
    )


def body(url: str, **properties: Any) -> dict[str, Any]:
    destination = {"endpointType": "WebHook", "properties": {"endpointUrl": url}}
    return {"properties": {"destination": destination, **properties}}


def put(azure: Azure, id_: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The operation of a PUT, when it is over."""
    answer = azure.send("PUT", id_, asked, version=VERSION)
    assert answer.status_code == 201, answer.text
    assert answer.json()["properties"]["provisioningState"] in ("Creating", "Updating")
    azure.control.advance(10)
    url = answer.headers["Azure-AsyncOperation"]
    return until(lambda: dict(azure.get(url)), lambda operation: operation["status"] != "InProgress")


def test_a_subscription_receives_once_its_endpoint_has_agreed(azure: Azure, hook: Webhook) -> None:
    id_ = subscription_id(azure)
    azure.send("PUT", id_, body(hook.url), version=VERSION)
    azure.control.publish_event(RUN_STATUS, "early", {})
    assert put(azure, id_, body(hook.url))["status"] == "Succeeded"
    azure.control.publish_event(RUN_STATUS, "late", {})
    assert [event["subject"] for event in hook.events(1)] == ["late"]
    assert azure.get(f"{id_}?api-version={VERSION}") == {
        "id": id_,
        "name": "sub-1",
        "type": "Microsoft.EventGrid/eventSubscriptions",
        "properties": {
            "topic": azure.env["MUSTER_ML_WORKSPACE"],
            "provisioningState": "Succeeded",
            "destination": {
                "endpointType": "WebHook",
                "properties": {
                    "endpointBaseUrl": hook.url.partition("?")[0],
                    "maxEventsPerBatch": 1,
                    "preferredBatchSizeInKilobytes": 64,
                },
            },
            "filter": {"subjectBeginsWith": "", "subjectEndsWith": "", "isSubjectCaseSensitive": False},
            "labels": [],
            "eventDeliverySchema": "EventGridSchema",
            "retryPolicy": {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440},
        },
    }
    full = azure.send("POST", f"{id_}/getFullUrl", version=VERSION)
    assert full.json() == {"endpointUrl": hook.url}


def test_an_endpoint_that_refuses_the_handshake_leaves_no_subscription(azure: Azure) -> None:
    with Webhook(validates=False, allows="other.example") as hook:
        for schema in ("EventGridSchema", "CloudEventSchemaV1_0"):
            operation = put(azure, subscription_id(azure), body(hook.url, eventDeliverySchema=schema))
            assert (operation["status"], operation["error"]["code"]) == ("Failed", "Url validation")
            gone = azure.send("GET", subscription_id(azure), version=VERSION)
            assert code(gone) == (404, "ResourceNotFound")
    assert "secret" not in operation["error"]["message"]


def test_subscriptions_are_listed_by_their_resource_and_deleted(azure: Azure, hook: Webhook) -> None:
    storage = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/muster/providers/Microsoft.Storage/storageAccounts/musterdev"
    for name, scope in (("on-ml", ""), ("on-blobs", storage)):
        assert put(azure, subscription_id(azure, name, scope), body(hook.url))["status"] == "Succeeded"
    listed = azure.get(subscription_id(azure, "").rstrip("/"), version=VERSION)
    assert [each["name"] for each in listed["value"]] == ["on-ml"]
    azure.control.publish_event(
        "Microsoft.Storage.BlobCreated", "/blobServices/default/containers/c/blobs/b", {}
    )
    hook.events(1)
    assert hook.notifications[0].headers["aeg-subscription-name"] == "ON-BLOBS"
    id_ = subscription_id(azure, "on-ml")
    statuses = [azure.send("DELETE", id_, version=VERSION).status_code for _ in range(2)]
    assert statuses == [200, 204]
    azure.control.publish_event(RUN_STATUS, "s", {})
    published = azure.control.events(type_="grid_event")
    assert published[-1]["subscriptions"] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {
                "destination": {
                    "endpointType": "WebHook",
                    "properties": {"endpointUrl": "https://example.com"},
                }
            },
            400,
        ),
        ({"destination": {"endpointType": "EventHub", "properties": {}}}, 400),
        ({"destination": None}, 400),
        ({"colour": "red"}, 400),
        ({"retryPolicy": {"maxDeliveryAttempts": 31}}, 400),
        ({"retryPolicy": {"eventTimeToLiveInMinutes": 0}}, 400),
        ({"filter": {"advancedFilters": [{"operatorType": "Guess", "key": "data.x", "value": 1}]}}, 400),
        ({"deadLetterDestination": {"endpointType": "StorageBlob", "properties": {}}}, 400),
    ],
    ids=lambda each: json.dumps(each)[:60] if isinstance(each, dict) else "",
)
def test_what_makes_no_sense_is_refused(azure: Azure, hook: Webhook, change: Any, expected: int) -> None:
    asked = body(hook.url)
    asked["properties"] |= change
    assert azure.send("PUT", subscription_id(azure), asked, version=VERSION).status_code == expected
    assert hook.received == []


def test_a_subscription_needs_something_to_listen_to(azure: Azure, hook: Webhook) -> None:
    nowhere = f"{GROUP}/providers/Microsoft.EventGrid/topics/nothing"
    answer = azure.send("PUT", subscription_id(azure, scope=nowhere), body(hook.url), version=VERSION)
    assert code(answer) == (404, "ResourceNotFound")


def test_a_function_is_a_destination_once_its_app_is_there(azure: Azure, hook: Webhook) -> None:
    site = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/muster/providers/Microsoft.Web/sites/app"
    destination = {"endpointType": "AzureFunction", "properties": {"resourceId": f"{site}/functions/F"}}
    asked = {"properties": {"destination": destination}}
    missing = azure.send("PUT", subscription_id(azure), asked, version=VERSION)
    assert code(missing) == (400, "Endpoint validation")
    assert azure.control.serve_function_app("app", hook.url.partition("/hook")[0], "k/y") == site
    assert put(azure, subscription_id(azure), asked)["status"] == "Succeeded"
    hook.statuses = [401]
    azure.control.publish_event(RUN_STATUS, "s", {})
    hook.events(1)
    assert hook.notifications[0].path == "/runtime/webhooks/EventGrid?functionName=F&code=k/y"
    azure.control.advance(299)
    assert len(hook.notifications) == 1
    azure.control.advance(1)
    hook.events(2)


def make_topic(azure: Azure, name: str, schema: str) -> tuple[str, str]:
    """Its id and a key."""
    id_ = f"{GROUP}/providers/Microsoft.EventGrid/topics/{name}"
    made = azure.send(
        "PUT", id_, {"location": "westeurope", "properties": {"inputSchema": schema}}, version=VERSION
    )
    assert made.status_code == 201, made.text
    endpoint = f"https://{name}.westeurope-1.eventgrid.azure.net/api/events"
    assert made.json()["properties"]["endpoint"] == endpoint
    return id_, azure.send("POST", f"{id_}/listKeys", version=VERSION).json()["key2"]


def test_microsofts_client_publishes_to_topics(azure: Azure, hook: Webhook) -> None:
    keys = {}
    for name, schema in (("grid-topic", "EventGridSchema"), ("cloud-topic", "CloudEventSchemaV1_0")):
        id_, keys[name] = make_topic(azure, name, schema)
        asked = body(hook.url, eventDeliverySchema=schema)
        assert put(azure, subscription_id(azure, "sub-1", id_), asked)["status"] == "Succeeded"
    program = [sys.executable, "-m", "tests.azuresim.sdk_publish", json.dumps(keys)]
    ran = subprocess.run(
        program, env=inside(azure.env), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "key": "sent",
        "token": "sent",
        "signature": "sent",
        "expired": "401",
        "wrong key": "401",
        "wrong schema": "400 BadRequest",
        "wrong schema too": "400 BadRequest",
        "no topic": "not found",
        "too large": "413 RequestEntityTooLarge",
    }
    seen = {event["id"]: event for event in hook.events(4)}
    assert seen["grid"]["topic"].endswith("/topics/grid-topic")
    assert seen["cloud"] | {"time": ""} == {
        "id": "cloud",
        "source": "/tests",
        "specversion": "1.0",
        "type": "Muster.Test",
        "subject": "runs/2",
        "time": "",
        "data": {"n": 2},
    }
    assert seen["raw"]["data_base64"] == "Ynl0ZXM="


def test_a_vm_may_not_publish_and_a_foreign_token_is_none(azure: Azure) -> None:
    make_topic(azure, "grid-topic", "EventGridSchema")
    url = "https://grid-topic.westeurope-1.eventgrid.azure.net/api/events?api-version=2018-01-01"

    def status(identity: estate.Identity, resource: str) -> int:
        token, _ = tokens.issue(tokens.Principal(identity), resource)
        return azure.plain("POST", url, json=[], headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(estate.APP, "https://eventgrid.azure.net") == 200
    assert status(estate.APP, "https://management.azure.com") == 401
    assert status(estate.VM, "https://eventgrid.azure.net") == 403
    assert azure.plain("POST", url, json=[]).status_code == 401


def test_a_topic_goes_with_its_subscriptions_and_names_are_unique(azure: Azure, hook: Webhook) -> None:
    id_, _ = make_topic(azure, "one", "EventGridSchema")
    assert put(azure, subscription_id(azure, scope=id_), body(hook.url))["status"] == "Succeeded"
    elsewhere = id_.replace("muster-burn", "muster")
    assert code(azure.send("PUT", elsewhere, {"location": "westeurope"}, version=VERSION))[0] == 409
    found = azure.get(f"{GROUP}/resources?api-version=2021-04-01")["value"]
    assert [each["type"] for each in found] == ["Microsoft.EventGrid/topics"]
    assert azure.send("DELETE", id_, version=VERSION).status_code == 204
    assert azure.control.resources("Microsoft.EventGrid/eventSubscriptions") == []


def test_what_a_killed_simulator_owed_is_delivered_by_the_next(tmp_path: Path) -> None:
    with Webhook(500) as hook:
        with Simulator(state=tmp_path, storage=False, speed=1) as first:
            azure = Azure(first)
            azure.control.subscribe(hook.url)
            azure.control.publish_event(RUN_STATUS, "failed", {})
            until(lambda: azure.control.events(type_="event_delivery"), bool)
            hook.hang.clear()
            azure.control.publish_event(RUN_STATUS, "under way", {})
            until(lambda: len(hook.notifications), lambda count: count == 2)
        hook.hang.set()
        with Simulator(state=tmp_path, storage=False, speed=1) as second:
            control = Azure(second).control
            assert control.owed_deliveries() == 2
            control.advance(200)
            until(control.owed_deliveries, lambda owed: owed == 0)
        subjects = [event["subject"] for event in hook.events(4)]
    assert sorted(subjects) == ["failed", "failed", "under way", "under way"]
