"""From a drift to a decision: the real orchestrator and activities, real storage, and Azure ML's own word on the run."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from activities.events import decide_retraining
from localdev.runner.hub import TaskHub
from shared.azure import blob, event_ledger, ledger
from shared.domain.considering import DecideRequest
from shared.domain.ml_events import MlEvent, normalise
from shared.domain.retrain_decision import Action, Decision
from tests.crash.clock import VirtualClock
from tests.events import monitors
from tests.events.deliveries import AT, Event, breach, dataset_drift
from tests.events.retrainings import Considering, claims, deployed, end, retraining
from tests.support.cloud import Cloud, environment

HOUR = timedelta(hours=1)
NAMES = ("plain", "storm", "rivals", "twice", "capped", "failing", "answered", "waiting", "in-time", "dear", "recovers",
         "fails", "unknown", "crashed", "swings")  # fmt: skip


def monitor(name: str) -> str:
    return f"{name}-monitor"


@pytest.fixture(scope="module", autouse=True)
def _deployed(simulated: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    changes: dict[str, dict[str, object]] = {
        "capped": {"trigger": {"monitor": monitor("capped"), "coolDown": "PT0S", "dailyCap": 2}},
        "failing": {"trigger": {"monitor": monitor("failing"), "coolDown": "PT0S", "dailyCap": 24}},
        "waiting": {
            "data": {"minNewBlobs": 2},
            "trigger": {"monitor": monitor("waiting"), "readyWithin": "PT1H"},
        },
        "in-time": {"data": {"minNewBlobs": 2}},
        "dear": {"compute": {"platform": "dsvm"}, "limits": {"budgetUsd": 0.01}},
        "swings": {
            "trigger": {
                "monitor": monitor("swings"),
                "threshold": 0.3,
                "hysteresis": 0.05,
                "coolDown": "PT0S",
            }
        },
    }
    declared = [retraining(name, monitor=monitor(name), **changes.get(name, {})) for name in NAMES]
    with deployed(simulated, tmp_path_factory.mktemp("workloads"), *declared):
        yield


@pytest.fixture
def considering() -> Iterator[Considering]:
    clock = VirtualClock()
    with TaskHub.open(None, clock=clock) as hub:
        yield Considering(hub, clock)


pytestmark = pytest.mark.usefixtures("cloud")


def drift(name: str, coefficient: float = 0.4, *, hours: float = 0, run: str = "") -> Event:
    """A drift that this workload listens to. Every call is a fact of its own."""
    run = run or f"drift-{uuid.uuid4().hex[:8]}"
    return dataset_drift(run, coefficient, monitor=monitor(name), at=AT + hours * HOUR)


def asked(raw: Event, workload: str, *, hours: float = 0) -> DecideRequest:
    event = normalise(raw)
    assert isinstance(event, MlEvent)
    now = AT + hours * HOUR
    return DecideRequest(event=event, workload=workload, now=now, waiting_since=now)


def test_a_start_is_on_record_and_claimed_for_the_next_tick(considering: Considering) -> None:
    decision = considering.one(drift("plain"))
    assert decision.action is Action.START
    assert decision.run == f"train-plain-event-{decision.key[:16]}"
    assert claims("plain") == [decision.run]
    claim = ledger.read(f"claims/{decision.run}.json")
    assert claim and (claim["kind"], claim["request"]["cause"]) == ("Retraining", decision.key)
    assert ledger.exists(f"claims/unstarted/{decision.run}.json")


def test_a_fact_that_is_considered_again_changes_nothing(considering: Considering) -> None:
    raw = drift("twice")
    first = considering.one(raw)
    end(first.run, "Completed")
    assert considering.one(raw) == first
    assert claims("twice") == [first.run]


def test_a_storm_of_breaches_is_one_run_and_its_evidence() -> None:
    """Forty facts at one moment, decided by workers that know nothing of one another."""
    requests = [asked(drift("storm", 0.4 + n / 100), "storm") for n in range(40)]
    with ThreadPoolExecutor(8) as workers:
        decisions: list[Decision] = list(workers.map(decide_retraining, requests))
    actions = [decision.action for decision in decisions]
    assert sorted(actions) == [Action.ATTACH] * 39 + [Action.START]
    (run,) = claims("storm")
    assert {decision.run for decision in decisions} == {run}
    state, _ = event_ledger.read_state("storm")
    assert set(state.evidence) == {d.key for d in decisions if d.action is Action.ATTACH}


def test_one_fact_decided_by_many_at_once_is_one_decision() -> None:
    request = asked(drift("rivals"), "rivals")
    with ThreadPoolExecutor(8) as workers:
        decisions = list(workers.map(decide_retraining, [request] * 8))
    assert {(d.action, d.run) for d in decisions} == {(Action.START, claims("rivals")[0])}
    assert len(claims("rivals")) == 1


def test_a_crash_between_state_and_record_is_made_good_by_the_next_call() -> None:
    request = asked(drift("crashed"), "crashed")
    run = f"train-crashed-event-{request.event.key[:16]}"
    state, etag = event_ledger.read_state("crashed")
    event_ledger.write_state("crashed", state.started(run, request.now, cause=request.event.key), etag)
    assert decide_retraining(request).action is Action.START
    assert claims("crashed") == [run]


def test_an_event_after_completion_is_answered_by_the_run_that_was() -> None:
    first = decide_retraining(asked(drift("answered", hours=-2), "answered"))
    end(first.run, "Completed")
    late = decide_retraining(asked(drift("answered", hours=-24), "answered", hours=1))
    assert (late.action, claims("answered")) == (Action.IGNORE, [first.run])
    assert "that answered it" in late.reasons[-1]
    fresh = decide_retraining(asked(drift("answered", hours=1), "answered", hours=2))
    assert fresh.action is Action.IGNORE
    assert "hysteresis" in fresh.reasons[-1]


def test_the_daily_cap_holds() -> None:
    for hour in (0, 1):
        end(decide_retraining(asked(drift("capped", hours=hour), "capped", hours=hour)).run, "Inconclusive")
    third = decide_retraining(asked(drift("capped", hours=2), "capped", hours=2))
    assert (third.action, len(claims("capped"))) == (Action.DEFER, 2)
    assert "dailyCap is 2" in third.reasons[-1]


def test_three_failures_open_the_circuit_and_one_run_by_hand_closes_it() -> None:
    for hour in range(3):
        end(decide_retraining(asked(drift("failing", hours=hour), "failing", hours=hour)).run, "Failed")
    refused = decide_retraining(asked(drift("failing", hours=3), "failing", hours=3))
    assert refused.action is Action.DEFER
    assert "3 retrainings failed" in refused.reasons[-1]
    state, etag = event_ledger.read_state("failing")
    by_hand = "train-failing-manual-0123456789abcdef"
    event_ledger.write_state("failing", state.started(by_hand), etag)
    end(by_hand, "Rejected")
    assert decide_retraining(asked(drift("failing", hours=5), "failing", hours=5)).action is Action.START


def test_drift_must_fall_before_it_counts_again() -> None:
    actions = []
    for hour, coefficient in enumerate((0.5, 0.5, 0.27, 0.5, 0.2, 0.5)):
        decision = decide_retraining(asked(drift("swings", coefficient, hours=hour), "swings", hours=hour))
        if decision.action is Action.START:
            end(decision.run, "Completed")
        actions.append(decision.action)
    assert actions == [Action.START, *[Action.IGNORE] * 4, Action.START]


def test_a_run_that_would_cost_too_much_is_not_started() -> None:
    decision = decide_retraining(asked(drift("dear"), "dear"))
    assert decision.action is Action.DEFER
    assert "limits.budgetUsd is $0.01" in decision.reasons[-1]


def test_without_new_data_it_waits_to_its_deadline_and_is_deferred(considering: Considering) -> None:
    began = considering.clock.now()
    decision = considering.one(drift("waiting"))
    assert decision.action is Action.DEFER
    assert "0 of 2 new blobs after PT1H" in decision.reasons[-1]
    assert considering.clock.now() - began == HOUR
    assert considering.looks == 13
    assert claims("waiting") == []


def test_data_that_comes_while_it_waits_starts_it(considering: Considering) -> None:
    raw = drift("in-time")
    event = normalise(raw)
    assert isinstance(event, MlEvent)
    waiting = decide_retraining(asked(raw, "in-time"))
    assert (waiting.action, waiting.until) == (Action.WAIT, AT + timedelta(days=2))
    assert event_ledger.read_decision("in-time", event.key)[0] == waiting
    for day in (1, 2):
        blob.create_only("landing", f"in-time/2013-06-0{day}.parquet", b"rows")
    decision = considering.one(raw)
    assert (decision.action, considering.looks) == (Action.START, 1)


@pytest.mark.parametrize(
    ("name", "command", "action", "said"),
    [("fails", "exit 1", Action.START, ""), ("recovers", "true", Action.IGNORE, "Ignored: recovered")],
)
def test_what_azure_ml_says_of_the_run_counts_and_not_the_event(
    cloud: Cloud, considering: Considering, name: str, command: str, action: Action, said: str
) -> None:
    """Failed came first or last, or never: the run is asked."""
    run = f"mon-{name}"
    monitors.run(cloud, run, command=command, monitor=monitor(name))
    decision = considering.one(breach(run, monitor=monitor(name), status="Failed"))
    assert decision.action is action
    assert said in decision.reasons[-1]
    assert considering.one(breach(run, monitor=monitor(name), status="Completed")) == decision


def test_a_run_that_azure_ml_does_not_know_starts_nothing(considering: Considering) -> None:
    decision = considering.one(breach("invented", monitor=monitor("unknown")))
    assert decision.action is Action.IGNORE
    assert "knows no run invented" in decision.reasons[-1]


def test_what_cannot_be_asked_of_azure_ml_stays_open(cloud: Cloud, considering: Considering) -> None:
    """The workspace's setting is wrong, or the role is missing: nothing is decided, and nothing is lost."""
    raw = breach("mon-later", monitor=monitor("unknown"))
    event = normalise(raw)
    assert isinstance(event, MlEvent)
    event_ledger.record(event, origin="test", to_consider=True)
    broken = dict(os.environ) | {"MUSTER_ML_WORKSPACE": "not-an-id"}
    with environment(broken), pytest.raises(AssertionError, match="MUSTER_ML_WORKSPACE"):
        considering.one(raw)
    assert event.key in {each.key for each in event_ledger.unconsidered()}
    assert considering.one(raw).action is Action.IGNORE
    assert event.key not in {each.key for each in event_ledger.unconsidered()}


def test_a_drift_that_nobody_listens_to_is_on_record_as_that(considering: Considering) -> None:
    decision = considering.one(dataset_drift("unheard", 0.9, monitor="somebody-elses"))
    assert (decision.workload, decision.action) == (event_ledger.NOBODY, Action.IGNORE)
    assert "no workload listens to monitor 'somebody-elses'; there are: " in decision.reasons[0]
    assert "plain (plain-monitor)" in decision.reasons[0]
