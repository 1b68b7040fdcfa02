"""Whether a drift is answered by a retraining, as an explained value. Pure: time and every fact come in as arguments.

An event's decision is START, ATTACH (a run is at work: the event is kept as its evidence), IGNORE (nothing needs to be
done), DEFER (something should be done and may not, or cannot yet: a person is told) or, until one of these can be said,
WAIT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.ml_events import MlEvent
from shared.domain.times import duration_text
from shared.domain.wire import Wire

MAX_FAILURES = (
    3  # retrainings in a row; then a person must look, and the circuit stays open until one succeeds
)
DAY = timedelta(days=1)
STARTS_KEPT = 50
EVIDENCE_KEPT = 100
FIRST_LOOK = timedelta(minutes=5)
LOOKS = 96  # at most about so many while waiting: each is a few events of the history

_UNDER_WAY = (
    "notstarted",
    "queued",
    "starting",
    "preparing",
    "provisioning",
    "running",
    "finalizing",
    "unknown",
)


class Action(StrEnum):
    START = "START"
    WAIT = "WAIT"
    ATTACH = "ATTACH"
    IGNORE = "IGNORE"
    DEFER = "DEFER"

    @property
    def is_final(self) -> bool:
        return self is not Action.WAIT


class Rules(Wire):
    """What the declaration says. `threshold` is for events that carry a coefficient."""

    threshold: float | None = None
    hysteresis: float = 0.0
    cool_down: timedelta = timedelta(0)
    daily_cap: int = 4
    min_new_blobs: int = 0
    ready_within: timedelta = timedelta(0)
    budget_usd: float | None = None


class Facts(Wire):
    """What is so at `now`. `run_status`: what Azure ML says of the event's run; None if it knows no such run.

    `new_blobs` is None while nobody has counted. `worst_usd`: what a run would cost at most on the cheapest offer.
    """

    event: MlEvent
    now: datetime
    waiting_since: datetime
    run_status: str | None = None
    new_blobs: int | None = None
    worst_usd: float | None = None


class ActiveRun(Wire):
    """A run at work. Started by a person or a schedule, it has no `cause`, and its outcome says when it began."""

    run: str
    started: datetime | None = None
    cause: str = ""


class Ended(Wire):
    """What is on record of a run that is over."""

    state: str
    started: datetime | None = None


class TriggerState(Wire):
    """What a workload's retrainings came to so far. `armed`: whether a coefficient over the threshold counts."""

    active: tuple[ActiveRun, ...] = ()
    starts: tuple[datetime, ...] = ()
    failures: int = 0
    armed: bool = True
    answered: datetime | None = None  # when the newest run was started that compared champion and challenger
    evidence: tuple[str, ...] = ()  # events that came while a run was at work

    def started(self, run: str, at: datetime | None = None, *, cause: str = "") -> TriggerState:
        """The state with one more run at work. The same run twice is one."""
        if any(active.run == run for active in self.active):
            return self
        return self.model_copy(
            update={
                "active": (*self.active, ActiveRun(run=run, started=at, cause=cause)),
                "starts": _with(self.starts, at),
                "armed": self.armed and not cause,
                "evidence": (),
            }
        )

    def attached(self, key: str) -> TriggerState:
        kept = (*(each for each in self.evidence if each != key), key)[-EVIDENCE_KEPT:]
        return self.model_copy(update={"evidence": kept})

    def settled(self, ended: Mapping[str, Ended]) -> TriggerState:
        """The state after runs that are over. Drift that none of them answered may fire again."""
        state = self
        for active in self.active:
            if active.run in ended:
                state = state._settled(active, ended[active.run])
        return state

    def _settled(self, active: ActiveRun, ended: Ended) -> TriggerState:
        answers = ended.state in ("Completed", "Rejected")
        began = active.started or ended.started
        failures = self.failures + 1 if ended.state == "Failed" else self.failures
        return self.model_copy(
            update={
                "active": tuple(each for each in self.active if each != active),
                "starts": self.starts if active.started else _with(self.starts, began),
                "failures": failures if ended.state in ("Failed", "Cancelled") else 0,
                "armed": self.armed if answers else True,
                "answered": max(filter(None, (self.answered, began)), default=None)
                if answers
                else self.answered,
            }
        )

    def seen(self, facts: Facts, rules: Rules) -> TriggerState:
        """The state after a coefficient was seen: far enough under the threshold, the next one over it counts again."""
        low, coefficient = _rearms_below(rules), facts.event.coefficient
        if low is None or coefficient is None or coefficient >= low:
            return self
        return self.model_copy(update={"armed": True})


class Decision(Wire):
    """What was decided about one event for one workload, and why: one line per rule that was asked, the last decided.

    `run` is the run that was started or that the event is evidence of. While waiting, `look_at` is the next look and
    `until` the end of patience.
    """

    workload: str
    key: str
    action: Action
    reasons: tuple[str, ...]
    at: datetime
    run: str = ""
    look_at: datetime | None = None
    until: datetime | None = None
    event: MlEvent | None = None

    def brief(self) -> Decision:
        """Without the event, which is on record."""
        return self.model_copy(update={"event": None})


def _with(starts: tuple[datetime, ...], at: datetime | None) -> tuple[datetime, ...]:
    return (*starts, at)[-STARTS_KEPT:] if at else starts


def decide(facts: Facts, rules: Rules, state: TriggerState) -> tuple[Action, tuple[str, ...]]:
    """The first rule that does not let the event pass decides; all pass: START. Reasons in the order of the questions.

    decide(drift 0.41, threshold 0.3, a run at work) -> ATTACH, ("drift 0.41 reaches 0.3", "... is at work")
    """
    reasons: list[str] = []
    for action, reason in _questions(facts, rules, state):
        reasons.append(reason)
        if action is not None:
            return action, tuple(reasons)
    return Action.START, tuple(reasons)


def run_at_work(state: TriggerState) -> str:
    """The run that an event is evidence of; "" while none is at work."""
    return state.active[-1].run if state.active else ""


def look_at(facts: Facts, rules: Rules) -> datetime:
    """When a wait looks next: often enough for the data to be used soon, seldom enough for the history."""
    pace = max(FIRST_LOOK, rules.ready_within / LOOKS)
    return min(facts.now + pace, patience_ends(facts, rules))


def patience_ends(facts: Facts, rules: Rules) -> datetime:
    return facts.waiting_since + rules.ready_within


def _questions(facts: Facts, rules: Rules, state: TriggerState) -> Iterator[tuple[Action | None, str]]:
    yield _is_true(facts, rules)
    yield _is_over_threshold(facts, rules)
    yield _is_news(facts, state)
    if at_work := run_at_work(state):
        yield Action.ATTACH, f"{at_work} is at work: kept as its evidence"
    yield _is_armed(facts, rules, state)
    yield _is_circuit_closed(state)
    yield _has_cooled_down(facts, rules, state)
    yield _is_under_cap(facts, rules, state)
    yield _is_affordable(facts, rules)
    yield _is_data_ready(facts, rules)


def _is_true(facts: Facts, rules: Rules) -> tuple[Action | None, str]:
    """Events come late and out of order: what the run is now counts. Only a monitor's run fails by drift."""
    event, status = facts.event, (facts.run_status or "").casefold()
    if not event.run_status:
        return None, f"{event.monitor} reported drift"
    if facts.run_status is None:
        return Action.IGNORE, f"Ignored: Azure ML knows no run {event.run}"
    if status == "completed":
        return Action.IGNORE, f"Ignored: recovered; run {event.run} is {facts.run_status} by now"
    if status in ("canceled", "cancelled", "cancelrequested"):
        return Action.IGNORE, f"Ignored: run {event.run} was cancelled, so it found nothing"
    if status in _UNDER_WAY:
        if facts.now >= patience_ends(facts, rules):
            return Action.DEFER, f"Deferred: run {event.run} is still {facts.run_status}"
        return Action.WAIT, f"run {event.run} is {facts.run_status}: how it ends counts"
    return None, f"run {event.run} is {facts.run_status}: {event.message}"


def _is_over_threshold(facts: Facts, rules: Rules) -> tuple[Action | None, str]:
    """The declared threshold counts; without one, the monitor's own."""
    coefficient, threshold = facts.event.coefficient, rules.threshold
    threshold = facts.event.threshold if threshold is None else threshold
    if coefficient is None or threshold is None:
        return (
            None,
            "no coefficient to compare" if coefficient is None else f"drift {coefficient:g}, no threshold",
        )
    if coefficient < threshold:
        return Action.IGNORE, f"Ignored: drift {coefficient:g} is under the threshold {threshold:g}"
    return None, f"drift {coefficient:g} reaches the threshold {threshold:g}"


def _is_news(facts: Facts, state: TriggerState) -> tuple[Action | None, str]:
    occurred = facts.event.occurred
    if state.answered and occurred <= state.answered:
        return Action.IGNORE, (
            f"Ignored: it happened at {occurred:%Y-%m-%dT%H:%M:%SZ}, before the retraining of "
            f"{state.answered:%Y-%m-%dT%H:%M:%SZ} that answered it"
        )
    return None, f"it happened at {occurred:%Y-%m-%dT%H:%M:%SZ}, and no retraining has answered it"


def _is_armed(facts: Facts, rules: Rules, state: TriggerState) -> tuple[Action | None, str]:
    low = _rearms_below(rules)
    if low is None or facts.event.coefficient is None or state.armed:
        return None, "not held back by hysteresis"
    return Action.IGNORE, f"Ignored: drift has not been under {low:g} since the last retraining (hysteresis)"


def _rearms_below(rules: Rules) -> float | None:
    return None if rules.threshold is None or not rules.hysteresis else rules.threshold - rules.hysteresis


def _is_circuit_closed(state: TriggerState) -> tuple[Action | None, str]:
    if state.failures >= MAX_FAILURES:
        return Action.DEFER, (
            f"Deferred: the last {state.failures} retrainings failed; see why, then start one by hand: "
            "one that does not fail closes the circuit"
        )
    return None, f"{state.failures} of {MAX_FAILURES} failures that would open the circuit"


def _has_cooled_down(facts: Facts, rules: Rules, state: TriggerState) -> tuple[Action | None, str]:
    last = max(state.starts, default=None)
    if last is not None and facts.now < last + rules.cool_down:
        return Action.IGNORE, (
            f"Ignored: cooling down; the last retraining started at {last:%Y-%m-%dT%H:%M:%SZ}, "
            f"coolDown is {duration_text(rules.cool_down)}"
        )
    return None, f"cooled down: last retraining {f'at {last:%Y-%m-%dT%H:%M:%SZ}' if last else 'never'}"


def _is_under_cap(facts: Facts, rules: Rules, state: TriggerState) -> tuple[Action | None, str]:
    today = sum(facts.now - start < DAY for start in state.starts)
    if today >= rules.daily_cap:
        return Action.DEFER, f"Deferred: {today} retrainings in 24 hours, dailyCap is {rules.daily_cap}"
    return None, f"{today} of {rules.daily_cap} retrainings in 24 hours"


def _is_affordable(facts: Facts, rules: Rules) -> tuple[Action | None, str]:
    if rules.budget_usd is None or facts.worst_usd is None:
        return None, "no budget to keep to" if rules.budget_usd is None else "the price is not known"
    costs = f"a run may cost ${facts.worst_usd:.2f}, limits.budgetUsd is ${rules.budget_usd:.2f}"
    return (Action.DEFER, f"Deferred: {costs}") if facts.worst_usd > rules.budget_usd else (None, costs)


def _is_data_ready(facts: Facts, rules: Rules) -> tuple[Action | None, str]:
    new, needed = facts.new_blobs, rules.min_new_blobs
    if not needed or (new is not None and new >= needed):
        return None, f"{new if new is not None else 'uncounted'} new blobs, {needed} needed"
    have = f"{new or 0} of {needed} new blobs"
    if facts.now >= patience_ends(facts, rules):
        return Action.DEFER, f"Deferred: {have} after {duration_text(rules.ready_within)} (readyWithin)"
    return Action.WAIT, f"waiting for data: {have}"
