"""Guards of profiles: no candidate is left or has traffic, none is dearer than allowed, and only what passed is taken."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PROFILE = "tests/durable/test_profile.py"
_PURE = "tests/domain/test_profiling.py"
_NONE_LEFT = f"{_PROFILE}::test_a_run_that_is_stopped_leaves_no_candidate"

MUTANTS = (
    Mutant(
        name="a-stopped-profile-leaves-no-candidate",
        file="orchestrators/profiling.py",
        old="            yield from _remove(flow, trail, run, trial)\n            raise\n",
        new="            raise\n",
        tests=(_NONE_LEFT,),
    ),
    Mutant(
        name="a-measured-candidate-is-deleted",
        file="orchestrators/profiling.py",
        old="    yield from _remove(flow, trail, run, trial)\n    return trial.told(profile, reason)\n",
        new="    return trial.told(profile, reason)\n",
        tests=(f"{_PROFILE}::test_the_cheaper_of_two_that_pass_is_taken_and_both_were_paid_for",),
    ),
    Mutant(
        name="a-candidate-is-no-green",
        file="orchestrators/profiling.py",
        old="epoch=run.epoch, name=trial.name,\n",
        new="epoch=run.epoch,\n",
        tests=(
            f"{_PROFILE}::test_candidates_are_tried_one_after_the_other_each_owned_and_dated_when_it_is_created",
        ),
    ),
    Mutant(
        name="budget-before-a-candidate",
        file="orchestrators/profiling.py",
        old="    if limits.budget_usd is not None and worst > limits.budget_usd:\n",
        new="    if False:\n",
        tests=(f"{_PROFILE}::test_what_the_budget_does_not_pay_for_is_not_tried",),
    ),
    Mutant(
        name="candidates-count-against-the-budget",
        file="orchestrators/green.py",
        old="run.plan.worst_usd(flow.now) + run.spent\n",
        new="run.plan.worst_usd(flow.now)\n",
        tests=(f"{_PROFILE}::test_what_was_spent_on_candidates_counts_against_green_s_budget",),
    ),
    Mutant(
        name="a-profile-has-an-end",
        file="orchestrators/profiling.py",
        old="    if flow.now >= trial.until:\n",
        new="    if False:\n",
        tests=(f"{_PROFILE}::test_the_profile_s_own_deadline_bounds_it",),
    ),
    Mutant(
        name="no-green-where-none-passed",
        file="orchestrators/profiling.py",
        old="    if not found.chosen:\n        raise",
        new="    if not found.chosen:\n        return\n        raise",
        tests=(f"{_PROFILE}::test_where_none_passes_no_green_is_made_and_the_reason_names_each",),
    ),
    Mutant(
        name="only-what-passed-is-recommended",
        file="shared/domain/profiling.py",
        old="    passed = [each for each in tried if each.passed]\n",
        new="    passed = list(tried)\n",
        tests=(f"{_PURE}::test_none_that_passes_is_none_recommended_and_each_is_told_why",),
    ),
    Mutant(
        name="half-measured-is-not-passed",
        file="shared/domain/profiling.py",
        old="        return not self.reason and bool(self.levels)",
        new="        return bool(self.levels)",
        tests=(f"{_PURE}::test_half_measured_is_not_passed",),
    ),
    Mutant(
        name="drift-is-of-the-step",
        file="shared/azure/collected.py",
        old="        begins = since.get(each.name, 0)\n",
        new="        begins = 0\n",
        tests=(
            "tests/activities/test_endpoints.py::test_the_predictions_of_a_step_are_compared_and_none_from_before_it",
        ),
    ),
    Mutant(
        name="a-model-s-400-is-its-client-s",
        file="shared/azure/endpoint_metrics.py",
        old='    return "4" if point.labels.get("modelstatuscode", "").startswith("4") else "5"\n',
        new='    return "5"\n',
        tests=(
            "tests/azure/test_endpoint_metrics.py::test_behind_a_managed_endpoint_s_424_counts_what_the_model_said",
        ),
    ),
    Mutant(
        name="few-refusals-are-chance",
        file="shared/domain/judging.py",
        old="max(counted, SIGMAS * spread * green.requests)",
        new="counted",
        tests=(
            "tests/domain/test_judging.py::"
            "test_bad_bodies_are_their_sender_s_fault_as_far_as_chance_shares_them_out",
        ),
    ),
)
