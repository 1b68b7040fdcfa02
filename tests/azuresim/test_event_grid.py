"""Delivery by Event Grid: at least once, by the documented schedule, in the schema and casing that is asked for."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from localdev.azuresim.control import ControlError
from tests.azuresim.azure_client import Azure, until
from tests.azuresim.webhook import Webhook

RUN_STATUS = "Microsoft.MachineLearningServices.RunStatusChanged"
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
DATA = {"runId": "r1", "runStatus": "Completed", "runTags": {"causedBy": "x"}}


def publish(azure: Azure, subject: str = "experiments/e/runs/r1", **how: Any) -> str:
    return azure.control.publish_event(RUN_STATUS, subject, DATA, **how)


def attempts(azure: Azure, count: int) -> list[dict[str, Any]]:
    """The attempts on the log, once there are `count` of them."""
    return until(lambda: azure.control.events(type_="event_delivery"), lambda found: len(found) >= count)


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
