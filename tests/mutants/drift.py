"""Guards over drift that Muster measures: the right data compared, nothing told that was not measured, once told."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DATA, _RUN = "tests/activities/test_drift.py", "tests/durable/test_drift.py"
_RULES, _OWN = "tests/domain/test_drift.py", "tests/events/test_own_drift.py"

MUTANTS = (
    Mutant(
        name="target-is-no-reference",
        file="activities/drift.py",
        old="if each.name not in taken)\n",
        new="if True)\n",
        tests=(f"{_DATA}::test_a_blob_is_never_on_both_sides",),
    ),
    Mutant(
        name="comparison-is-frozen-once",
        file="activities/drift.py",
        old="    frozen = ledger.read(path)\n    if frozen is None:\n        ledger.claim(path, ",
        new="    frozen = None\n    if frozen is None:\n        ledger.delete(path)\n        ledger.claim(path, ",
        tests=(f"{_DATA}::test_what_lands_or_changes_later_is_not_what_was_frozen",),
    ),
    Mutant(
        name="declared-features-are-all-measured",
        file="shared/domain/drift.py",
        old="    if gaps := ",
        new="    if False and ",
        tests=(f"{_RULES}::test_a_declared_feature_that_could_not_be_measured_fails_the_run_and_says_why",),
    ),
    Mutant(
        name="drift-is-a-finite-number",
        file="shared/domain/drift.py",
        old="    psi: FiniteFloat | None = None\n",
        new="    psi: float | None = None\n",
        tests=(f"{_DATA}::test_what_is_no_measurement_fails_the_run",),
    ),
    Mutant(
        name="one-fact-for-each-drift-run",
        file="shared/domain/drift.py",
        old='        subject=f"runs/{report.request.run}",\n',
        new='        subject=f"runs/{report.measurement.coefficient}",\n',
        tests=(f"{_RULES}::test_a_measurement_is_one_fact_of_its_run_and_not_our_own_doing",),
    ),
    Mutant(
        name="drift-marker-for-the-tick",
        file="activities/drift.py",
        old="origin=SOURCE, to_consider=True)\n",
        new="origin=SOURCE, to_consider=False)\n",
        tests=(
            f"{_DATA}::test_a_measurement_is_one_fact_that_waits_to_be_considered_however_often_it_is_reported",
        ),
    ),
    Mutant(
        name="monitor-s-threshold-where-none-is-declared",
        file="shared/domain/retrain_decision.py",
        old="    threshold = facts.event.threshold if threshold is None else threshold\n",
        new="",
        tests=(f"{_OWN}::test_where_the_retraining_has_no_threshold_the_monitor_s_own_decides",),
    ),
    Mutant(
        name="empty-side-buys-nothing",
        file="orchestrators/drift.py",
        old="    if comparison.missing:\n",
        new="    if False:\n",
        tests=(f"{_RUN}::test_where_a_side_is_empty_nothing_is_bought_and_nothing_said",),
    ),
    Mutant(
        name="failed-measurement-is-not-told",
        file="orchestrators/drift.py",
        old="    if outcome.value.failure:\n        raise from_failure(outcome.value.failure)\n",
        new="",
        tests=(f"{_RUN}::test_a_job_that_failed_is_a_failed_run_with_its_bill_and_no_event",),
    ),
    Mutant(
        name="failed-drift-run-in-the-portal",
        file="orchestrators/drift.py",
        old="@orchestrator(contracts.MEASURE_DRIFT, fails=_failed)\n",
        new="@orchestrator(contracts.MEASURE_DRIFT)\n",
        tests=(f"{_RUN}::test_a_failed_run_is_failed_in_the_portal_too",),
    ),
)
