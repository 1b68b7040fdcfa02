"""Guards over a model per unit: no unit loses its model, none changes without proof, and each row goes to its own."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MERGE, _STORED = "tests/domain/test_units.py", "tests/activities/test_units.py"
_STEPS, _ROWS = "tests/durable/test_units.py", "tests/node/test_unit_scoring.py"
_JUDGED = "tests/node/test_unit_evaluation.py"

MERGING = (
    Mutant(
        name="unit-keeps-the-model-it-has",
        file="shared/domain/units.py",
        old="        elif unit in held:\n",
        new="        elif False:\n",
        tests=(f"{_MERGE}::test_no_unit_loses_its_model_and_none_changes_without_proof",),
    ),
    Mutant(
        name="unit-changes-by-the-gate-alone",
        file="shared/domain/units.py",
        old="    if verdict.ruling is not Ruling.PROMOTE:\n        return row\n",
        new="",
        tests=(f"{_MERGE}::test_no_unit_loses_its_model_and_none_changes_without_proof",),
    ),
    Mutant(
        name="unit-model-size",
        file="shared/domain/units.py",
        old="    if not 0 < look.size <= MOST_BYTES:\n",
        new="    if False:\n",
        tests=(
            f"{_MERGE}::test_a_unit_that_was_not_judged_or_cannot_be_read_or_is_too_large_is_not_promoted",
        ),
    ),
    Mutant(
        name="units-columns-have-one-type",
        file="shared/domain/units.py",
        old="            if columns.setdefault(column.name, column.type) != column.type:\n",
        new="            if columns.setdefault(column.name, column.type) is None:\n",
        tests=(f"{_MERGE}::test_a_version_takes_every_column_of_its_units_and_only_what_goes_together",),
    ),
    Mutant(
        name="one-model-does-not-challenge-units",
        file="orchestrators/retrain.py",
        old="    if run.champion and run.champion.flavor == UNITS and workload.trials.unit_column is None:\n",
        new="    if False:\n",
        tests=(f"{_STEPS}::test_one_model_for_all_does_not_challenge_a_model_per_unit",),
    ),
)

REGISTERING = (
    Mutant(
        name="units-of-one-column",
        file="activities/units.py",
        old="    if index is not None and index.column != column:\n",
        new="    if False:\n",
        tests=(f"{_STORED}::test_a_unit_column_needs_a_model_of_units_by_that_column",),
    ),
    Mutant(
        name="units-champion-holds-units",
        file="shared/azure/unit_store.py",
        old="    if model.flavor != UNITS:\n",
        new="    if False:\n",
        tests=(f"{_STORED}::test_a_unit_column_needs_a_model_of_units_by_that_column",),
    ),
    Mutant(
        name="unit-copy-is-create-only",
        file="shared/azure/blob.py",
        old="                match_condition=MatchConditions.IfMissing,\n",
        new="",
        tests=(f"{_STORED}::test_what_lies_in_a_version_s_place_and_is_not_its_own_is_never_crowned",),
    ),
    Mutant(
        name="units-are-all-there-before-the-card",
        file="shared/azure/unit_store.py",
        old="    if wrong or len(there) != len(wanted):\n",
        new="    if False:\n",
        tests=(f"{_STORED}::test_registering_again_from_any_point_is_registering_once",),
    ),
    Mutant(
        name="units-cancelled",
        file="activities/units.py",
        old="    if ledger.is_cancel_requested(registration.request.run):\n",
        new="    if False:\n",
        tests=(f"{_STORED}::test_a_cancelled_run_registers_nothing",),
    ),
    Mutant(
        name="no-endpoint-for-units",
        file="activities/serving.py",
        old="    if model.flavor == UNITS:\n",
        new="    if False:\n",
        tests=(f"{_STORED}::test_no_endpoint_takes_a_model_per_unit",),
    ),
)

ON_MACHINES = (
    Mutant(
        name="unit-after-one-that-dies",
        file="node/unit_evaluation.py",
        old="                    return units[place + 1 :]\n",
        new="                    return []\n",
        tests=(_JUDGED,),
    ),
    Mutant(
        name="unit-file-is-what-the-index-promises",
        file="node/unit_models.py",
        old="        if found != entry.card.sha256:\n",
        new="        if False:\n",
        tests=(f"{_ROWS}::test_a_unit_s_file_that_is_not_what_the_index_promises_is_never_loaded",),
    ),
    Mutant(
        name="unit-rows-in-their-places",
        file="node/unit_scoring.py",
        old="        order[taken] = numpy.arange(len(taken))\n",
        new="        order[: len(taken)] = numpy.arange(len(taken))\n",
        tests=(
            f"{_ROWS}::test_each_row_is_predicted_by_its_unit_s_model_and_the_bytes_are_the_same_anywhere",
        ),
    ),
    Mutant(
        name="unknown-units-set-aside",
        file="node/unit_scoring.py",
        old="        if without and self._unknown == QUARANTINE:\n",
        new="        if False:\n",
        tests=(f"{_ROWS}::test_rows_of_unknown_units_set_their_input_aside_where_that_is_declared",),
    ),
    Mutant(
        name="unit-models-make-room",
        file="node/unit_models.py",
        old="        while len(self._loaded) > 1 and (",
        new="        while False and (",
        tests=(f"{_ROWS}::test_models_that_were_not_asked_for_longest_make_room_and_are_fetched_once",),
    ),
)

MUTANTS = (*MERGING, *REGISTERING, *ON_MACHINES)
