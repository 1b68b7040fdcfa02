"""Guards over runs: started once, within quota and budget, never taken for done, never telling secrets."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_START, _SCORE = "tests/activities/test_start.py", "tests/durable/test_score.py"
_WIRE, _ERRORS = "tests/durable/test_wire.py", "tests/domain/test_errors.py"

STARTING = (
    Mutant(
        name="claim-is-create-only",
        file="shared/azure/ledger.py",
        old="    return blob.create_only(_container(), path, encode(value))\n",
        new="    blob.create_only(_container(), path, encode(value))\n    return True\n",
        tests=(f"{_START}::test_of_many_requests_under_one_key_at_one_moment_one_is_taken",),
    ),
    Mutant(
        name="idempotency-fingerprint",
        file="shared/triggers/start.py",
        old='    if found["fingerprint"] != fingerprint:\n',
        new="    if False:\n",
        tests=(f"{_START}::test_a_key_that_comes_with_another_request_is_refused",),
    ),
    Mutant(
        name="marker-before-claim",
        file="shared/triggers/start.py",
        old='    ledger.claim(_unstarted(request.run), {"run": request.run})\n',
        new="",
        tests=(f"{_START}::test_a_claim_whose_start_was_cut_off_is_started_later",),
    ),
    Mutant(
        name="claim-without-marker-was-started",
        file="shared/triggers/start.py",
        old="    if not await is_unstarted(request.run):\n",
        new="    if False:\n",
        tests=(f"{_START}::test_a_run_that_ended_and_was_forgotten_by_the_hub_is_not_run_again",),
    ),
    Mutant(
        name="started-is-started-whatever-its-marker",
        file="shared/triggers/start.py",
        old='        logger.warning("%s was started, its marker stays for the next tick: %s", request.run, error)\n',
        new="        raise\n",
        tests=("tests/crash/test_crashes.py::test_who_asked_for_what_was_started_is_not_told_to_ask_again",),
    ),
    Mutant(
        name="run-with-an-outcome-is-over",
        file="shared/triggers/start.py",
        old='    return await asyncio.to_thread(ledger.exists, f"runs/{run}/outcome.json")\n',
        new="    return False\n",
        tests=(f"{_START}::test_a_run_with_an_outcome_is_not_run_again_though_its_marker_was_left",),
    ),
    Mutant(
        name="finished-instance-is-not-replaced",
        file="shared/triggers/start.py",
        old="    if await orchestrations.look(run) is not None:\n",
        new="    if False:\n",
        tests=(f"{_START}::test_an_instance_that_is_over_is_not_replaced_by_a_late_start",),
    ),
    Mutant(
        name="function-key",
        file="function_app.py",
        old="func.AuthLevel.FUNCTION",
        new="func.AuthLevel.ANONYMOUS",
        tests=("tests/test_layout.py::test_every_route_needs_a_function_key",),
    ),
)

DECIDING = (
    Mutant(
        name="headroom",
        file="orchestrators/machines.py",
        old="    if choice.offer is None:\n",
        new="    if False:\n",
        tests=(f"{_SCORE}::test_where_no_offer_has_room_nothing_is_bought",),
    ),
    Mutant(
        name="offers-without-room-are-left-out",
        file="orchestrators/machines.py",
        old="    open_offers = tuple(look.offer for look in report.looks if look.available)\n",
        new="    open_offers = tuple(look.offer for look in report.looks)\n",
        tests=(f"{_SCORE}::test_an_offer_without_room_is_not_asked_for",),
    ),
    Mutant(
        name="quota",
        file="shared/azure/headroom.py",
        old="    available = usage + needed <= limit\n",
        new="    available = True\n",
        tests=("tests/azure/test_headroom.py",),
    ),
    Mutant(
        name="budget",
        file="orchestrators/machines.py",
        old="    if not affordable:\n",
        new="    if not affordable and not open_offers:\n",
        tests=(f"{_SCORE}::test_what_could_cost_more_than_the_budget_is_not_bought",),
    ),
    Mutant(
        name="budget-of-every-offer",
        file="orchestrators/machines.py",
        old="    return affordable\n",
        new="    return open_offers\n",
        tests=(f"{_SCORE}::test_only_what_fits_the_budget_is_tried",),
    ),
    Mutant(
        name="job-deadline",
        file="orchestrators/score.py",
        old="        if flow.now >= deadline:\n",
        new="        if False:\n",
        tests=(f"{_SCORE}::test_a_job_is_not_waited_for_beyond_its_deadline",),
    ),
    Mutant(
        name="every-shard-of-a-job-is-done",
        file="shared/domain/jobs.py",
        old=" and progress.shards_done == progress.shards_total:\n",
        new=":\n",
        tests=(f"{_SCORE}::test_a_job_that_ended_well_with_shards_left_has_failed",),
    ),
    Mutant(
        name="discard-on-failure",
        file="orchestrators/score.py",
        old="""        yield from flow.call(
            contracts.DISCARD_SCORES, DiscardRequest(request=request, output_path=request.output_path)
        )
""",
        new="",
        tests=(f"{_SCORE}::test_a_failed_run_takes_back_what_it_wrote_and_publishes_nothing",),
    ),
    Mutant(
        name="one-failed-batch-fails-the-run",
        file="orchestrators/score.py",
        old="    _raise_first_failure(outcomes)\n",
        new="",
        tests=(f"{_SCORE}::test_one_batch_that_fails_leaves_the_other_s_bill_and_release_as_they_are",),
    ),
    Mutant(
        name="a-dead-child-hides-no-other",
        file="shared/durable/flow.py",
        old='            self.note("a child failed", error=str(error))\n',
        new="            raise\n",
        tests=(f"{_SCORE}::test_one_batch_that_dies_of_a_bug_hides_no_other",),
    ),
    Mutant(
        name="failed-in-the-portal",
        file="orchestrators/score.py",
        old="@orchestrator(contracts.SCORE_BATCH, fails=_failed)\n",
        new="@orchestrator(contracts.SCORE_BATCH)\n",
        tests=(f"{_SCORE}::test_a_failed_run_is_failed_in_the_portal_too",),
    ),
    Mutant(
        name="cancel-on-record-stops-a-job",
        file="orchestrators/score.py",
        old="        if report.cancel_requested:\n",
        new="        if False:\n",
        tests=(f"{_SCORE}::test_a_cancelled_run_ends_cancelled_and_takes_back_what_it_wrote",),
    ),
    Mutant(
        name="transient-errors-end",
        file="shared/durable/flow.py",
        old="                if attempt == tries:\n                    raise\n",
        new="                if False:\n                    raise\n",
        tests=(f"{_SCORE}::test_what_azure_never_stops_refusing_is_given_up_after_eight_times",),
    ),
)

WIRE = (
    Mutant(
        name="payload-limit",
        file="shared/durable/wire.py",
        old="    if size > MAX_PAYLOAD_BYTES:\n",
        new="    if False:\n",
        tests=(f"{_WIRE}::test_data_does_not_go_through_the_history",),
    ),
    Mutant(
        name="no-answer-is-no-success",
        file="shared/durable/wire.py",
        old='    raise MissingAnswer(f"{step} gave no answer")',
        new="    return from_wire(model, {})",
        tests=(f"{_WIRE}::test_no_answer_is_not_taken_for_success",),
    ),
    Mutant(
        name="redaction",
        file="shared/domain/errors.py",
        old="message=redact(error.message), facts=facts)",
        new="message=error.message, facts=facts)",
        tests=(f"{_ERRORS}::test_a_failure_is_redacted_in_message_and_facts",),
    ),
    Mutant(
        name="declaration-size",
        file="shared/domain/document.py",
        old="    if too_long:\n",
        new="    if False:\n",
        tests=("tests/domain/test_document.py",),
    ),
)

MUTANTS = (*STARTING, *DECIDING, *WIRE)
