"""Telling others what became of a deployment."""

from __future__ import annotations

import logging

from shared.azure import event_publisher
from shared.domain.errors import PlatformError, TransientError
from shared.domain.notices import Notice, Told
from shared.durable import contracts
from shared.durable.blueprint import activity

logger = logging.getLogger(__name__)


@activity(contracts.PUBLISH_NOTICE)
def publish_notice(notice: Notice) -> Told:
    """Publish it as an event; safe to repeat, since a repeat has the same id.

    A deployment does not fail because nobody can be told: what Event Grid refuses for good is a note. Raises
    TransientError for what may be told later.
    """
    try:
        sent = event_publisher.publish(notice.type, notice.subject, notice.data(), id=notice.id, at=notice.at)
    except TransientError:
        raise
    except PlatformError as error:
        logger.warning("notice refused", extra={"run": notice.run, "type": notice.type, "error": str(error)})
        return Told(sent=False, note=f"{notice.type} was not published: {error}")
    return Told(sent=sent, note="" if sent else event_publisher.NO_TOPIC)
