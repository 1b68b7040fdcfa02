"""Events nobody took, as blobs. Source: learn event-grid/delivery-and-retry, "Dead-letter events"."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from localdev.azuresim.event_grid import subscriptions
from localdev.azuresim.event_grid.events import CLOUD_EVENTS, GridEvent, zulu
from localdev.azuresim.event_grid.retries import (
    DEAD_LETTER_DELAY_S,
    DEAD_LETTER_GIVES_UP_S,
    DEAD_LETTER_RETRY_S,
)
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World


class DeadLetters:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("event_grid.dead_letter", self._write)

    def schedule(self, subscription: Resource, entry: dict[str, Any], at: float, reason: str) -> None:
        """Written five minutes from now."""
        event = GridEvent(**entry["event"])
        is_cloud = CLOUD_EVENTS in (event.schema, entry["schema"] or subscriptions.schema_of(subscription))
        letter = event.delivered(CLOUD_EVENTS if is_cloud else event.schema)
        about = {
            "deadLetterReason": reason,
            "deliveryAttempts": entry["attempts"],
            "lastDeliveryOutcome": entry["outcome"],
            "publishTime": zulu(entry["published"]),
            "lastDeliveryAttemptTime": zulu(entry["last"]) if entry["last"] is not None else None,
        }
        letter |= {name.lower() if is_cloud else name: value for name, value in about.items()}
        self._world.scheduler.at(
            at + DEAD_LETTER_DELAY_S,
            "event_grid.dead_letter",
            subscription=subscription.name,
            container=subscriptions.dead_letter_container(subscription),
            letter=letter,
            since=at,
        )

    def _write(
        self, at: float, subscription: str, container: str, letter: dict[str, Any], since: float
    ) -> None:
        """{container}/{SUBSCRIPTION}/{year}/{month}/{day}/{hour}/{guid}.json, an array of one event."""
        hour = datetime.fromtimestamp(at, UTC)
        blob = f"{subscription.upper()}/{hour.year}/{hour.month}/{hour.day}/{hour.hour}/{uuid.uuid4()}.json"
        blobs = self._world.blobs
        if blobs is not None and blobs.put(container, blob, json.dumps([letter]).encode()):
            self._log("event_dead_lettered", at, subscription, letter, blob=f"{container}/{blob}")
        elif at + DEAD_LETTER_RETRY_S - since > DEAD_LETTER_GIVES_UP_S:
            self._log("event_dropped", at, subscription, letter)
        else:
            self._world.scheduler.at(
                at + DEAD_LETTER_RETRY_S,
                "event_grid.dead_letter",
                subscription=subscription,
                container=container,
                letter=letter,
                since=since,
            )

    def _log(self, kind: str, at: float, subscription: str, letter: dict[str, Any], **more: str) -> None:
        reason = letter.get("deadLetterReason") or letter.get("deadletterreason")
        self._world.events.add(
            kind, at, subscription=subscription, event_id=letter["id"], reason=reason, **more
        )
