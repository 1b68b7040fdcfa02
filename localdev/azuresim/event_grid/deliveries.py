"""At least once: what a subscription owes is kept with it until its endpoint took it, or it is given up.

Everything changes in steps of the scheduler, so that a simulator that was killed owes tomorrow what it owes today: an
attempt that was under way then is one that was not answered in time.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

from localdev.azuresim.event_grid import filters, retries, subscriptions
from localdev.azuresim.event_grid.dead_letters import DeadLetters
from localdev.azuresim.event_grid.events import CLOUD_EVENTS, GridEvent
from localdev.azuresim.event_grid.webhooks import Webhooks
from localdev.azuresim.scheduler import Step
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_Entry = dict[
    str, Any
]  # event, published, due, attempts, schema, batch ("" when none is under way), last, outcome


class Deliveries:
    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world, self._webhooks = world, webhooks
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._dead_letters = DeadLetters(world)
        steps: dict[str, Step] = {
            "event_grid.publish": self._publish,
            "event_grid.attempt": self._attempt,
            "event_grid.answered": self._answered,
            "event_grid.window_over": self._window_over,
        }
        for name, step in steps.items():
            world.scheduler.register(name, step)

    def publish(self, event: GridEvent, source: str, at: float, **how: Any) -> None:
        """Take an event for delivery from `at` on; for `how` see `_publish`."""
        self._world.scheduler.at(at, "event_grid.publish", event=event.to_json(), source=source, **how)

    async def stop(self) -> None:
        """Attempts under way end unanswered."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def owed(self) -> int:
        """Deliveries that are neither done nor given up."""
        return sum(len(pending_of(each)) for each in subscriptions.all_of(self._world))

    def _publish(
        self,
        at: float,
        event: dict[str, Any],
        source: str,
        *,
        named: str = "",
        schema: str = "",
        copies: int = 1,
        held: bool = False,
    ) -> None:
        """`schema` overrides the subscription's; `held`: not before a later event was delivered to it."""
        published = GridEvent(**event)
        receivers = [
            each
            for each in subscriptions.listening(self._world, source, named)
            if filters.wants(each.properties.get("filter") or {}, published)
        ]
        self._world.events.add(
            "grid_event",
            at,
            id=published.id,
            event_type=published.type,
            source=source,
            subject=published.subject,
            subscriptions=[each.name for each in receivers],
        )
        for receiver in receivers:
            ids = [str(uuid.uuid4()) for _ in range(copies)]
            for id_ in ids:
                pending_of(receiver)[id_] = {
                    "event": event, "published": at, "due": at, "attempts": 0, "schema": schema, "batch": "",
                    "last": None, "outcome": "",
                }  # fmt: skip
            if held:
                _held(receiver).extend(ids)
            else:
                self._attempt_at(at, receiver, ids)

    def _attempt_at(self, moment: float, subscription: Resource, ids: list[str]) -> None:
        self._world.scheduler.at(moment, "event_grid.attempt", subscription=subscription.id, ids=ids)

    def _attempt(self, at: float, subscription: str, ids: list[str]) -> None:
        """Send what is due of these deliveries; where batches are wanted, together with all else that is due."""
        found = self._world.store.get(subscription)
        if found is None:
            return
        pending, held = pending_of(found), set(_held(found))
        asked = list(pending) if subscriptions.batch_limits(found)[0] > 1 else ids
        _, lifetime_s = subscriptions.retry_policy(found)
        due: dict[str, _Entry] = {}
        for id_ in asked:
            entry = pending.get(id_)
            if entry is None or entry["due"] > at or entry["batch"] or id_ in held:
                continue
            # Looked at when the next attempt would be due, as the service does.
            if at - entry["published"] > lifetime_s:
                self._give_up(found, id_, at, "TimeToLiveExceeded")
            else:
                due[id_] = entry
        for schema, batch in _batches(found, due):
            self._send(found, schema, batch, at)

    def _send(self, subscription: Resource, schema: str, ids: list[str], at: float) -> None:
        batch = str(uuid.uuid4())
        entries = [pending_of(subscription)[id_] for id_ in ids]
        for entry in entries:
            entry["batch"], entry["last"] = batch, at
            entry["attempts"] += 1
        events = [GridEvent(**entry["event"]).delivered(schema) for entry in entries]
        headers = _headers(subscription, schema, entries)
        is_single = schema == CLOUD_EVENTS and subscriptions.batch_limits(subscription)[0] == 1
        body = json.dumps(events[0] if is_single else events).encode()
        url = subscriptions.endpoint(self._world, subscription)
        over = at + retries.ANSWER_WINDOW_S
        about = {"subscription": subscription.id, "batch": batch, "ids": ids}
        self._world.scheduler.at(over, "event_grid.window_over", **about)

        async def exchange() -> None:
            answer = await self._webhooks.send(
                "POST", url, headers, body, is_over=lambda: self._world.now() > over
            )
            self._under_way.pop(batch, None)
            self._world.scheduler.at(self._world.now(), "event_grid.answered", **about, status=answer.status)

        self._under_way[batch] = asyncio.get_running_loop().create_task(exchange())

    def _window_over(self, at: float, subscription: str, batch: str, ids: list[str]) -> None:
        """For batches of a process that is gone; one of our own reports itself."""
        if batch not in self._under_way:
            self._answered(at, subscription, batch, ids, retries.TIMED_OUT_STATUS)

    def _answered(self, at: float, subscription: str, batch: str, ids: list[str], status: int) -> None:
        found = self._world.store.get(subscription)
        if found is None:
            return
        for id_ in ids:
            entry = pending_of(found).get(id_)
            if entry is None or entry["batch"] != batch:
                continue
            entry["batch"], entry["outcome"] = "", retries.outcome(status)
            self._log("event_delivery", at, found, entry, status=status, batch=batch, attempted=entry["last"])
            if status in retries.DELIVERED:
                del pending_of(found)[id_]
                self._release(found, entry["published"], at)
            else:
                self._later(found, id_, entry, at, status)

    def _later(self, subscription: Resource, id_: str, entry: _Entry, at: float, status: int) -> None:
        at_resource = subscriptions.is_at_resource(subscription)
        most, _ = subscriptions.retry_policy(subscription)
        if retries.is_final(status, at_resource=at_resource):
            self._give_up(subscription, id_, at, f"UndeliverableDueToHttp{retries.outcome(status)}")
        elif entry["attempts"] >= most:
            self._give_up(subscription, id_, at, "MaxDeliveryAttemptsExceeded")
        else:
            # Counted from the attempt, not from the answer: a clock that leapt meanwhile changes no schedule.
            window_s = retries.ANSWER_WINDOW_S if status == retries.TIMED_OUT_STATUS else 0.0
            wait_s = retries.delay_s(entry["attempts"], status, at_resource=at_resource)
            entry["due"] = entry["last"] + window_s + wait_s
            self._attempt_at(entry["due"], subscription, [id_])

    def _release(self, subscription: Resource, published: float, at: float) -> None:
        """Let go what was held back for an event like this one to overtake it."""
        pending = pending_of(subscription)
        ids = [
            id_ for id_ in _held(subscription) if id_ in pending and pending[id_]["published"] <= published
        ]
        for id_ in ids:
            _held(subscription).remove(id_)
            pending[id_]["due"] = at
        if ids:
            self._attempt_at(at, subscription, ids)

    def _give_up(self, subscription: Resource, id_: str, at: float, reason: str) -> None:
        entry = pending_of(subscription).pop(id_)
        if subscriptions.dead_letter_container(subscription):
            self._dead_letters.schedule(subscription, entry, at, reason)
        else:
            self._log("event_dropped", at, subscription, entry, reason=reason)

    def _log(self, kind: str, at: float, subscription: Resource, entry: _Entry, **more: Any) -> None:
        event = entry["event"]
        self._world.events.add(
            kind,
            at,
            subscription=subscription.name,
            event_id=event["id"],
            event_type=event["type"],
            subject=event["subject"],
            attempt=entry["attempts"],
            outcome=entry["outcome"],
            **more,
        )


def pending_of(subscription: Resource) -> dict[str, _Entry]:
    owed: dict[str, _Entry] = subscription.state.setdefault("pending", {})
    return owed


def _held(subscription: Resource) -> list[str]:
    """Ids of deliveries that wait to be overtaken."""
    ids: list[str] = subscription.state.setdefault("held", [])
    return ids


def _batches(subscription: Resource, due: dict[str, _Entry]) -> Iterator[tuple[str, list[str]]]:
    """Ids of what is sent together, with its schema. An event larger than a batch should be goes alone."""
    most, most_bytes = subscriptions.batch_limits(subscription)
    batch: list[str] = []
    size, schema = 0, ""
    for id_, entry in due.items():
        event = GridEvent(**entry["event"])
        own = CLOUD_EVENTS if event.schema == CLOUD_EVENTS else ""
        wanted = own or entry["schema"] or subscriptions.schema_of(subscription)
        bytes_ = len(json.dumps(event.delivered(wanted)))
        if batch and (len(batch) >= most or size + bytes_ > most_bytes or wanted != schema):
            yield schema, batch
            batch, size = [], 0
        batch.append(id_)
        size, schema = size + bytes_, wanted
    if batch:
        yield schema, batch


def _headers(subscription: Resource, schema: str, entries: list[_Entry]) -> dict[str, str]:
    """Source: learn event-grid/delivery-properties and azure-functions, "Event Grid trigger HTTP headers"."""
    kind = "application/json; charset=utf-8"
    if schema == CLOUD_EVENTS:
        is_single = subscriptions.batch_limits(subscription)[0] == 1
        kind = f"application/cloudevents{'' if is_single else '-batch'}+json; charset=utf-8"
    first = entries[0]["event"]
    return {
        "Content-Type": kind,
        "aeg-event-type": "Notification",
        "aeg-subscription-name": subscription.name.upper(),
        "aeg-delivery-count": str(entries[0]["attempts"] - 1),
        "aeg-data-version": str(first["data_version"]),
        "aeg-metadata-version": "1",
        "aeg-output-event-id": str(first["id"]),
    }
