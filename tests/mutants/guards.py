"""Every guard that is removed, one at a time. A guard that is added to the product is added here, with its test."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MACHINES = (
    Mutant(
        name="vm-create-if-none-match",
        file="shared/azure/compute.py",
        old="        match_condition=MatchConditions.IfMissing,\n",
        new="",
        tests=(
            "tests/platforms/test_dsvm_release.py"
            "::test_a_stranger_that_comes_between_look_and_create_wins_and_is_left_alone",
        ),
    ),
    Mutant(
        name="release-checks-tags",
        file="shared/platforms/dsvm.py",
        old="""            return None
        if not _is_ours(seen, lease):
            raise _foreign(seen, lease)
        state =""",
        new="""            return None
        state =""",
        tests=(
            "tests/platforms/test_dsvm_release.py"
            "::test_somebody_else_s_machine_of_our_name_is_never_touched[other-epoch]",
        ),
    ),
    Mutant(
        name="ready-needs-its-shutdown-schedule",
        file="shared/platforms/dsvm.py",
        old="machine.state is MachineState.READY and not is_braked(_read_schedule(lease).body, lease)",
        new="False",
        tests=("tests/platforms/test_dsvm.py::test_a_machine_without_its_brake_is_never_ready",),
    ),
)
REAPER = (
    Mutant(
        name="reaper-reads-tags-again",
        file="shared/platforms/dsvm.py",
        old="        _check_still_ours(resource, seen)\n",
        new="",
        tests=(
            "tests/platforms/test_contract.py"
            "::test_the_reaper_leaves_alone_what_is_no_longer_what_it_found[dsvm]",
        ),
    ),
    Mutant(
        name="reaper-grace",
        file="shared/domain/upkeep.py",
        old="if now >= deadline + GRACE:",
        new="if now >= deadline:",
        tests=("tests/domain/test_upkeep.py::test_a_machine_goes_when_its_deadline_and_the_grace_are_past",),
    ),
    Mutant(
        name="reaper-takes-what-has-no-readable-deadline",
        file="shared/domain/upkeep.py",
        old='        return f"unreadable deadline: {fault}"',
        new="        return None",
        tests=("tests/domain/test_upkeep.py::test_a_deadline_that_cannot_be_read_counts_as_past",),
    ),
)
BLOBS = (
    Mutant(
        name="create-only-blob",
        file="shared/azure/blob.py",
        old='{"overwrite": not if_none_match, ',
        new='{"overwrite": True, ',
        tests=("tests/azure/test_blob.py::test_the_first_writer_wins_and_the_second_is_told",),
    ),
    Mutant(
        name="blob-if-match",
        file="shared/azure/blob.py",
        old='    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}\n',
        new="    return {}\n",
        tests=("tests/azure/test_blob.py::test_a_change_made_meanwhile_is_not_overwritten",),
    ),
)

MUTANTS: tuple[Mutant, ...] = (*MACHINES, *REAPER, *BLOBS)
