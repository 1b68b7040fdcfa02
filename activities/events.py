"""Events: what is so in truth, and the decision about a retraining, on record with its reasons."""

from __future__ import annotations

from shared.azure import event_ledger, ledger, ml_jobs, training_data
from shared.config import settings
from shared.domain import names
from shared.domain.considering import DecideRequest, EventTruth
from shared.domain.cost import worst_case_usd
from shared.domain.errors import SpecError, TransientError
from shared.domain.ml_events import MlEvent, listeners
from shared.domain.price_book import offers_for
from shared.domain.retrain import RetrainRequest
from shared.domain.retrain_decision import (
    Action,
    Decision,
    Ended,
    Facts,
    Rules,
    TriggerState,
    decide,
    look_at,
    patience_ends,
    run_at_work,
)
from shared.domain.retraining import Retraining
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing
from shared.platforms import platform
from shared.triggers.start import claim
from shared.triggers.workloads import retrainings

MOST_RIVALS = 50  # each lost race is somebody else's decision on record
EVIDENCE_SENT = 20


@activity(contracts.READ_EVENT_TRUTH)
def read_event_truth(event: MlEvent) -> EventTruth:
    """What Azure ML says of the event's run now, and the workloads that listen to its monitor."""
    monitors = [(name, w.trigger.monitor) for name, w in retrainings().items() if w.trigger]
    heard = listeners(event, monitors)
    status = ml_jobs.read_status(event.run) if heard and event.run and event.run_status else None
    return EventTruth(run_status=status, workloads=heard)


@activity(contracts.DECIDE_RETRAINING)
def decide_retraining(request: DecideRequest) -> Decision:
    """Decide once; whoever asks again gets the same answer. START leaves a claim for the next tick to start.

    The workload's state is moved with If-Match before the decision is recorded, so of many events at one moment one
    starts and the others see it. A crash in between is made good by the next call: the state names the event.
    """
    workload = retrainings().get(request.workload)
    if workload is None or workload.trigger is None:
        return _recorded(_unheard(request))
    facts: Facts | None = None
    for _ in range(MOST_RIVALS):
        decision, _etag = event_ledger.read_decision(workload.name, request.event.key)
        if decision is None or not decision.action.is_final:
            facts = facts or _facts(request, workload)
            state, etag = event_ledger.read_state(workload.name)
            decision, moved = _judge(request, workload, facts, state)
            if moved != state and not event_ledger.write_state(workload.name, moved, etag):
                continue
            decision = _recorded(decision)
        if decision.action is Action.START:
            claim(_run_request(request, workload, decision))
        return decision
    raise TransientError(
        f"{MOST_RIVALS} other events moved retraining/{workload.name} meanwhile",
        code="Contended",
        retry_after_s=5,
    )


@activity(contracts.CLOSE_EVENT)
def close_event(event: MlEvent) -> Nothing:
    """Every decision is on record: nobody need consider the event again."""
    event_ledger.set_considered(event.key)
    return Nothing()


def _judge(
    request: DecideRequest, workload: Retraining, facts: Facts, state: TriggerState
) -> tuple[Decision, TriggerState]:
    """The decision, and the state that it leaves."""
    event, rules = request.event, rules_of(workload)
    run = names.train_run_id(workload.name, _slot(event))
    # Decided by a call that died before it could record it.
    if any(active.run == run for active in state.active):
        return _decision(request, Action.START, ("decided before",), run), state
    state = state.settled(_ended(state))
    action, reasons = decide(facts, rules, state)
    state = state.seen(facts, rules)
    if action is Action.START:
        return _decision(request, action, reasons, run), state.started(run, request.now, cause=event.key)
    if action is Action.ATTACH:
        return _decision(request, action, reasons, run_at_work(state)), state.attached(event.key)
    decision = _decision(request, action, reasons)
    if action is Action.WAIT:
        decision = decision.model_copy(
            update={"look_at": look_at(facts, rules), "until": patience_ends(facts, rules)}
        )
    return decision, state


def rules_of(workload: Retraining) -> Rules:
    trigger = workload.trigger
    if trigger is None:
        return Rules(budget_usd=workload.limits.budget_usd)
    return Rules(
        threshold=trigger.threshold,
        hysteresis=trigger.hysteresis,
        cool_down=trigger.cool_down,
        daily_cap=trigger.daily_cap,
        min_new_blobs=workload.data.min_new_blobs,
        ready_within=trigger.ready_within,
        budget_usd=workload.limits.budget_usd,
    )


def _facts(request: DecideRequest, workload: Retraining) -> Facts:
    return Facts(
        event=request.event,
        now=request.now,
        waiting_since=request.waiting_since,
        run_status=request.run_status,
        new_blobs=training_data.count_new(workload),
        worst_usd=_worst_usd(workload),
    )


def _worst_usd(workload: Retraining) -> float | None:
    """What a run could cost on its cheapest offer. None where nothing is billed, or nothing of that kind is sold."""
    compute, ttl_s = workload.compute, workload.limits.ttl.total_seconds()
    if not platform(compute.platform).bills:
        return None
    try:
        offers = offers_for(compute.sizes, compute.regions or (settings().location,), compute.priority)
    except SpecError:  # the run says so, with the remedy
        return None
    return min(worst_case_usd(offer, machines=compute.instances, ttl_s=ttl_s) for offer in offers)


def _ended(state: TriggerState) -> dict[str, Ended]:
    """What those of the runs at work came to that are over."""
    outcomes = {active.run: ledger.read(f"runs/{active.run}/outcome.json") for active in state.active}
    return {run: Ended.model_validate(outcome) for run, outcome in outcomes.items() if outcome}


def _run_request(request: DecideRequest, workload: Retraining, decision: Decision) -> RetrainRequest:
    return RetrainRequest(
        run=decision.run,
        slot=_slot(request.event),
        workload=workload,
        started_by="event",
        reason="; ".join(decision.reasons)[:400],
        cause=request.event.key,
        evidence=(request.event.key,),
    )


def _slot(event: MlEvent) -> str:
    return f"event-{event.key[:16]}"


def _unheard(request: DecideRequest) -> Decision:
    known = ", ".join(f"{n} ({w.trigger.monitor})" for n, w in retrainings().items() if w.trigger)
    reason = (
        f"Ignored: no workload listens to monitor {request.event.monitor!r}; there are: {known or 'none'}"
    )
    return _decision(request.model_copy(update={"workload": event_ledger.NOBODY}), Action.IGNORE, (reason,))


def _decision(request: DecideRequest, action: Action, reasons: tuple[str, ...], run: str = "") -> Decision:
    return Decision(
        workload=request.workload, key=request.event.key, action=action, reasons=reasons, at=request.now, run=run,
        event=request.event,
    )  # fmt: skip


def _recorded(decision: Decision) -> Decision:
    """The decision as it is on record: the first final one stands."""
    for _ in range(MOST_RIVALS):
        found, etag = event_ledger.read_decision(decision.workload, decision.key)
        if found is not None and found.action.is_final:
            return found
        if event_ledger.write_decision(decision, etag):
            return decision
    raise TransientError(f"decision {decision.key} is contended", code="Contended", retry_after_s=5)
