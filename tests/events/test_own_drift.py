"""Drift that Muster measured itself is decided about as Azure ML's is: by the same orchestrator, on the same records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from activities.drift import report_drift
from localdev.runner.hub import TaskHub
from shared.azure import event_ledger
from shared.domain.drift import DriftReport, Measurement, drift_event
from shared.domain.ml_events import MlEvent
from shared.domain.retrain_decision import Action
from tests.crash.clock import VirtualClock
from tests.events.deliveries import AT
from tests.events.retrainings import Considering, claims, deployed, end, retraining
from tests.support.cloud import Cloud
from tests.support.drifts import drift_monitor, parsed, request

SWINGS, LENIENT = "drift-swings", "drift-lenient"


@pytest.fixture(scope="module", autouse=True)
def _deployed(simulated: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    often = {"coolDown": "PT0S", "dailyCap": 24}
    declared = [
        drift_monitor("own-swings"),
        retraining(SWINGS, monitor="own-swings", trigger=often),
        drift_monitor("own-lenient"),
        retraining(LENIENT, trigger={"monitor": "own-lenient", "threshold": None, "hysteresis": 0.0}),
    ]
    with deployed(simulated, tmp_path_factory.mktemp("workloads"), *declared):
        yield


@pytest.fixture
def considering() -> Iterator[Considering]:
    clock = VirtualClock()
    with TaskHub.open(None, clock=clock) as hub:
        yield Considering(hub, clock)


pytestmark = pytest.mark.usefixtures("cloud")


def measured(monitor: str, coefficient: float, hour: int) -> MlEvent:
    """The fact on record of a run at that hour."""
    asked = request(parsed(drift_monitor(monitor)), slot=f"20260301T{hour:02d}0000Z")
    measurement = Measurement(coefficient=coefficient, feature="late", measured=1)
    report = DriftReport(request=asked, measurement=measurement, at=AT + timedelta(hours=hour))
    key = report_drift(report).key
    (event,) = [each for each in event_ledger.unconsidered() if each.key == key]
    assert event == drift_event(report)
    return event


def test_drift_that_goes_and_comes_again_starts_twice_and_no_more(considering: Considering) -> None:
    course = [(0.4, Action.START), (0.5, Action.IGNORE), (0.1, Action.IGNORE), (0.4, Action.START)]
    reasons = []
    for hour, (coefficient, action) in enumerate(course):
        decision = considering.decided(measured("own-swings", coefficient, hour))
        assert decision.action is action, decision.reasons
        reasons.append(decision.reasons[-1])
        if decision.run:
            end(decision.run, "Completed")

    assert "hysteresis" in reasons[1] and "under the threshold" in reasons[2]
    assert len(claims(SWINGS)) == 2


def test_where_the_retraining_has_no_threshold_the_monitor_s_own_decides(considering: Considering) -> None:
    quiet = considering.decided(measured("own-lenient", 0.2, 0))
    assert quiet.action is Action.IGNORE and "under the threshold 0.25" in quiet.reasons[-1]

    assert considering.decided(measured("own-lenient", 0.3, 1)).action is Action.START


def test_a_fact_that_is_being_considered_waits_for_nobody(considering: Considering) -> None:
    event = measured("own-lenient", 0.1, 2)
    considering.decided(event)
    assert event.key not in {each.key for each in event_ledger.unconsidered()}
