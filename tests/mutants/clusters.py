"""Guards over Azure ML clusters: whose they are, that they end, and what becomes of the jobs that share them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_AML, _LOOKS = "tests/platforms/test_amlcompute.py", "tests/azure/test_ml_looks.py"
_SHARED, _JOBS = "tests/durable/test_jobs.py", "tests/activities/test_jobs.py"
_PLATFORM, _STRANGER = (
    "shared/platforms/amlcompute.py",
    (f"{_AML}::test_a_cluster_of_that_name_that_is_not_ours_is_left_alone",),
)

MUTANTS = (
    Mutant(
        name="cluster-create-checks-tags",
        file=_PLATFORM,
        old="        if not seen.is_missing:\n            self._check_ours(seen, lease)\n",
        new="        if not seen.is_missing:\n            pass\n",
        tests=_STRANGER,
    ),
    Mutant(
        name="cluster-release-checks-tags",
        file=_PLATFORM,
        old="        self._check_ours(seen, lease)\n        state = ",
        new="        state = ",
        tests=_STRANGER,
    ),
    Mutant(
        name="cluster-delete-checks-tags",
        file=_PLATFORM,
        old="        self._check_ours(seen, lease)\n        if not _is_deleting(seen):\n",
        new="        if not _is_deleting(seen):\n",
        tests=_STRANGER,
    ),
    Mutant(
        name="no-cluster-for-a-lease-that-is-over",
        file=_PLATFORM,
        old="        elif lease.deadline <= seen.date:\n",
        new="        elif False:\n",
        tests=(f"{_AML}::test_a_lease_that_is_over_makes_nothing",),
    ),
    Mutant(
        name="cluster-release-cancels-what-works",
        file=_PLATFORM,
        old="                    _cancel(job)\n",
        new="                    pass\n",
        tests=(f"{_AML}::test_release_cancels_what_works_and_spares_a_job_that_has_said_its_last_word",),
    ),
    Mutant(
        name="cluster-release-spares-the-last-word",
        file=_PLATFORM,
        old="                if not ledger.read_progress(lease.owner, ml_jobs.job_id(lease, job)).is_last_word:\n",
        new="                if True:\n",
        tests=(f"{_AML}::test_release_cancels_what_works_and_spares_a_job_that_has_said_its_last_word",),
    ),
    Mutant(
        name="cluster-job-is-submitted-once",
        file=_PLATFORM,
        old="        if sent.is_missing:\n            sent = _send(",
        new="        if True:\n            sent = _send(",
        tests=(f"{_AML}::test_a_lost_answer_is_unknown_and_the_next_try_makes_nothing_twice",),
    ),
    Mutant(
        name="cluster-job-is-this-lease-s",
        file=_PLATFORM,
        old='    if sent.body["properties"].get("computeId", "").lower() != ml_clusters.cluster_id(lease).lower():\n',
        new="    if False:\n",
        tests=(f"{_AML}::test_a_job_of_another_cluster_under_that_name_is_left_alone",),
    ),
    Mutant(
        name="cluster-cancel-is-read-back",
        file="shared/platforms/amlcompute.py",
        old="        if not seen.is_missing and not ml_jobs.is_ending(seen.body):\n",
        new="        if False:\n",
        tests=(f"{_AML}::test_a_cancellation_that_does_not_show_is_not_believed",),
    ),
    Mutant(
        name="cluster-brake-is-read-back",
        file="shared/azure/ml_clusters.py",
        old="    if not is_braked(scale, lease):\n",
        new="    if False:\n",
        tests=(f"{_LOOKS}::test_a_cluster_is_ready_only_with_its_brake_and_released_only_without_nodes",),
    ),
    Mutant(
        name="cluster-is-released-without-nodes-only",
        file="shared/azure/ml_clusters.py",
        old="        return machine(MachineState.DEALLOCATING if node_count(cluster) else MachineState.DEALLOCATED)\n",
        new="        return machine(MachineState.DEALLOCATED)\n",
        tests=(f"{_LOOKS}::test_a_cluster_is_ready_only_with_its_brake_and_released_only_without_nodes",),
    ),
    Mutant(
        name="cluster-quota-is-no-room",
        file="shared/azure/classify.py",
        old="    if _ML_QUOTA.search(message):\n",
        new="    if False:\n",
        tests=(f"{_AML}::test_a_quota_that_can_never_be_met_is_no_room",),
    ),
    Mutant(
        name="cluster-environment-holds-the-image",
        file="shared/azure/ml_environments.py",
        old='    if found.get("image") != made["image"]:\n',
        new="    if False:\n",
        tests=(
            "tests/platforms/test_ml_environment.py::test_an_environment_that_holds_another_image_is_refused",
        ),
    ),
    Mutant(
        name="a-cancelled-job-of-a-live-run-lost-its-node",
        file="activities/jobs.py",
        old="    if shared and (killed or look.state is JobState.CANCELED):\n",
        new="    if shared and killed:\n",
        tests=(f"{_JOBS}::test_a_job_that_somebody_else_cancelled_lost_its_node_and_is_worth_another",),
    ),
    Mutant(
        name="no-node-is-no-room",
        file="orchestrators/jobs.py",
        old="    if now - worked >= NODE_DEADLINE:\n",
        new="    if False:\n",
        tests=(f"{_SHARED}::test_no_node_for_twenty_minutes_takes_the_next_offer",),
    ),
    Mutant(
        name="nodes-are-lost-so-often-only",
        file="orchestrators/jobs.py",
        old="        if work.attempt >= MAX_ATTEMPTS:\n",
        new="        if False:\n",
        tests=(f"{_SHARED}::test_a_batch_that_loses_one_node_after_the_other_loses_the_cluster",),
    ),
    Mutant(
        name="a-refused-cancel-hides-no-other",
        file="orchestrators/jobs.py",
        old="            yield from _ask_to_end(flow, lease, job)\n",
        new="            yield from flow.call(contracts.CANCEL_JOB, JobQuery(lease=lease, job=job))\n",
        tests=(f"{_SHARED}::test_a_job_that_azure_does_not_cancel_keeps_no_other_from_being_asked",),
    ),
    Mutant(
        name="what-failed-to-be-made-is-not-waited-for",
        file="activities/compute.py",
        old="        if isinstance(error, TransientError):\n            raise LeaseLost",
        new="        if False:\n            raise LeaseLost",
        tests=(
            "tests/activities/test_machines.py::"
            "test_a_machine_whose_making_was_preempted_is_lost_and_not_waited_for",
        ),
    ),
)
