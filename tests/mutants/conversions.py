"""Guards over conversion: only what answered alike is served, as the bytes that did, and nobody forges it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_GATE, _RECORDS = "tests/domain/test_conversion.py", "tests/activities/test_conversion.py"
_RUN, _NODE = "tests/durable/test_conversion.py", "tests/node/test_conversion.py"
_LEFT = "tests/node/test_plain_files.py"
_REFUSED = (f"{_GATE}::test_one_rule_that_is_not_met_refuses_the_conversion_and_says_which",)
_NOT_BELIEVED = (f"{_RECORDS}::test_a_record_that_is_not_of_this_conversion_is_not_believed",)

MUTANTS = (
    Mutant(
        name="parity-has-a-limit",
        file="shared/domain/conversion.py",
        old="            ok=worst is not None and worst <= parity.max_abs_difference,\n",
        new="            ok=True,\n",
        tests=_REFUSED,
    ),
    Mutant(
        name="parity-that-was-not-measured-is-none",
        file="shared/domain/conversion.py",
        old="ok=worst is not None and worst <= ",
        new="ok=worst is None or worst <= ",
        tests=_REFUSED,
    ),
    Mutant(
        name="flipped-labels-have-a-limit",
        file="shared/domain/conversion.py",
        old="ok=record.label_flips <= parity.max_label_flips,\n",
        new="ok=True,\n",
        tests=_REFUSED,
    ),
    Mutant(
        name="too-few-rows-prove-nothing",
        file="shared/domain/conversion.py",
        old="            ok=record.rows >= parity.min_rows,\n",
        new="            ok=True,\n",
        tests=_REFUSED,
    ),
    Mutant(
        name="an-answer-that-is-no-number-is-no-parity",
        file="shared/domain/conversion.py",
        old="            ok=record.not_finite == 0,\n",
        new="            ok=True,\n",
        tests=_REFUSED,
    ),
    Mutant(
        name="what-is-not-converted-is-not-deployed",
        file="orchestrators/conversion.py",
        old='    if not report.converted and conversion.on_failure == "fail":\n',
        new="    if False:\n",
        tests=(f"{_RUN}::test_what_does_not_pass_ends_the_deployment_before_anything_is_at_the_endpoint",),
    ),
    Mutant(
        name="a-cancellation-is-no-failed-conversion",
        file="orchestrators/conversion.py",
        old="    except Cancelled:\n        raise\n",
        new="",
        tests=(f"{_RUN}::test_a_cancellation_while_the_machine_works_is_no_conversion_that_failed",),
    ),
    Mutant(
        name="a-conversion-s-machine-is-paid-for",
        file="orchestrators/conversion.py",
        old="    run.converting += outcome.value.charges\n",
        new="",
        tests=(f"{_RUN}::test_green_serves_the_converted_model_and_a_person_agrees_to_its_digest",),
    ),
    Mutant(
        name="a-record-is-of-this-model",
        file="activities/conversion.py",
        old="    if (found.to, found.model_sha256) != (asked.conversion.to, asked.model.sha256):\n",
        new="    if False:\n",
        tests=_NOT_BELIEVED,
    ),
    Mutant(
        name="a-record-names-a-file-of-its-own-run",
        file="activities/conversion.py",
        old='    if found.file and not found.file.blob.startswith(f"runs/{asked.run}/"):\n',
        new="    if False:\n",
        tests=_NOT_BELIEVED,
    ),
    Mutant(
        name="the-converted-file-is-the-one-that-was-compared",
        file="shared/azure/converted_models.py",
        old="    if (sha256 := hashlib.sha256(data).hexdigest()) != found.file.sha256 or len(data) != found.file.size:\n",
        new="    if not (sha256 := hashlib.sha256(data).hexdigest()):\n",
        tests=(f"{_RECORDS}::test_a_file_that_is_not_what_the_record_promised_is_never_a_version",),
    ),
    Mutant(
        name="a-child-s-link-is-not-followed",
        file="node/plain_files.py",
        old="        with open_plain(name, place) as file:\n",
        new="        with (folder / name).open('rb') as file:\n",
        tests=(f"{_NODE}::test_a_model_that_forges_its_conversion_leaves_no_record",),
    ),
    Mutant(
        name="a-child-s-folder-is-no-link",
        file="node/plain_files.py",
        old="os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)\n",
        new="os.O_RDONLY | os.O_DIRECTORY)\n",
        tests=(f"{_LEFT}::test_a_folder_that_is_a_link_is_not_followed",),
    ),
    Mutant(
        name="categories-missing-go-where-they-went",
        file="node/convert_trees.py",
        old="_is_in(words, code) != missing_left",
        new="_is_in(words, code)",
        tests=(
            f"{_NODE}::test_trees_with_native_categories_answer_alike_to_the_last_bit_and_are_converted_once",
        ),
    ),
    Mutant(
        name="thresholds-stay-doubles",
        file="node/convert_trees.py",
        old="    return numpy_helper.from_array(numpy.array(values, numpy.float64))\n",
        new="    return numpy_helper.from_array(numpy.array(values, numpy.float32).astype(numpy.float64))\n",
        tests=(
            f"{_NODE}::test_trees_with_native_categories_answer_alike_to_the_last_bit_and_are_converted_once",
        ),
    ),
    Mutant(
        name="rows-that-no-request-holds-are-left-out",
        file="node/convert_sample.py",
        old='        whole = frame[frame.notna().all(axis="columns")]\n',
        new="        whole = frame\n",
        tests=(
            f"{_NODE}::test_a_sample_is_spread_over_all_its_files_and_leaves_out_rows_that_no_request_could_hold",
        ),
    ),
)
