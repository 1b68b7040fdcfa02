"""Timers: each minute, start what is due and take back what is nobody's; each hour, look for what was lost.

The first firing loads what they do.
"""

from __future__ import annotations

from datetime import UTC, datetime

import azure.durable_functions as df
import azure.functions as func

bp = df.Blueprint()


@bp.timer_trigger(arg_name="timer", schedule="0 * * * * *", run_on_startup=False)
@bp.durable_client_input(client_name="client")
async def tick(timer: func.TimerRequest, client) -> None:  # type: ignore[no-untyped-def]
    """Start every slot that is due, once, however often or late this fires."""
    from shared.triggers import schedules  # here, for the reason that shared/durable/index.py gives

    if not timer.past_due:
        # A firing made good at start-up stands for a moment that may be days ago: every slot of that moment would seem
        # on time. The next firing, within a minute, stands for the present.
        await schedules.start_due_slots(client, fired_at(timer))
    await schedules.start_forgotten_runs(client)


@bp.timer_trigger(arg_name="timer", schedule="30 * * * * *", run_on_startup=False)
@bp.durable_client_input(client_name="client")
async def reap(timer: func.TimerRequest, client) -> None:  # type: ignore[no-untyped-def]
    """Start a pass over machines and one over endpoints, unless one is at work."""
    from shared.triggers import upkeep

    now = fired_at(timer)
    try:
        await upkeep.reap(client, now)
    finally:  # machines' trouble is not the endpoints'
        await upkeep.tend(client, now)


@bp.timer_trigger(arg_name="timer", schedule="0 17 * * * *", run_on_startup=False)
@bp.durable_client_input(client_name="client")
async def reconcile(timer: func.TimerRequest, client) -> None:  # type: ignore[no-untyped-def]
    """Compare the ledger of events with Azure ML, and take in what Event Grid lost."""
    from shared.triggers import reconcile as reconciling

    await reconciling.reconcile(client, fired_at(timer))


def fired_at(timer: func.TimerRequest) -> datetime:
    """The occurrence this firing stands for, as the host says; the wall clock where the host keeps no schedule status.

    Fired by hand, it stands for the occurrence to come, at most a minute ahead.
    """
    said = (timer.schedule_status or {}).get("Next")
    if not said:
        return datetime.now(UTC)
    moment = datetime.fromisoformat(str(said))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
