"""Guards of rollouts: one writer, a map to come back to, a person where there is no blue, and upkeep of what is lost."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DEPLOY = "tests/durable/test_deploy.py"
_TEND = "tests/durable/test_tend.py"
_ENDPOINTS = "tests/activities/test_endpoints.py"

MUTANTS = (
    Mutant(
        name="one-holder-at-a-time",
        file="shared/domain/fence.py",
        old="    elif record.holder and not (asked.resume and record.frozen):\n",
        new="    elif False:\n",
        tests=(f"{_TEND}::test_one_holder_at_a_time_and_epochs_that_strictly_rise",),
    ),
    Mutant(
        name="epochs-rise",
        file="shared/domain/fence.py",
        old='            "epoch": record.epoch + 1,\n',
        new='            "epoch": max(1, record.epoch),\n',
        tests=(f"{_TEND}::test_one_holder_at_a_time_and_epochs_that_strictly_rise",),
    ),
    Mutant(
        name="last-good-is-the-holder-s-own",
        file="shared/domain/fence.py",
        old='            "last_good": record.last_good if keeps else {},\n',
        new='            "last_good": record.last_good,\n',
        tests=(f"{_TEND}::test_what_was_last_good_is_the_holder_s_own_or_the_one_s_he_took_over_from",),
    ),
    Mutant(
        name="late-release-frees-nobody",
        file="shared/domain/fence.py",
        old="    if (record.holder, record.epoch) != (asked.run, asked.epoch):\n        return record\n    changes",
        new="    changes",
        tests=(f"{_TEND}::test_one_holder_at_a_time_and_epochs_that_strictly_rise",),
    ),
    Mutant(
        name="traffic-under-the-fence",
        file="activities/endpoints.py",
        old="    fence.check_holder(records.read(change.endpoint), change.run, change.epoch)\n",
        new="",
        tests=(f"{_ENDPOINTS}::test_a_write_by_one_who_does_not_hold_is_refused_unsent",),
    ),
    Mutant(
        name="nothing-retired-that-was-taken",
        file="activities/endpoints.py",
        old="        fence.check_free(record, chore.epoch)\n",
        new="",
        tests=(f"{_ENDPOINTS}::test_what_was_taken_since_is_not_retired",),
    ),
    Mutant(
        name="decisions-stand-against-requests",
        file="activities/approvals.py",
        old="    if fault := fault_of(approval, asked):\n",
        new="    if fault := '':\n",
        tests=(f"{_ENDPOINTS}::test_only_a_decision_that_stands_against_its_request_counts",),
    ),
    Mutant(
        name="map-saved-before-the-shift",
        file="orchestrators/deploy.py",
        old="    yield from _save_last_good(flow, trail, run, record, look)\n",
        new="",
        tests=(f"{_DEPLOY}::test_the_last_good_map_is_on_record_before_anything_is_shifted",),
    ),
    Mutant(
        name="fenced-run-touches-nothing",
        file="orchestrators/deploy.py",
        old="    if isinstance(error, ConflictError) and error.code == FENCED:\n",
        new="    if False:\n",
        tests=(f"{_DEPLOY}::test_a_run_that_is_fenced_before_it_shifts_deletes_nothing",),
    ),
    Mutant(
        name="endpoint-held-until-restored",
        file="orchestrators/deploy.py",
        old="    if run.rolling is not None and run.rolling.state.phase is not Phase.RESTORED:\n",
        new="    if False:\n",
        tests=(
            f"{_DEPLOY}::test_storage_that_fails_for_good_in_a_rollout_leaves_the_endpoint_held_for_upkeep",
        ),
    ),
    Mutant(
        name="first-deployment-is-approved",
        file="orchestrators/deploy.py",
        old="    if not policy.required and run.blue is not None:\n",
        new="    if not policy.required:\n",
        tests=(f"{_DEPLOY}::test_the_first_deployment_of_an_endpoint_needs_a_person_whatever_policy_says",),
    ),
    Mutant(
        name="split-traffic-is-not-ours",
        file="orchestrators/deploy.py",
        old="    if len(weights) > 1 or",
        new="    if False and len(weights) > 1 or",
        tests=(f"{_DEPLOY}::test_traffic_that_is_split_by_somebody_else_is_not_ours_to_shift",),
    ),
    Mutant(
        name="failed-green-is-removed",
        file="orchestrators/deploy.py",
        old="    if run.begun is not None and not run.kept:\n",
        new="    if False:\n",
        tests=(f"{_DEPLOY}::test_a_green_that_fails_never_gets_traffic_and_is_removed",),
    ),
    Mutant(
        name="budget-before-green",
        file="orchestrators/green.py",
        old="    if limits.budget_usd is not None and worst > limits.budget_usd:\n",
        new="    if False:\n",
        tests=(f"{_DEPLOY}::test_what_the_budget_does_not_pay_for_is_never_created",),
    ),
    Mutant(
        name="gone-is-gone-twice",
        file="orchestrators/rollout.py",
        old="    if rolling.gone == 1:\n",
        new="    if False:\n",
        tests=(f"{_DEPLOY}::test_one_look_that_finds_no_endpoint_is_not_believed",),
    ),
    Mutant(
        name="broken-rollout-restores",
        file="orchestrators/rollout.py",
        old="        yield from _drive(flow, None, rolling)\n",
        new="",
        tests=(f"{_DEPLOY}::test_a_rollout_that_cannot_be_recorded_is_taken_back",),
    ),
    Mutant(
        name="lost-map-written-again",
        file="shared/domain/tending.py",
        old="    if record.holder == TENDER and is_confirmed and",
        new="    if is_confirmed and",
        tests=(f"{_TEND}::test_the_map_is_written_again_even_where_it_shows_already",),
    ),
    Mutant(
        name="rollout-at-work-left-alone",
        file="shared/domain/tending.py",
        old="    return record.deadline is not None and now >= record.deadline + GRACE\n",
        new="    return True\n",
        tests=(f"{_TEND}::test_a_rollout_that_is_at_work_is_left_alone_until_its_deadline",),
    ),
    Mutant(
        name="unsaved-rollout-shifted-nothing",
        file="shared/domain/tending.py",
        old="    if not record.is_saved:\n        return chore\n",
        new="",
        tests=(f"{_TEND}::test_a_run_that_shifted_nothing_is_only_let_go",),
    ),
    Mutant(
        name="blue-stays-for-its-hold",
        file="shared/domain/tending.py",
        old="    if record.previous and (record.hold_until is None or now >= record.hold_until):\n",
        new="    if record.previous:\n",
        tests=(f"{_TEND}::test_blue_goes_after_its_hold_and_not_before",),
    ),
)
