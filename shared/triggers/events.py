"""What Event Grid delivers: one call per event, whatever its schema. The first delivery loads what is done with it."""

from __future__ import annotations

import azure.durable_functions as df
import azure.functions as func

bp = df.Blueprint()


# Azure wants one of its two event types here and hands over either: a body with `specversion` comes as func.CloudEvent.
@bp.event_grid_trigger(arg_name="event")
@bp.durable_client_input(client_name="client")
async def ml_event(event: func.EventGridEvent, client) -> None:  # type: ignore[no-untyped-def]
    """Return once the event is on record, so that Event Grid sends again what is not. Any exception is a refusal."""
    from shared.triggers import intake  # here, for the reason that shared/durable/index.py gives

    await intake.deliver(event, client)
