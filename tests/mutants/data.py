"""Guards over data: records written once, inputs as they were frozen, nothing published without proof."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_BLOB, _PUBLISH = "tests/azure/test_blob.py", "tests/activities/test_publish.py"
_INPUTS, _RECORDS = "tests/activities/test_inputs.py", "tests/activities/test_records.py"
_NODE, _MODELS = "tests/node/test_records.py", "tests/node/test_models.py"

RECORDS = (
    Mutant(
        name="create-only-blob",
        file="shared/azure/blob.py",
        old='{"overwrite": not if_none_match, ',
        new='{"overwrite": True, ',
        tests=(f"{_BLOB}::test_the_first_writer_wins_and_the_second_is_told",),
    ),
    Mutant(
        name="blob-if-match",
        file="shared/azure/blob.py",
        old='    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}\n',
        new="    return {}\n",
        tests=(f"{_BLOB}::test_a_change_made_meanwhile_is_not_overwritten",),
    ),
    Mutant(
        name="lost-answer-is-read-back",
        file="shared/azure/blob.py",
        old="        return stored == data\n",
        new="        return True\n",
        tests=(f"{_BLOB}::test_a_refused_write_whose_answer_is_lost_is_not_taken_for_ours",),
    ),
    Mutant(
        name="blob-names-stay-in-their-container",
        file="shared/azure/blob.py",
        old="    _check_name(name)\n    return",
        new="    return",
        tests=(f"{_BLOB}::test_a_name_that_could_reach_elsewhere_is_refused_before_any_request",),
    ),
    Mutant(
        name="record-conflict",
        file="shared/azure/ledger.py",
        old="    if blob.read(_container(), path) != data:\n",
        new="    if False:\n",
        tests=(f"{_RECORDS}::test_a_run_s_outcome_and_cost_are_written_once",),
    ),
    Mutant(
        name="audit-conflict",
        file="shared/azure/ledger.py",
        old='record, code="AuditConflict")\n',
        new='blob.read_or_none(_container(), f"audit/{entry.chain}/{entry.seq:06d}.json") or record, code="")\n',
        tests=(f"{_RECORDS}::test_no_audit_record_takes_another_s_number",),
    ),
    Mutant(
        name="audit-chain-checks-prev",
        file="shared/domain/audit.py",
        old="            if entry.prev != expected_prev:\n",
        new="            if False:\n",
        tests=("tests/domain/test_audit.py",),
    ),
    Mutant(
        name="audit-chain-carries-prev",
        file="shared/durable/audit.py",
        old="        self.head = link.digest\n",
        new="",
        tests=("tests/durable/test_leased.py::test_every_record_of_a_lease_follows_the_one_before",),
    ),
    Mutant(
        name="leftovers-stay-on-the-books",
        file="shared/azure/ledger.py",
        old="    if not closing.remains:\n",
        new="    if True:\n",
        tests=(f"{_RECORDS}::test_a_lease_that_left_something_stays_on_the_books_until_it_is_settled",),
    ),
)

INPUTS = (
    Mutant(
        name="inputs-are-frozen",
        file="activities/data.py",
        old="""    frozen = ledger.read(path)
    if frozen is None:
        blob.create_only(
            settings().state_container, path, ledger.encode(_list_and_plan(request, freeze.model))
        )
        frozen = ledger.read(path)
""",
        new="""    frozen = json.loads(ledger.encode(_list_and_plan(request, freeze.model)))
    if frozen is not None:
""",
        tests=(f"{_INPUTS}::test_inputs_that_were_frozen_stay_frozen",),
    ),
    Mutant(
        name="inputs-have-settled",
        file="activities/data.py",
        old="        and since < found.last_modified <= through\n",
        new="        and since < found.last_modified\n",
        tests=(f"{_INPUTS}::test_what_may_still_be_written_to_is_left_for_the_next_run",),
    ),
    Mutant(
        name="inputs-are-newer-than-the-watermark",
        file="activities/data.py",
        old="        and since < found.last_modified <= through\n",
        new="        and found.last_modified <= through\n",
        tests=(f"{_PUBLISH}::test_what_is_published_is_not_listed_again",),
    ),
    Mutant(
        name="job-lists-open-shards-only",
        file="activities/data.py",
        old=' and s["id"] not in committed]',
        new="]",
        tests=(f"{_INPUTS}::test_a_second_machine_gets_only_the_shards_without_a_record",),
    ),
    Mutant(
        name="agent-reads-inputs-if-match",
        file="node/storage.py",
        old="download_blob(etag=quoted, match_condition=MatchConditions.IfNotModified)",
        new="download_blob()",
        tests=(f"{_NODE}::test_an_input_is_read_as_it_was_frozen_or_not_at_all",),
    ),
    Mutant(
        name="model-is-hashed-before-it-is-kept",
        file="node/models.py",
        old="    if found != source.sha256 or card.sha256 != source.sha256:\n",
        new="    if False:\n",
        tests=(f"{_MODELS}::test_a_pickle_that_was_not_promised_is_never_opened",),
    ),
    Mutant(
        name="model-is-hashed-before-it-is-loaded",
        file="node/models.py",
        old="    if hashlib.sha256(data).hexdigest() != card.sha256:\n",
        new="    if False:\n",
        tests=(f"{_MODELS}::test_a_model_file_that_changed_on_the_disk_is_never_opened",),
    ),
    Mutant(
        name="job-is-hashed-before-it-is-run",
        file="node/agent.py",
        old="    if found != reference.sha256:\n",
        new="    if False:\n",
        tests=("tests/node/test_job.py::test_a_job_whose_bytes_were_changed_is_not_run",),
    ),
    Mutant(
        name="agent-is-hashed-before-it-is-run",
        file="node/bootstrap.sh",
        old='if found != agent["sha256"]:',
        new="if False:",
        tests=("tests/node/test_bootstrap.py::test_an_agent_that_was_not_promised_is_not_run",),
    ),
)

OUTPUTS = (
    Mutant(
        name="agent-creates-only",
        file="node/storage.py",
        old="            self._upload(container, blob, data, content_type, metadata, overwrite=False)\n",
        new="            self._upload(container, blob, data, content_type, metadata, overwrite=True)\n",
        tests=(f"{_NODE}::test_the_first_part_of_a_shard_is_its_part",),
    ),
    Mutant(
        name="shard-record-is-create-only",
        file="node/records.py",
        old='    store.create(job.state_container, blob, data, content_type="application/json")\n',
        new="    store.replace(job.state_container, blob, data)\n",
        tests=(f"{_NODE}::test_the_first_record_of_a_shard_is_its_record",),
    ),
    Mutant(
        name="part-is-read-back",
        file="node/parts.py",
        old="    if found == ours:\n",
        new="    if True:\n",
        tests=(f"{_NODE}::test_a_part_that_was_altered_is_not_vouched_for",),
    ),
    Mutant(
        name="committed-shards-are-not-scored-again",
        file="node/agent.py",
        old="    return [shard for shard in job.shards if shard.id not in done]\n",
        new="    return list(job.shards)\n",
        tests=("tests/node/test_exactly_once.py::test_what_has_a_record_is_not_scored_again",),
    ),
    Mutant(
        name="coverage",
        file="activities/data.py",
        old="    if faults:\n",
        new="    if False:\n",
        tests=(
            f"{_PUBLISH}::test_a_part_that_is_not_what_was_committed_keeps_everything_from_being_published",
        ),
    ),
    Mutant(
        name="coverage-counts-strangers",
        file="shared/domain/coverage.py",
        old="for name in sorted(set(found) - expected)",
        new="for name in sorted(set(found) - set(found))",
        tests=("tests/domain/test_coverage.py",),
    ),
    Mutant(
        name="coverage-checks-the-model",
        file="shared/domain/coverage.py",
        old="    if record.model_sha256 != model.sha256:\n",
        new="    if False:\n",
        tests=("tests/domain/test_coverage.py",),
    ),
    Mutant(
        name="quarantine-ratio",
        file="activities/data.py",
        old="        raise JobFailed(fault)\n",
        new="        pass\n",
        tests=(f"{_PUBLISH}::test_so_many_may_be_quarantined_and_no_more",),
    ),
    Mutant(
        name="cancel-check-before-publishing",
        file="activities/data.py",
        old="    if ledger.is_cancel_requested(request.run):\n",
        new="    if False:\n",
        tests=(f"{_PUBLISH}::test_a_cancelled_run_publishes_nothing",),
    ),
    Mutant(
        name="commit-is-read-back",
        file="activities/data.py",
        old="    if blob.read(container, name) != data:\n",
        new="    if False:\n",
        tests=(
            f"{_PUBLISH}::test_a_receipt_that_is_there_with_other_content_is_neither_overwritten_nor_vouched_for",
        ),
    ),
    Mutant(
        name="success-comes-last",
        file="activities/data.py",
        old="""    manifest_ref = _commit(publish, "_MANIFEST.json", ledger.encode(manifest))
    success_ref = _commit(
        publish, "_SUCCESS", ledger.encode({"run": request.run, "manifest": manifest_ref.sha256})
    )
""",
        new="""    digest = hashlib.sha256(ledger.encode(manifest)).hexdigest()
    success_ref = _commit(publish, "_SUCCESS", ledger.encode({"run": request.run, "manifest": digest}))
    manifest_ref = _commit(publish, "_MANIFEST.json", ledger.encode(manifest))
""",
        tests=(
            f"{_PUBLISH}::test_a_receipt_that_is_there_with_other_content_is_neither_overwritten_nor_vouched_for",
        ),
    ),
    Mutant(
        name="watermark-is-claimed-first",
        file="activities/data.py",
        old="    if keeps_watermark:\n        watermarks.claim(publish)\n",
        new="",
        tests=(f"{_PUBLISH}::test_of_two_runs_that_froze_the_same_inputs_the_second_publishes_nothing",),
    ),
    Mutant(
        name="watermark-is-the-one-that-was-frozen",
        file="shared/azure/watermarks.py",
        old="    if etag != publish.inputs.watermark_etag:\n",
        new="    if False:\n",
        tests=(f"{_PUBLISH}::test_of_two_runs_that_froze_the_same_inputs_the_second_publishes_nothing",),
    ),
    Mutant(
        name="watermark-claim-if-match",
        file="shared/azure/watermarks.py",
        old="    if not blob.write_if_match(",
        new="    if False and not blob.write_if_match(",
        tests=(f"{_PUBLISH}::test_of_many_runs_at_the_same_moment_exactly_one_may_publish",),
    ),
    Mutant(
        name="claim-with-success-counts-as-settled",
        file="shared/azure/watermarks.py",
        old='    if claim and blob.exists(claim["container"], claim["success"]):\n',
        new="    if False:\n",
        tests=(f"{_PUBLISH}::test_a_run_that_died_after_its_word_of_success_has_published",),
    ),
    Mutant(
        name="claim-without-success-counts-for-nothing",
        file="shared/azure/watermarks.py",
        old='    if claim and blob.exists(claim["container"], claim["success"]):\n',
        new="    if claim:\n",
        tests=(f"{_PUBLISH}::test_a_run_that_died_before_its_word_of_success_leaves_its_inputs_to_the_next",),
    ),
    Mutant(
        name="published-is-never-discarded",
        file="activities/data.py",
        old='    if blob.exists(container, f"{path}_SUCCESS"):\n',
        new="    if False:\n",
        tests=(f"{_PUBLISH}::test_what_was_published_is_never_discarded",),
    ),
    Mutant(
        name="orphaned-parts-are-discarded-too",
        file="activities/data.py",
        old=' or found.metadata.get("run") == discard.request.run:\n',
        new=":\n",
        tests=(f"{_PUBLISH}::test_discarding_takes_back_a_failed_run_s_parts_with_record_or_without",),
    ),
    Mutant(
        name="receipt-bears-its-run",
        file="activities/data.py",
        old=', metadata={"run": publish.request.run})',
        new=")",
        tests=(
            f"{_PUBLISH}::test_discarding_takes_back_the_receipt_of_a_run_that_failed_while_it_published",
        ),
    ),
    Mutant(
        name="only-our-own-is-discarded",
        file="activities/data.py",
        old='        if found.name in own or found.metadata.get("run") == discard.request.run:\n',
        new="        if True:\n",
        tests=(f"{_PUBLISH}::test_discarding_leaves_what_is_somebody_else_s",),
    ),
)

MUTANTS = (*RECORDS, *INPUTS, *OUTPUTS)
