"""The Event Grid webhook, both schemas."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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


VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
GENUINE = "https://rp-westeurope.eventgrid.azure.net:553/eventsubscriptions/s/validate?id=secret"


def validation(url: object = GENUINE, type_: str = VALIDATION, code: object = "secret") -> dict[str, Any]:
    return {"id": "1", "eventType": type_, "data": {"validationCode": code, "validationUrl": url}}


def test_the_handshake_returns_the_validation_code(basics: Runner) -> None:
    bare = {"id": "1", "type": VALIDATION, "specversion": "1.0"}
    for body in (
        [validation()],
        {**bare, "data": {"validationCode": "secret"}},
        {**bare, "data": json.dumps({"validationCode": "secret"})},
    ):
        answer = post(basics, body, "SubscriptionValidation")
        assert (answer.status, answer.json()) == (200, {"validationResponse": "secret"})
    for malformed in ([{"id": "1"}], [], [validation(), validation()], ["text"], [{"data": 1}]):
        assert post(basics, malformed, "SubscriptionValidation").status == 400


class Listener:
    """Somebody who would like to be called. Counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                listener.calls += 1

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()


def test_a_forged_handshake_is_refused_and_nobody_is_called(basics: Runner, listener: Listener) -> None:
    for forged in (
        validation(f"http://{listener.address}/validate"),
        validation(f"https://{listener.address}/validate"),
        validation(f"https://rp-x.eventgrid.azure.net@{listener.address}/validate"),
        validation("https://eventgrid.azure.net.evil.example/validate"),
        validation("https://evileventgrid.azure.net/validate"),
        validation("http://rp-westeurope.eventgrid.azure.net/validate"),
        validation("https://[/"),
        validation(["https://rp-westeurope.eventgrid.azure.net"]),
        validation(type_="Microsoft.Storage.BlobCreated"),
        validation(code={"nested": 1}),
    ):
        assert post(basics, [forged], "SubscriptionValidation").status == 400, forged
    url = f"{basics.url}/runtime/webhooks/EventGrid?functionName=on_event"
    callback = {"WebHook-Request-Callback": f"http://{listener.address}/callback"}
    for origin in ("evil.example", "eventgrid.azure.net.evil.example", "*", ""):
        answer = call("OPTIONS", url, headers={"WebHook-Request-Origin": origin, **callback})
        assert answer.status == 403
        assert "WebHook-Allowed-Origin" not in answer.headers
    assert (
        call("OPTIONS", url, headers={"WebHook-Request-Origin": "eventgrid.azure.net", **callback}).status
        == 200
    )
    assert listener.calls == 0


def test_the_handshake_of_cloud_events(basics: Runner) -> None:
    url = f"{basics.url}/runtime/webhooks/EventGrid?functionName=on_event"
    asked = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
    answer = call("OPTIONS", url, headers=asked)
    assert (answer.status, answer.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.azure.net")
    assert answer.headers["WebHook-Allowed-Rate"] == "120"
    assert call("OPTIONS", url).status == 400
    unknown = f"{basics.url}/runtime/webhooks/EventGrid?functionName=nobody"
    assert call("OPTIONS", unknown, headers=asked).status == 404


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
    url = f"{basics.url}/runtime/webhooks/EventGrid?functionName=on_event"
    for raw in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        assert call("POST", url, raw=raw, headers={"aeg-event-type": "Notification"}).status == 400
    assert call("POST", url, [grid_event("1")]).status == 400
    assert call("GET", url).status == 404
    assert post(basics, [], kind="Unsubscribe").status == 202


def test_an_event_can_be_played_through_the_admin_api(basics: Runner, trace: Trace) -> None:
    answer = call(
        "POST", f"{basics.url}/admin/functions/on_event", {"input": json.dumps(grid_event("manual"))}
    )
    assert answer.status == 202
    assert until(lambda: trace("on_event"))[0]["id"] == "manual"
