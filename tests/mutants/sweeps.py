"""Guards over searches that Azure ML runs, and over the data assets that say what a model was trained on."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FLOW, _PLATFORM = "orchestrators/sweep.py", "shared/platforms/amlcompute.py"
_FLOWS, _PLATFORMS = "tests/durable/test_sweep.py", "tests/platforms/test_sweeps.py"
_CHILD, _CHILDREN = "node/sweep.py", "tests/node/test_sweep.py"
_WORDS, _REFUSED = "tests/domain/test_retraining.py", "test_a_search_that_azure_ml_cannot_run_is_refused"

MUTANTS = (
    Mutant(
        name="a-sweep-is-submitted-once",
        file=_PLATFORM,
        old="        if sent.is_missing:\n            sent = _send(",
        new="        if True:\n            sent = _send(",
        tests=(f"{_PLATFORMS}::test_a_sweep_submitted_twice_is_one_that_carries_its_lease_and_its_limits",),
    ),
    Mutant(
        name="a-cancelled-sweep-blames-no-child",
        file=_PLATFORM,
        old="if child.state is JobState.FAILED or (tried_all and child.state is JobState.CANCELED)\n",
        new="if child.state is JobState.FAILED or child.state is JobState.CANCELED\n",
        tests=(f"{_PLATFORMS}::test_a_cancelled_sweep_ends_with_its_children_and_blames_none_of_them",),
    ),
    Mutant(
        name="a-sweep-that-failed-tried-all-it-was-to-try",
        file=_PLATFORM,
        old=" in (JobState.SUCCEEDED, JobState.FAILED)\n",
        new=" in (JobState.SUCCEEDED,)\n",
        tests=(
            f"{_PLATFORMS}::test_children_that_were_stopped_are_told_of_though_none_of_the_sweep_completed",
        ),
    ),
    Mutant(
        name="a-sweep-ends-with-the-cluster-it-loses",
        file=_PLATFORM,
        old="        if look.succeeded:\n            return look\n        is_lost, why = _cluster_told(lease)\n",
        new="        if look.is_over:\n            return look\n        is_lost, why = _cluster_told(lease)\n",
        tests=(f"{_PLATFORMS}::test_a_sweep_ends_with_the_cluster_it_loses",),
    ),
    Mutant(
        name="a-sweep-is-ended-before-its-cluster",
        file=_FLOW,
        old="    except AppError:\n        yield from _ask_to_end(flow, lease, sweep)\n",
        new="    except AppError:\n",
        tests=(f"{_FLOWS}::test_cancelling_ends_the_sweep_and_only_then_its_cluster",),
    ),
    Mutant(
        name="a-sweep-without-nodes-is-no-room",
        file=_FLOW,
        old="    if now - idle_since >= NODE_DEADLINE:\n",
        new="    if False:\n",
        tests=(f"{_FLOWS}::test_without_nodes_or_cluster_the_sweep_is_ended_and_another_cluster_tried",),
    ),
    Mutant(
        name="a-sweep-out-of-time-is-ended",
        file=_FLOW,
        old="            stopped = USED_UP\n            yield from _ask_to_end(flow, lease, sweep)\n",
        new="            stopped = USED_UP\n",
        tests=(f"{_FLOWS}::test_when_the_time_is_used_up_what_is_on_record_counts",),
    ),
    Mutant(
        name="a-sweep-that-began-nothing-has-failed",
        file=_FLOW,
        old="    if look.is_over and not look.succeeded and not stopped and not look.children:\n",
        new="    if False:\n",
        tests=(f"{_FLOWS}::test_a_search_that_cannot_be_is_the_run_s_failure_with_azure_s_words",),
    ),
    Mutant(
        name="a-sweep-is-for-what-has-no-record",
        file="activities/sweeps.py",
        old="if not ledger.exists(record_path(run, trial.id))]\n",
        new="]\n",
        tests=("tests/activities/test_sweeps.py::test_there_is_no_sweep_where_every_trial_has_its_record",),
    ),
    Mutant(
        name="a-child-is-of-this-sweep",
        file=_CHILD,
        old="    if number == run or not number.isdigit():\n",
        new="    if not number.isdigit():\n",
        tests=(f"{_CHILDREN}::test_what_was_not_declared_is_not_trained",),
    ),
    Mutant(
        name="what-was-drawn-was-declared",
        file=_CHILD,
        old='        raise JobSpecError(f"{name}: {text!r} was drawn and is none of the declared values")\n',
        new="        return text\n",
        tests=(f"{_CHILDREN}::test_what_was_not_declared_is_not_trained",),
    ),
    Mutant(
        name="a-run-s-token-goes-to-azure-ml-alone",
        file="node/tracking.py",
        old='if found.scheme not in ("azureml", "https") or not _HOST.fullmatch(found.netloc):\n',
        new='if found.scheme not in ("azureml", "https"):\n',
        tests=(f"{_CHILDREN}::test_a_run_s_token_goes_to_no_host_but_azure_ml_s",),
    ),
    Mutant(
        name="a-data-asset-is-of-this-digest",
        file="shared/azure/ml_data.py",
        old="    if found != manifest.sha256:\n",
        new="    if False:\n",
        tests=("tests/azure/test_ml_data.py::test_a_version_of_other_data_is_not_taken_for_ours",),
    ),
    Mutant(
        name="a-sweep-runs-where-azure-ml-does",
        file="shared/domain/retraining.py",
        old='trials.engine == "sweep" and compute.platform != SWEEP_PLATFORM:\n',
        new="False:\n",
        tests=(f"{_WORDS}::{_REFUSED}",),
    ),
    Mutant(
        name="bayesian-sampling-draws-what-it-can",
        file="shared/domain/search.py",
        old="    if wrong:\n",
        new="    if False:\n",
        tests=(f"{_WORDS}::{_REFUSED}",),
    ),
)
