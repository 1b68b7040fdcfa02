"""A run's report: what it waits for, how far it is, what it has spent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.cli import texts
from shared.domain.drift import DriftOutcome, DriftState, FeatureDrift, Measurement
from shared.domain.jobs import Progress
from shared.domain.report import InstanceLook, build_report, child_ids, read_outcome
from shared.domain.scoring import RunOutcome, RunState
from shared.domain.status import RunStatus

START = datetime(2026, 3, 1, tzinfo=UTC)
ROOT = InstanceLook(
    id="run", runtime="Running", status=RunStatus(phase="scoring", waiting_for="2 machines"), created=START
)


def batch(number: int, *, hours: float, **status: object) -> InstanceLook:
    facts = {"phase": "scoring", "lease": f"l{number}", "usd_per_hour": 0.5, "billing_since": START, **status}
    return InstanceLook(
        id=f"run.b{number:02d}",
        runtime="Running",
        status=RunStatus.model_validate(facts),
        as_of=START + timedelta(hours=hours),
    )


def test_spend_so_far_is_that_of_held_and_of_released_machines() -> None:
    released = batch(1, hours=3, billing_since=None, usd_per_hour=0.0, spent_usd=0.25, lease="")
    report = build_report(ROOT, [batch(0, hours=2), released], [])
    assert report.spent_usd == 0.5 * 2 + 0.25
    assert [m.lease for m in report.machines] == ["l0"]
    assert report.as_of == START + timedelta(hours=3)


def test_the_batch_that_waits_longest_is_what_the_run_waits_for() -> None:
    slow = batch(0, hours=1, waiting_for="job b00-e1", since=START)
    quick = batch(1, hours=1, waiting_for="job b01-e1", since=START + timedelta(minutes=5))
    assert build_report(ROOT, [quick, slow], []).waiting_for == "job b00-e1"


def test_percent_counts_inputs_of_all_machines() -> None:
    progress = [
        Progress(items_total=30, items_done=15, rows=10),
        Progress(items_total=10, items_done=5, rows=7),
    ]
    report = build_report(ROOT, [], progress)
    assert (report.percent, report.items_done, report.rows) == (50.0, 20, 17)


def test_a_run_that_is_over_waits_for_nothing_and_tells_its_outcome() -> None:
    outcome = RunOutcome(run="run", workload="w", slot="s", state=RunState.NOTHING_NEW, usd=0.75)
    over = ROOT.model_copy(update={"runtime": "Completed", "outcome": outcome})
    report = build_report(over, [], [])
    assert (report.state, report.waiting_for, report.next_look, report.spent_usd) == (
        "NothingNew",
        "",
        None,
        0.75,
    )


DRIFT = "drift-flights-20130201T020000Z"
MEASURED = DriftOutcome(
    run=DRIFT, workload="flights", slot="20130201T020000Z", state=DriftState.COMPLETED, metric="ks", threshold=0.2,
    breached=True, event="e" * 32, usd=0.01,
    measurement=Measurement(
        coefficient=0.41, feature="hour", measured=1, without=1,
        features=(
            FeatureDrift(name="hour", psi=0.2, ks=0.41, js=0.1), FeatureDrift(name="carrier", error="types differ"),
        ),
    ),
)  # fmt: skip


def drift_run(outcome: DriftOutcome | None = None) -> InstanceLook:
    return ROOT.model_copy(
        update={"id": DRIFT, "runtime": "Completed" if outcome else "Running", "outcome": outcome}
    )


def test_a_drift_run_is_read_from_its_record_and_is_whole_when_it_measured() -> None:
    assert read_outcome(DRIFT, MEASURED.model_dump(mode="json")) == MEASURED
    assert build_report(drift_run(MEASURED), [], []).percent == 100
    nothing = MEASURED.model_copy(update={"measurement": None, "state": DriftState.NOTHING_TO_COMPARE})
    assert build_report(drift_run(nothing), [], []).percent == 0


def test_the_machine_of_a_drift_run_is_that_of_its_one_child() -> None:
    (child,) = child_ids(DRIFT)
    machine = batch(0, hours=2).model_copy(update={"id": child})
    report = build_report(drift_run(), [machine], [Progress(items_total=1)])
    assert (report.spent_usd, report.items, report.items_total) == (1.0, "measurements", 1)


def test_explain_says_how_far_which_features_moved_and_where_the_decision_is() -> None:
    text = texts.explain(build_report(drift_run(MEASURED), [], []).model_dump(mode="json"))
    assert "breach: ks 0.4100 of hour, threshold 0.2; 1 features, 1 without ks" in text
    assert "    hour  psi 0.2000  ks 0.4100  js 0.1000" in text
    assert "    carrier  types differ" in text
    assert f"muster explain {'e' * 32}" in text


def test_explain_of_a_drift_run_at_work_says_what_cancelling_loses() -> None:
    text = texts.explain(build_report(drift_run(), [batch(0, hours=1)], []).model_dump(mode="json"))
    assert "cancel would release 1 machine(s), report no drift" in text
