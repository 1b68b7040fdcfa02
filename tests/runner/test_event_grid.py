"""The Event Grid webhook, both schemas."""

from __future__ import annotations

import json
from typing import Any

from localdev.runner import Runner
from tests.runner.conftest import Trace
from tests.runner.support import Answer, call, until


def post(runner: Runner, body: Any, kind: str = "Notification", function: str = "on_event") -> Answer:
    url = f"{runner.url}/runtime/webhooks/EventGrid?functionName={function}"
    return call("POST", url, body, {"aeg-event-type": kind})


def grid_event(identity: str, **data: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "topic": "/subscriptions/x",
        "subject": "blob",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-03-01T00:00:00Z",
        "dataVersion": "1",
        "data": data,
    }


def cloud_event(identity: str, **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": identity, "source": "/x", "type": "Made.Up", "data": data}


def test_the_handshake_returns_the_validation_code(basics: Runner) -> None:
    for body in (
        [{"id": "1", "data": {"validationCode": "secret", "validationUrl": "https://x"}}],
        {"id": "1", "specversion": "1.0", "data": {"validationCode": "secret"}},
        {"id": "1", "specversion": "1.0", "data": json.dumps({"validationCode": "secret"})},
    ):
        answer = post(basics, body, "SubscriptionValidation")
        assert (answer.status, answer.json()) == (200, {"validationResponse": "secret"})
    assert post(basics, [{"id": "1"}], "SubscriptionValidation").status == 400


def test_the_handshake_of_cloud_events(basics: Runner) -> None:
    url = f"{basics.url}/runtime/webhooks/EventGrid?functionName=on_event"
    answer = call("OPTIONS", url, headers={"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert (answer.status, answer.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.azure.net")
    assert call("OPTIONS", url).status == 400


def test_one_event_and_a_batch_of_both_schemas(basics: Runner, trace: Trace) -> None:
    assert post(basics, grid_event("1", url="u")).status == 202
    assert post(basics, [grid_event("2"), cloud_event("3", n=1)]).status == 202
    seen = sorted(
        until(lambda: trace("on_event") if len(trace("on_event")) == 3 else []), key=lambda t: t["id"]
    )
    assert [(t["id"], t["kind"], t["data"]) for t in seen] == [
        ("1", "EventGridEvent", {"url": "u"}),
        ("2", "EventGridEvent", {}),
        ("3", "CloudEvent", {"n": 1}),
    ]


def test_a_failure_is_500_so_that_event_grid_sends_again(basics: Runner, trace: Trace) -> None:
    answer = post(basics, [grid_event("fine"), grid_event("poison")])
    assert answer.status == 500
    assert "ValueError: poisonous event" in answer.text
    assert {t["id"] for t in trace("on_event")} == {"fine", "poison"}


def test_what_event_grid_would_never_send_is_refused(basics: Runner) -> None:
    assert post(basics, [grid_event("1")], function="nobody").status == 404
    assert post(basics, [grid_event("1")], function="echo").status == 404
    assert post(basics, [grid_event("1")], kind="Rumour").status == 400
    assert post(basics, "text").status == 400
    assert post(basics, [1]).status == 400
    assert post(basics, [], kind="Unsubscribe").status == 202


def test_an_event_can_be_played_through_the_admin_api(basics: Runner, trace: Trace) -> None:
    answer = call(
        "POST", f"{basics.url}/admin/functions/on_event", {"input": json.dumps(grid_event("manual"))}
    )
    assert answer.status == 202
    assert until(lambda: trace("on_event"))[0]["id"] == "manual"
