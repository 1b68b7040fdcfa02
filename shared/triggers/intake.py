"""Taking events in: each fact is put on record once, then acknowledged, then considered once."""

from __future__ import annotations

import asyncio
import logging
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from shared.azure import event_ledger
from shared.config import settings
from shared.domain.errors import AppError
from shared.domain.ml_events import EventKind, Ignored, MlEvent, normalise
from shared.durable import contracts
from shared.durable.client import Orchestrations
from shared.triggers import model_events

logger = logging.getLogger(__name__)


class Taken(StrEnum):
    """What became of a delivery. All of them are acknowledged: sending it again would change nothing."""

    CONSIDERED = "considered"  # its fact is new, and an orchestration decides about it
    RECORDED = "recorded"  # its fact is new, and nothing is to be decided
    OWN = "own"  # new, and brought about by this app itself: acting on it would be a loop
    KNOWN = "known"  # its fact was on record
    UNKNOWN = "unknown"  # of a type we do not know, or not whole
    REFUSED = "refused"  # of another workspace or storage account


async def deliver(event: Any, client: Any) -> Taken:
    """One event as the Functions SDK hands it over. Raises what kept it off the record.

    Returning acknowledges it. What decides about it is started before, since the SDK closes the client of a function
    that has returned; that it cannot be started is no refusal, since the fact is on record and is the next tick's.
    """
    found = normalise(_raw(event))
    taken = await _put_on_record(found, origin="eventgrid")
    if taken is Taken.CONSIDERED and _is_drift(found):
        try:
            await _start(Orchestrations(client), found)
        except Exception as error:  # noqa: BLE001 each SDK has types of its own for a hub that does not answer
            logger.warning("event left to the next tick", extra={"error": str(error)})
    level = logging.WARNING if taken in (Taken.UNKNOWN, Taken.REFUSED) else logging.INFO
    logger.log(level, "event %s", taken, extra={"event_id": event.id, "taken": str(taken)})
    return taken


async def take(orchestrations: Orchestrations, found: MlEvent | Ignored, *, origin: str) -> Taken:
    """Put a fact on record, and start what decides about it if it is new. Safe to repeat."""
    taken = await _put_on_record(found, origin=origin)
    if taken is Taken.CONSIDERED and _is_drift(found):  # the next tick has time for a registered model
        await _start(orchestrations, found)
    return taken


async def _put_on_record(found: MlEvent | Ignored, *, origin: str) -> Taken:
    if not _is_ours(found):
        await asyncio.to_thread(event_ledger.record_refused, found, why=Taken.REFUSED)
        return Taken.REFUSED
    if isinstance(found, Ignored):
        await asyncio.to_thread(event_ledger.record_refused, found, why=Taken.UNKNOWN)
        return Taken.UNKNOWN
    to_deploy = bool(model_events.listening(found))
    to_consider = (found.kind is EventKind.DRIFT or to_deploy) and not found.is_own
    if not await asyncio.to_thread(event_ledger.record, found, origin=origin, to_consider=to_consider):
        return Taken.KNOWN
    if not to_consider:
        return Taken.OWN if found.is_own else Taken.RECORDED
    return Taken.CONSIDERED


async def consider_forgotten(orchestrations: Orchestrations) -> list[str]:
    """Start what is open and at work nowhere, because something died or could not be asked; gives the keys.

    Decides about registered models, too.
    """
    forgotten = []
    open_ = await asyncio.to_thread(event_ledger.unconsidered)
    for event in open_:
        if event.kind is EventKind.MODEL_REGISTERED:
            await _decide_about_model(event, open_)
            continue
        look = await orchestrations.look(instance_of(event))
        if look is None or look.is_over:
            await _start(orchestrations, event)
            forgotten.append(event.key)
    return forgotten


async def _decide_about_model(event: MlEvent, open_: list[MlEvent]) -> None:
    """No orchestration: it is one look. What cannot be looked at now stays open for the next tick."""
    try:
        decisions = await asyncio.to_thread(model_events.decide_about, event, open_)
    except AppError as error:
        logger.warning("registered model not decided about", extra={"event": event.key, "error": str(error)})
        return
    for decision in decisions:
        logger.info("registered model decided about", extra={"event": event.key, "action": decision.action})


def instance_of(event: MlEvent) -> str:
    return f"event-{event.key}"


async def _start(orchestrations: Orchestrations, event: MlEvent) -> None:
    """An instance that is over may start again here: it finds its decisions on record and changes nothing."""
    await orchestrations.start(contracts.CONSIDER_EVENT, event, instance_of(event))


def _is_drift(found: MlEvent | Ignored) -> TypeGuard[MlEvent]:
    return isinstance(found, MlEvent) and found.kind is EventKind.DRIFT


def _is_ours(found: MlEvent | Ignored) -> bool:
    """Whether it is of our workspace, or of our storage account, whose name no other account in Azure has."""
    if found.source == settings().ml_workspace_id.lower() != "":
        return True
    host = urlsplit(settings().storage_account_url).hostname or ""
    account = f"/providers/microsoft.storage/storageaccounts/{host.split('.')[0]}"
    is_storage = not isinstance(found, MlEvent) or found.kind is EventKind.BLOB_CREATED
    return is_storage and found.source.endswith(account)


def _raw(event: Any) -> dict[str, Any]:
    """The event as it was on the wire, as far as the SDK kept it."""
    if hasattr(event, "specversion"):
        return {
            **event.extension_attrs,  # data_base64 is among them
            "id": event.id, "source": event.source, "type": event.type, "subject": event.subject,
            "time": event.time, "data": event.get_json(),
        }  # fmt: skip
    return {
        "id": event.id, "topic": event.topic, "subject": event.subject, "eventType": event.event_type,
        "eventTime": event.event_time, "data": event.get_json(),
    }  # fmt: skip
