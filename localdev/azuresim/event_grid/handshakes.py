"""Is the endpoint willing? Asked before a subscription is allowed to deliver to it.

Sources: learn event-grid/end-point-validation-event-grid-events-schema and -cloud-events-schema; CloudEvents 1.0 HTTP
webhooks, "Abuse protection".
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from localdev.azuresim.event_grid import subscriptions
from localdev.azuresim.event_grid.events import CLOUD_EVENTS, system_event
from localdev.azuresim.event_grid.retries import ANSWER_WINDOW_S
from localdev.azuresim.event_grid.webhooks import Answer, Webhooks
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

ORIGIN = "eventgrid.azure.net"
VALIDATION_EVENT = "Microsoft.EventGrid.SubscriptionValidationEvent"
_RATE_PER_MINUTE = "120"


class Handshakes:
    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world, self._webhooks = world, webhooks

    async def refusal(self, subscription: Resource) -> str:
        """Why the endpoint may not be delivered to; "" if it may."""
        url = subscriptions.endpoint(self._world, subscription)
        began = self._world.now()

        async def ask(method: str, headers: dict[str, str], body: bytes = b"") -> Answer:
            over = began + ANSWER_WINDOW_S
            return await self._webhooks.send(
                method, url, headers, body, is_over=lambda: self._world.now() > over
            )

        is_cloud = subscriptions.schema_of(subscription) == CLOUD_EVENTS
        if is_cloud and not subscriptions.is_at_resource(subscription):
            answer = await ask(
                "OPTIONS",
                {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": _RATE_PER_MINUTE},
            )
            problem = _refusal_of_options(answer)
        else:
            code = str(uuid.uuid4())
            body = json.dumps([_validation_event(subscription, code, began)]).encode()
            answer = await ask("POST", _headers(subscription), body)
            problem = _refusal_of_validation(answer, code)
        self._world.events.add(
            "subscription_handshake",
            self._world.now(),
            subscription=subscription.name,
            schema=subscriptions.schema_of(subscription),
            status=answer.status,
            problem=problem,
        )
        return problem


def _validation_event(subscription: Resource, code: str, at: float) -> dict[str, Any]:
    scope = subscriptions.scope_of(subscription)
    query = f"id={code}&t={int(at)}&apiVersion=2022-06-15"
    url = f"https://rp-{subscription.location}.{ORIGIN}:553/eventsubscriptions/{subscription.name}/validate?{query}"
    data = {"validationCode": code, "validationUrl": url}
    event = system_event(VALIDATION_EVENT, scope, "", data, at).delivered("")
    return {**event, "dataVersion": "2"}


def _headers(subscription: Resource) -> dict[str, str]:
    return {
        "Content-Type": "application/json; charset=utf-8",
        "aeg-event-type": "SubscriptionValidation",
        "aeg-subscription-name": subscription.name.upper(),
        "aeg-delivery-count": "0",
        "aeg-data-version": "2",
        "aeg-metadata-version": "1",
    }


def _refusal_of_validation(answer: Answer, code: str) -> str:
    if answer.status != 200:
        return f"Http POST request failed with response code {answer.status or 'Unknown'}"
    body = answer.json()
    echoed = body.get("validationResponse") if isinstance(body, dict) else None
    return "" if echoed == code else "The response did not contain the expected validationResponse"


def _refusal_of_options(answer: Answer) -> str:
    if answer.status != 200:
        return f"Http OPTIONS request failed with response code {answer.status or 'Unknown'}"
    headers = {name.casefold(): value for name, value in answer.headers.items()}
    allowed = headers.get("webhook-allowed-origin", "")
    return "" if allowed in (ORIGIN, "*") else f"WebHook-Allowed-Origin '{allowed}' is not {ORIGIN}"
