"""Whether a drift is answered by a retraining: one rule decides, and every decision says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ml_events import EventKind, MlEvent
from shared.domain.retrain_decision import (
    MAX_FAILURES,
    Action,
    Ended,
    Facts,
    Rules,
    TriggerState,
    decide,
    look_at,
    patience_ends,
)

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BREACH = MlEvent(
    kind=EventKind.DRIFT, source="/w", subject="runs/mon_42", run="mon_42", run_status="Failed",
    monitor="churn_mon_data_drift", message="churn_mon_data_drift has failed", occurred=NOW - HOUR,
)  # fmt: skip
OLDER = MlEvent(
    kind=EventKind.DRIFT, source="/w", subject="runs/d7", run="d7", monitor="churn_mon", coefficient=0.41,
    occurred=NOW - HOUR,
)  # fmt: skip
RULES = Rules(
    threshold=0.3, hysteresis=0.05, cool_down=DAY, daily_cap=4, min_new_blobs=7, ready_within=2 * DAY
)
RUN = "train-churn-event-0123456789abcdef"


def facts(event: MlEvent = BREACH, **changes: Any) -> Facts:
    known = {"event": event, "now": NOW, "waiting_since": NOW, "run_status": "Failed", "new_blobs": 30}
    return Facts.model_validate({**known, **changes})


def state(**changes: Any) -> TriggerState:
    return TriggerState.model_validate(changes)


def drift(coefficient: float) -> MlEvent:
    return OLDER.model_copy(update={"coefficient": coefficient})


def measured(coefficient: float) -> MlEvent:
    """By Muster itself, whose monitor has a threshold of its own."""
    return drift(coefficient).model_copy(update={"threshold": 0.25})


def after(
    outcome: str, *, started: datetime = NOW - 3 * DAY, before: TriggerState | None = None
) -> TriggerState:
    begun = (before or TriggerState()).started(RUN, started, cause="k")
    return begun.settled({RUN: Ended(state=outcome)})


FIRED = after("Completed", started=NOW - 3 * DAY)

CASES: list[tuple[str, Facts, Rules, TriggerState, Action, str]] = [
    ("a breach that is true starts", facts(), RULES, state(), Action.START, "30 new blobs, 7 needed"),
    ("drift over the threshold starts", facts(OLDER, run_status=None), RULES, state(), Action.START, "30 new"),
    ("drift at the threshold starts", facts(drift(0.3)), RULES, state(), Action.START, "30 new"),
    ("no threshold, any drift starts", facts(drift(0.01)), Rules(), state(), Action.START,
     "30 new blobs, 0 needed"),
    ("under the monitor's own threshold", facts(measured(0.2)), Rules(), state(), Action.IGNORE,
     "under the threshold 0.25"),
    ("the declared threshold is the one that counts", facts(measured(0.2)), Rules(threshold=0.1), state(), Action.START,
     "30 new"),
    ("the run completed in truth", facts(run_status="Completed"), RULES, state(), Action.IGNORE, "Ignored: recovered"),
    ("the run was cancelled", facts(run_status="Canceled"), RULES, state(), Action.IGNORE, "was cancelled"),
    ("nobody knows the run", facts(run_status=None), RULES, state(), Action.IGNORE, "knows no run mon_42"),
    ("the run is not over", facts(run_status="Running"), RULES, state(), Action.WAIT, "how it ends counts"),
    ("the run does not end", facts(run_status="Running", waiting_since=NOW - 2 * DAY), RULES, state(),
     Action.DEFER, "still Running"),
    ("a dataset monitor's run completes with its drift", facts(OLDER, run_status="Completed"), RULES, state(),
     Action.START, "30 new"),
    ("drift under the threshold", facts(drift(0.29)), RULES, state(), Action.IGNORE, "under the threshold 0.3"),
    ("under the threshold is no evidence", facts(drift(0.1)), RULES, state().started(RUN, NOW), Action.IGNORE,
     "under the threshold"),
    ("a run at work takes it as evidence", facts(), RULES, state().started(RUN, NOW), Action.ATTACH, f"{RUN} is at work"),
    ("an answered drift that comes late", facts(BREACH.model_copy(update={"occurred": NOW - 4 * DAY})), RULES, FIRED,
     Action.IGNORE, "that answered it"),
    ("a day late and unanswered starts", facts(BREACH.model_copy(update={"occurred": NOW - DAY})), RULES, state(),
     Action.START, "30 new"),
    ("still over since it fired", facts(drift(0.5)), RULES, FIRED, Action.IGNORE, "(hysteresis)"),
    ("a breach has no coefficient to hold back", facts(), RULES, FIRED, Action.START, "30 new"),
    ("without hysteresis each breach counts", facts(drift(0.5)), RULES.model_copy(update={"hysteresis": 0.0}), FIRED,
     Action.START, "30 new"),
    ("three failures open the circuit", facts(), RULES, state(failures=3), Action.DEFER, "closes the circuit"),
    ("two failures do not", facts(), RULES, state(failures=2), Action.START, "30 new"),
    ("cooling down", facts(), RULES, state(starts=[NOW - DAY + HOUR]), Action.IGNORE, "coolDown is P1D"),
    ("cooled down to the second", facts(), RULES, state(starts=[NOW - DAY]), Action.START, "30 new"),
    ("the cap of the day", facts(), Rules(daily_cap=2), state(starts=[NOW - HOUR, NOW - 2 * HOUR]), Action.DEFER,
     "dailyCap is 2"),
    ("starts of yesterday do not count", facts(), Rules(daily_cap=2), state(starts=[NOW - HOUR, NOW - DAY]),
     Action.START, "30 new"),
    ("dearer than the budget", facts(worst_usd=12.5), Rules(budget_usd=12), state(), Action.DEFER, "may cost $12.50"),
    ("within the budget", facts(worst_usd=12), Rules(budget_usd=12), state(), Action.START, "30 new"),
    ("no new data yet", facts(new_blobs=0), RULES, state(), Action.WAIT, "0 of 7 new blobs"),
    ("some new data", facts(new_blobs=6), RULES, state(), Action.WAIT, "6 of 7 new blobs"),
    ("no new data in time", facts(new_blobs=6, waiting_since=NOW - 2 * DAY), RULES, state(), Action.DEFER,
     "6 of 7 new blobs after P2D"),
    ("no patience", facts(new_blobs=0), Rules(min_new_blobs=1), state(), Action.DEFER, "0 of 1 new blobs"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given_", "rules", "before", "action", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_rule_that_decides_says_so_last(
    given_: Facts, rules: Rules, before: TriggerState, action: Action, said: str
) -> None:
    decided, reasons = decide(given_, rules, before)
    assert decided is action, reasons
    assert said in reasons[-1]


def test_a_start_says_what_every_rule_found() -> None:
    _, reasons = decide(facts(), RULES, state())
    assert len(reasons) == 9


@pytest.mark.parametrize(("outcome", "failures", "armed", "answered"), [
    ("Completed", 0, False, True), ("Rejected", 0, False, True), ("Inconclusive", 0, True, False),
    ("Deferred", 0, True, False), ("Cancelled", 2, True, False), ("Failed", 3, True, False),
])  # fmt: skip
def test_what_a_run_came_to_moves_the_state(outcome: str, failures: int, armed: bool, answered: bool) -> None:
    """A drift that nothing was done about may fire again; only a failure counts as one."""
    moved = after(outcome, before=state(failures=2))
    assert (moved.failures, moved.armed, moved.answered is not None, moved.active) == (
        failures,
        armed,
        answered,
        (),
    )


def test_a_run_started_by_hand_counts_from_when_it_says_it_began() -> None:
    ended = {RUN: Ended(state="Completed", started=NOW - 2 * HOUR)}
    moved = state().started(RUN).settled(ended)
    assert (moved.starts, moved.answered, moved.armed) == ((NOW - 2 * HOUR,), NOW - 2 * HOUR, True)
    assert decide(facts(), RULES, moved)[0] is Action.IGNORE


def test_drift_that_fell_far_enough_arms_again() -> None:
    assert not FIRED.seen(facts(drift(0.25)), RULES).armed
    armed = FIRED.seen(facts(drift(0.249)), RULES)
    assert armed.armed
    assert decide(facts(drift(0.31)), RULES, armed)[0] is Action.START


def test_a_storm_is_one_run_and_its_evidence() -> None:
    before, actions = state(), []
    for number in range(40):
        event = BREACH.model_copy(update={"run": f"mon_{number}", "subject": f"runs/mon_{number}"})
        action, _ = decide(facts(event), RULES, before)
        actions.append(action)
        before = (
            before.started(RUN, NOW, cause=event.key)
            if action is Action.START
            else before.attached(event.key)
        )
    assert actions == [Action.START] + [Action.ATTACH] * 39
    assert len(before.evidence) == 39


def test_one_run_noted_twice_is_one() -> None:
    once = state().started(RUN, NOW, cause="k")
    assert once.started(RUN, NOW + HOUR, cause="k") == once
    assert once.attached("e").attached("e").evidence == ("e",)


def test_a_wait_looks_before_its_patience_ends_and_not_too_often() -> None:
    begun = facts(new_blobs=0)
    looks = [begun]
    while looks[-1].now < patience_ends(begun, RULES):
        looks.append(looks[-1].model_copy(update={"now": look_at(looks[-1], RULES)}))
    assert looks[-1].now == NOW + 2 * DAY
    assert len(looks) <= 98
    assert decide(looks[-1], RULES, state())[0] is Action.DEFER


moments = st.datetimes(datetime(2026, 3, 1), datetime(2026, 3, 4), timezones=st.just(UTC))
states = st.builds(
    TriggerState,
    starts=st.lists(moments, max_size=5).map(tuple),
    failures=st.integers(0, 4),
    armed=st.booleans(),
    answered=st.none() | moments,
)


@given(states, st.sampled_from(["Failed", "Completed", "Running", None]), st.integers(0, 9), st.floats(0, 20))
def test_a_start_breaks_no_rule(before: TriggerState, status: str | None, new: int, usd: float) -> None:
    rules = RULES.model_copy(update={"budget_usd": 10.0})
    action, reasons = decide(facts(run_status=status, new_blobs=new, worst_usd=usd), rules, before)
    assert reasons
    if action is Action.START:
        assert status == "Failed" and new >= 7 and usd <= 10 and before.failures < MAX_FAILURES
        assert all(NOW - start >= DAY for start in before.starts)
        assert before.answered is None or before.answered < BREACH.occurred


@given(states, st.integers(0, 9))
def test_waiting_ends(before: TriggerState, new: int) -> None:
    late = facts(new_blobs=new, waiting_since=NOW - 2 * DAY)
    assert decide(late, RULES, before)[0].is_final
