"""A run's report: what it waits for, how far it is, what it has spent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.domain.jobs import Progress
from shared.domain.report import InstanceLook, build_report
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
