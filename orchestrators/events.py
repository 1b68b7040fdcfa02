"""Considering an event: see what is so in truth, decide for each workload that listens, wait for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.domain.considering import DecideRequest, EventOutcome
from shared.domain.errors import AppError
from shared.domain.ml_events import MlEvent
from shared.domain.retrain_decision import Action, Decision
from shared.durable import contracts
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps


def _failed(outcome: EventOutcome) -> str | None:
    return outcome.error or None


@orchestrator(contracts.CONSIDER_EVENT, fails=_failed)
def consider_event(flow: Flow, event: MlEvent) -> Steps[EventOutcome]:
    """Come to one decision for each workload that listens to a drift; each is on record with its reasons.

    1. Ask Azure ML what the event's run is now, and the declarations who listens.
    2. Decide for each. START leaves a claim that the next tick starts.
    3. While one waits, for data or for the run's end: rest until its next look, then ask again.
    4. Close the event. One that could not be considered stays open: the next tick begins anew.
    """
    try:
        decisions = yield from _decisions(flow, event)
    except AppError as error:
        return EventOutcome(key=event.key, error=f"{type(error).__name__}: {error}")
    yield from flow.call(contracts.CLOSE_EVENT, event)
    flow.status("decided", notes=tuple(f"{d.workload}: {d.action}" for d in decisions))
    return EventOutcome(key=event.key, decisions=tuple(d.brief() for d in decisions))


def _decisions(flow: Flow, event: MlEvent) -> Steps[list[Decision]]:
    since = flow.now
    flow.status("considering", waiting_for=f"the truth about {event.subject}")
    truth = yield from flow.call(contracts.READ_EVENT_TRUTH, event)
    open_: Sequence[str] = truth.workloads or ("",)
    decisions: dict[str, Decision] = {}
    while True:
        for workload in open_:
            request = DecideRequest(
                event=event, workload=workload, now=flow.now, waiting_since=since, run_status=truth.run_status
            )
            decisions[workload] = yield from flow.call(contracts.DECIDE_RETRAINING, request)
        open_ = [w for w, decision in decisions.items() if decision.action is Action.WAIT]
        if not open_:
            return list(decisions.values())
        yield from _rest(flow, [decisions[w] for w in open_])
        truth = yield from flow.call(contracts.READ_EVENT_TRUTH, event)


def _rest(flow: Flow, waiting: Sequence[Decision]) -> Steps[None]:
    """Until the first of the waiting decisions is to be looked at again."""
    looks: list[datetime] = [d.look_at for d in waiting if d.look_at]
    delay = (min(looks) - flow.now).total_seconds() if looks else 0.0
    flow.status("waiting", waiting_for=waiting[0].reasons[-1], next_look_s=max(delay, 60.0))
    yield from flow.rest(max(delay, 60.0))
