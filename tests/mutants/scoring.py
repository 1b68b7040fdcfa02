"""Guards of what serves a model and what tests it before traffic."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SERVING = "tests/node/test_serving.py"
_COLLECTOR = "tests/node/test_collector.py"
_JUDGING = "tests/domain/test_probes.py"
_PROBES = "tests/activities/test_probes.py"
_LOCAL = "tests/platforms/test_local_server.py"

SCRIPT = (
    Mutant(
        name="wrong-digest-is-not-opened",
        file="node/serving/loading.py",
        old="    if not promised == card.sha256 == found:\n",
        new="    if False:\n",
        tests=(f"{_SERVING}::test_a_file_changed_after_its_card_was_written_is_never_opened",),
    ),
    Mutant(
        name="served-nan-is-no-answer",
        file="node/serving/loading.py",
        old="    return number if math.isfinite(number) else None\n",
        new="    return number\n",
        tests=(f"{_SERVING}::test_no_answer_is_better_than_a_wrong_one",),
    ),
    Mutant(
        name="asked-nan-is-refused",
        file="node/serving/requests.py",
        old="    if not math.isfinite(number):\n",
        new="    if False:\n",
        tests=(f"{_SERVING}::test_a_malformed_request_is_the_clients_fault_and_every_fault_is_named",),
    ),
    Mutant(
        name="too-large-is-413",
        file="node/serving/requests.py",
        old='bytes"], status=413)',
        new='bytes"], status=400)',
        tests=(f"{_SERVING}::test_a_body_of_10_mb_is_refused_and_the_server_lives_on",),
    ),
    Mutant(
        name="waiting-rows-are-bounded",
        file="node/serving/collector.py",
        old="            if self._closing or self._bytes + served.size > MOST_WAITING_BYTES:\n",
        new="            if self._closing:\n",
        tests=(f"{_COLLECTOR}::test_where_storage_is_away_requests_go_on_and_rows_are_dropped_and_counted",),
    ),
    Mutant(
        name="tests-are-not-collected",
        file="node/serving/collector.py",
        old="        if served.client_request.startswith(PROBE):\n",
        new="        if False:\n",
        tests=(f"{_COLLECTOR}::test_what_is_served_is_collected_by_several_writers_under_one_header",),
    ),
    Mutant(
        name="one-header",
        file="node/serving/append_blobs.py",
        old="blob.append_block(header, appendpos_condition=0)",
        new="blob.append_block(header)",
        tests=(f"{_COLLECTOR}::test_what_is_served_is_collected_by_several_writers_under_one_header",),
    ),
)

PROBING = (
    Mutant(
        name="malformed-is-the-clients-fault",
        file="shared/domain/probes.py",
        old="    if answer.status not in question.statuses:\n",
        new="    if False:\n",
        tests=(f"{_JUDGING}::test_a_malformed_request_that_breaks_the_model_fails_the_contract",),
    ),
    Mutant(
        name="golden-nan-never-passes",
        file="shared/domain/golden.py",
        old="not isinstance(value, bool) and math.isfinite(value)\n",
        new="not isinstance(value, bool)\n",
        tests=(f"{_JUDGING}::test_a_golden_answer_is_judged_by_its_bounds_and_nan_never_passes",),
    ),
    Mutant(
        name="answers-by-rows",
        file="shared/domain/probes.py",
        old="    if len(values) != rows:\n",
        new="    if False:\n",
        tests=(f"{_JUDGING}::test_a_valid_row_must_be_answered_with_one_finite_number",),
    ),
    Mutant(
        name="probed-once",
        file="activities/probes.py",
        old="    if not ledger.exists(path):\n",
        new="    if True:\n",
        tests=(f"{_PROBES}::test_a_probe_that_was_judged_is_not_run_again",),
    ),
)

LOCAL = (
    Mutant(
        name="local-epoch-fences",
        file="shared/platforms/local_server.py",
        old="    if int(tags[TAG_EPOCH]) > epoch:\n",
        new="    if False:\n",
        tests=(f"{_LOCAL}::test_who_holds_a_lower_epoch_writes_nothing",),
    ),
    Mutant(
        name="a-request-counts-by-its-own-moment",
        file="shared/platforms/local_metrics.py",
        old="if is_within(answer[0]))",
        new='if is_within(line["at"]))',
        tests=(
            "tests/platforms/test_local_server.py::test_what_a_step_s_first_second_has_of_the_time_before_does_not_count_in_it",
        ),
    ),
    Mutant(
        name="local-key",
        file="shared/platforms/local_router.py",
        old="        if not hmac.compare_digest(",
        new="        if False and not hmac.compare_digest(",
        tests=(f"{_LOCAL}::test_only_the_endpoints_key_opens_it_and_only_on_loopback",),
    ),
    Mutant(
        name="local-traffic-is-kept",
        file="shared/platforms/local_server.py",
        old='            if weight := _told(folder).get("traffic", {}).get(deployment, 0):\n',
        new="            if weight := 0:\n",
        tests=(f"{_LOCAL}::test_no_traffic_for_what_is_not_there_and_no_deletion_of_what_has_some",),
    ),
    Mutant(
        name="local-only-ready-has-traffic",
        file="shared/platforms/local_server.py",
        old="                _check_ready(change.endpoint, _look(_place(folder, name), {}))\n",
        new="                pass\n",
        tests=(f"{_LOCAL}::test_no_traffic_for_what_is_not_there_and_no_deletion_of_what_has_some",),
    ),
)

MUTANTS = (*SCRIPT, *PROBING, *LOCAL)
