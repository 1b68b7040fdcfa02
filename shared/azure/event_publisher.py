"""Muster's own events, sent to a custom topic of Event Grid whose input schema is CloudEvents 1.0."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from shared.azure.classify import classified
from shared.azure.credentials import credential
from shared.config import settings

NO_TOPIC = "not published: MUSTER_EVENT_TOPIC_ENDPOINT is not set"
TIMEOUT_S = 20  # an activity may take 60 s


def publish(type_: str, subject: str, data: Mapping[str, Any], *, id: str, at: datetime) -> bool:
    """Send one event; False where there is no topic. Sent again it has the same id, by which receivers know it.

    Raises one of our errors: TransientError where Event Grid asks to come again, or did not answer.
    """
    endpoint = settings().event_topic_endpoint
    if not endpoint:
        return False
    from azure.core.messaging import CloudEvent

    event = CloudEvent(
        source=f"/{settings().app}", type=type_, subject=subject, data=dict(data), id=id, time=at
    )
    with classified(f"publish {type_} to {endpoint}"):
        _client(endpoint).send([event])
    return True


@cache
def _client(endpoint: str) -> Any:
    from azure.eventgrid import EventGridPublisherClient

    # Its own retries are off: they sleep inside the activity; the orchestrator waits on a durable timer.
    return EventGridPublisherClient(
        endpoint, credential(), retry_total=0, connection_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S
    )
