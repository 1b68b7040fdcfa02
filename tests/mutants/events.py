"""Guards over events: each fact considered once, none forgotten, none believed that is not ours or not true."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_INTAKE, _DECISIONS = "tests/events/test_intake.py", "tests/events/test_decisions.py"
_FACTS, _RULES = "tests/domain/test_ml_events.py", "tests/domain/test_retrain_decision.py"
_RECONCILE = "tests/events/test_reconcile.py"
_CASES = f"{_RULES}::test_the_rule_that_decides_says_so_last"

INTAKE = (
    Mutant(
        name="event-open-until-considered",
        file="shared/azure/event_ledger.py",
        old="    is_new = _record_open(event.key, path, entry) if to_consider else ledger.claim(path, entry)\n",
        new="    is_new = ledger.claim(path, entry)\n",
        tests=(f"{_INTAKE}::test_a_crash_between_record_and_start_is_made_good_by_the_next_tick",),
    ),
    Mutant(
        name="copy-of-a-considered-event",
        file="shared/azure/event_ledger.py",
        old="    if ledger.exists(path):  # it was considered",
        new="    if False:  # it was considered",
        tests=(f"{_INTAKE}::test_a_copy_that_comes_a_day_later_finds_the_fact",),
    ),
    Mutant(
        name="considered-event-stays-on-record",
        file="shared/azure/event_ledger.py",
        old='    ledger.claim(_path(MlEvent.model_validate(entry["event"]).occurred, key), entry)\n',
        new="",
        tests=(f"{_INTAKE}::test_a_drift_is_on_record_and_considered_and_then_under_its_own_day",),
    ),
    Mutant(
        name="open-events-are-known",
        file="shared/azure/event_ledger.py",
        old="    prefixes = [_OPEN, *(",
        new="    prefixes = [*(",
        tests=(f"{_RECONCILE}::test_what_came_is_not_taken_twice",),
    ),
    Mutant(
        name="event-of-another-workspace",
        file="shared/triggers/intake.py",
        old="    if not _is_ours(found):\n",
        new="    if False:\n",
        tests=(f"{_INTAKE}::test_what_is_of_another_workspace_is_refused_on_record_and_not_asked_for_again",),
    ),
    Mutant(
        name="storage-event-is-no-drift",
        file="shared/triggers/intake.py",
        old="    is_storage = not isinstance(found, MlEvent) or found.kind is EventKind.BLOB_CREATED\n",
        new="    is_storage = True\n",
        tests=(f"{_INTAKE}::test_blobs_of_our_account_are_recorded_and_of_others_refused",),
    ),
    Mutant(
        name="own-events-start-nothing",
        file="shared/triggers/intake.py",
        old="(found.kind is EventKind.DRIFT or to_deploy) and not found.is_own\n",
        new="found.kind is EventKind.DRIFT or to_deploy\n",
        tests=(f"{_INTAKE}::test_what_we_caused_is_recorded_and_not_acted_upon",),
    ),
    Mutant(
        name="known-fact-is-not-considered-again",
        file="shared/triggers/intake.py",
        old="        return Taken.KNOWN\n    if not to_consider:\n",
        new="        pass\n    if not to_consider:\n",
        tests=(f"{_INTAKE}::test_a_copy_that_comes_a_day_later_finds_the_fact",),
    ),
    Mutant(
        name="event-key-of-the-fact",
        file="shared/domain/ml_events.py",
        old="        return _digest(self.source, self.kind, self.subject, self.version or self.run)\n",
        new="        return _digest(self.event_id)\n",
        tests=(f"{_FACTS}::test_the_key_is_of_the_fact_and_not_of_the_delivery",),
    ),
    Mutant(
        name="event-keys-in-any-case",
        file="shared/domain/ml_events.py",
        old="        found[str(key).casefold()] = found.get(str(key).casefold()) or value\n",
        new="        found[str(key)] = value\n",
        tests=(f"{_FACTS}::test_the_case_of_keys_means_nothing",),
    ),
    Mutant(
        name="event-fits-the-history",
        file="shared/domain/ml_events.py",
        old="        if left >= 0:\n",
        new="        if True:\n",
        tests=(f"{_FACTS}::test_an_event_is_small_enough_to_cross_the_durable_boundary",),
    ),
)

DECIDING = (
    Mutant(
        name="event-state-if-match",
        file="shared/azure/event_ledger.py",
        old="    return blob.write_if_match(settings().state_container, path, ledger.encode(state), etag=etag)\n",
        new="    blob._put(settings().state_container, path, ledger.encode(state))\n    return True\n",
        tests=(f"{_DECISIONS}::test_a_storm_of_breaches_is_one_run_and_its_evidence",),
    ),
    Mutant(
        name="decision-that-died-goes-on",
        file="activities/events.py",
        old="    if any(active.run == run for active in state.active):",
        new="    if False:",
        tests=(f"{_DECISIONS}::test_a_crash_between_state_and_record_is_made_good_by_the_next_call",),
    ),
    Mutant(
        name="event-run-asked-for-its-truth",
        file="shared/domain/retrain_decision.py",
        old='    if status == "completed":\n',
        new="    if False:\n",
        tests=(f"{_CASES}[the run completed in truth]",),
    ),
    Mutant(
        name="event-of-an-unknown-run",
        file="shared/domain/retrain_decision.py",
        old="    if facts.run_status is None:\n",
        new="    if False:\n",
        tests=(f"{_CASES}[nobody knows the run]",),
    ),
    Mutant(
        name="drift-answered-before",
        file="shared/domain/retrain_decision.py",
        old="    if state.answered and occurred <= state.answered:\n",
        new="    if False:\n",
        tests=(f"{_CASES}[an answered drift that comes late]",),
    ),
    Mutant(
        name="retraining-circuit",
        file="shared/domain/retrain_decision.py",
        old="    if state.failures >= MAX_FAILURES:\n",
        new="    if False:\n",
        tests=(f"{_CASES}[three failures open the circuit]",),
    ),
    Mutant(
        name="retraining-cool-down",
        file="shared/domain/retrain_decision.py",
        old="    if last is not None and facts.now < last + rules.cool_down:\n",
        new="    if False:\n",
        tests=(f"{_CASES}[cooling down]",),
    ),
    Mutant(
        name="retraining-daily-cap",
        file="shared/domain/retrain_decision.py",
        old="    if today >= rules.daily_cap:\n",
        new="    if False:\n",
        tests=(f"{_CASES}[the cap of the day]",),
    ),
    Mutant(
        name="retraining-budget",
        file="shared/domain/retrain_decision.py",
        old='(Action.DEFER, f"Deferred: {costs}") if facts.worst_usd > rules.budget_usd else (None, costs)',
        new="(None, costs)",
        tests=(f"{_CASES}[dearer than the budget]",),
    ),
    Mutant(
        name="retraining-new-data",
        file="shared/domain/retrain_decision.py",
        old="    if not needed or (new is not None and new >= needed):\n",
        new="    if True:\n",
        tests=(f"{_CASES}[no new data yet]",),
    ),
    Mutant(
        name="reconciled-facts-are-new",
        file="shared/triggers/reconcile.py",
        old=" and e.key not in known}",
        new="}",
        tests=(f"{_RECONCILE}::test_what_came_is_not_taken_twice",),
    ),
    Mutant(
        name="run-at-work-is-not-lost",
        file="shared/triggers/reconcile.py",
        old="    if look is not None and not look.is_over:\n",
        new="    if False:\n",
        tests=(f"{_RECONCILE}::test_a_run_that_is_not_lost_is_left_alone",),
    ),
)

MUTANTS = (*INTAKE, *DECIDING)
