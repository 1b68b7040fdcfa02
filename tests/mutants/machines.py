"""Guards over what bills: making machines, releasing them, reaping them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DSVM, _RELEASE = "tests/platforms/test_dsvm.py", "tests/platforms/test_dsvm_release.py"
_MACHINES, _LEASED = "tests/activities/test_machines.py", "tests/durable/test_leased.py"
_UPKEEP = "tests/domain/test_upkeep.py"
_PASSES = "tests/triggers/test_upkeep.py"

MAKING = (
    Mutant(
        name="lease-closed-check",
        file="activities/compute.py",
        old="    if ledger.is_lease_closed(lease):\n",
        new="    if False:\n",
        tests=(f"{_MACHINES}::test_nothing_is_created_under_a_lease_that_is_closed",),
    ),
    Mutant(
        name="lease-closed-is-per-epoch",
        file="shared/azure/ledger.py",
        old="    return _epoch_path(folder, lease.id, str(lease.epoch))\n",
        new='    return _epoch_path(folder, lease.id, "1")\n',
        tests=("tests/activities/test_records.py::test_a_closed_epoch_says_nothing_of_the_next",),
    ),
    Mutant(
        name="cancel-check-before-create",
        file="activities/compute.py",
        old="    if ledger.is_cancel_requested(lease.owner):\n",
        new="    if False:\n",
        tests=(f"{_MACHINES}::test_nothing_is_created_for_a_run_that_is_cancelled",),
    ),
    Mutant(
        name="vm-create-if-none-match",
        file="shared/azure/compute.py",
        old="        match_condition=MatchConditions.IfMissing,\n",
        new="",
        tests=(f"{_RELEASE}::test_a_stranger_that_comes_between_look_and_create_wins_and_is_left_alone",),
    ),
    Mutant(
        name="provision-checks-tags",
        file="shared/platforms/dsvm.py",
        old="""        elif not _is_ours(seen, lease):
            raise _foreign(seen, lease)
        self._put_brake""",
        new="""        self._put_brake""",
        tests=(f"{_RELEASE}::test_somebody_else_s_machine_of_our_name_is_never_touched[other-epoch]",),
    ),
    Mutant(
        name="no-machine-for-a-lease-that-is-over",
        file="shared/platforms/dsvm.py",
        old="    if left <= timedelta(0):\n",
        new="    if False:\n",
        tests=(f"{_DSVM}::test_a_lease_that_is_over_makes_nothing",),
    ),
    Mutant(
        name="no-lease-longer-than-its-brake",
        file="shared/platforms/dsvm.py",
        old="    if left > MAX_TTL:\n",
        new="    if False:\n",
        tests=(f"{_DSVM}::test_a_lease_longer_than_its_brake_can_say_is_refused_and_nothing_is_made",),
    ),
    Mutant(
        name="ready-needs-its-shutdown-schedule",
        file="shared/platforms/dsvm.py",
        old="machine.state is MachineState.READY and not is_braked(_read_schedule(lease).body, lease)",
        new="False",
        tests=(f"{_DSVM}::test_a_machine_without_its_brake_is_never_ready",),
    ),
    Mutant(
        name="shutdown-never-before-the-deadline",
        file="shared/azure/vm_bodies.py",
        old=" + timedelta(seconds=59, microseconds=999_999)",
        new="",
        tests=("tests/azure/test_vm_bodies.py::test_azure_s_brake_strikes_at_the_deadline_and_never_before",),
    ),
    Mutant(
        name="everything-is-deleted-with-its-machine",
        file="shared/azure/vm_bodies.py",
        old="""                    "managedDisk": {"storageAccountType": disk_type},
                    "deleteOption": "Delete",
""",
        new="""                    "managedDisk": {"storageAccountType": disk_type},
""",
        tests=("tests/azure/test_vm_bodies.py::test_everything_made_with_a_machine_goes_with_it",),
    ),
    Mutant(
        name="failed-machine-is-an-error",
        file="activities/compute.py",
        old="    if machine.state is MachineState.FAILED:\n",
        new="    if False:\n",
        tests=(f"{_MACHINES}::test_a_machine_that_azure_failed_to_make_is_told_as_what_it_means",),
    ),
)

HOLDING = (
    Mutant(
        name="intent-on-record-first",
        file="shared/durable/leased.py",
        old="    yield from flow.call(contracts.OPEN_LEASE, LeaseOpening(lease=lease, at=since))\n",
        new="",
        tests=(f"{_LEASED}::test_a_lease_is_on_record_before_anything_exists_and_closed_when_nothing_does",),
    ),
    Mutant(
        name="release-on-failure",
        file="shared/durable/leased.py",
        old="""        yield from _release_and_record(
            flow, trail, lease, held, since, why=f"{type(error).__name__}: {error}"
        )
        raise
""",
        new="        raise\n",
        tests=(f"{_LEASED}::test_a_machine_is_released_whatever_fails_on_it",),
    ),
    Mutant(
        name="release-after-a-bug",
        file="shared/durable/leased.py",
        old="    except Exception as error:\n",
        new="    except AppError as error:\n",
        tests=(f"{_LEASED}::test_a_machine_is_released_when_a_step_dies_of_a_bug",),
    ),
    Mutant(
        name="carcass-is-deleted",
        file="shared/durable/leased.py",
        old="    try:\n        yield from provision(flow, lease)\n",
        new="    yield from provision(flow, lease)\n    try:\n",
        tests=(f"{_LEASED}::test_a_carcass_is_gone_before_the_next_machine_is_asked_for",),
    ),
    Mutant(
        name="boot-deadline",
        file="shared/durable/leased.py",
        old="        if flow.now >= deadline:\n            raise LeaseLost(",
        new="        if False:\n            raise LeaseLost(",
        tests=(f"{_LEASED}::test_a_machine_that_never_boots_is_given_up_released_and_replaced",),
    ),
    Mutant(
        name="gone-in-two-looks",
        file="shared/durable/leased.py",
        old="            remains = yield from _look(flow, lease, contracts.CONFIRM_RELEASE)\n",
        new="",
        tests=(f"{_LEASED}::test_what_a_second_look_finds_is_deleted_too",),
    ),
    Mutant(
        name="two-looks-are-apart",
        file="shared/durable/leased.py",
        old="            yield from flow.sleep(CONFIRM_AFTER_S)\n",
        new="",
        tests=(f"{_LEASED}::test_the_second_look_comes_half_a_minute_after_the_first",),
    ),
    Mutant(
        name="unseen-is-not-gone",
        file="shared/durable/leased.py",
        old="        return Remains(resources=(unseen,), machine=MachineState.READY)\n",
        new="        return Remains()\n",
        tests=(f"{_LEASED}::test_a_look_that_was_refused_is_not_taken_for_gone",),
    ),
    Mutant(
        name="refused-release-goes-on",
        file="shared/durable/leased.py",
        old="        return AFTER_REFUSAL_S\n",
        new="        raise\n",
        tests=(f"{_LEASED}::test_a_release_that_is_refused_is_looked_at_and_goes_on",),
    ),
    Mutant(
        name="cancelled-run-sits-out-the-rest",
        file="shared/durable/leased.py",
        old="    yield from flow.sit_out_the_rest()\n",
        new="",
        tests=(f"{_LEASED}::test_a_cancelled_run_asks_nothing_of_its_machine_before_the_look_it_was_told",),
    ),
    Mutant(
        name="retry-after",
        file="shared/durable/flow.py",
        old="(error.retry_after_s or DEFAULT_RETRY_AFTER_S)",
        new="DEFAULT_RETRY_AFTER_S",
        tests=(f"{_LEASED}::test_nothing_is_asked_before_azure_said_it_may_be",),
    ),
    Mutant(
        name="what-stays-behind-keeps-a-lease-open",
        file="activities/compute.py",
        old="provisioner.list_remains(lease) if machine.state is MachineState.ABSENT else ()",
        new="()",
        tests=(f"{_MACHINES}::test_what_a_machine_left_behind_keeps_its_release_from_being_over",),
    ),
    Mutant(
        name="stopped-is-not-deallocated",
        file="shared/azure/vm_looks.py",
        old='    "stopped": MachineState.STOPPED,\n',
        new='    "stopped": MachineState.DEALLOCATED,\n',
        tests=(f"{_RELEASE}::test_a_machine_that_is_only_stopped_still_bills_and_is_deallocated",),
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
        tests=(f"{_RELEASE}::test_somebody_else_s_machine_of_our_name_is_never_touched[other-epoch]",),
    ),
    Mutant(
        name="delete-checks-tags",
        file="shared/azure/vm_estate.py",
        old="        elif _has_derived_name(each, lease):\n",
        new="        elif False:\n",
        tests=("tests/azure/test_vm_estate.py::test_a_derived_name_with_other_tags_stops_everything",),
    ),
    Mutant(
        name="near-miss-tags",
        file="shared/azure/vm_estate.py",
        old="for key in (TAG_APP, TAG_LEASE, TAG_EPOCH))\n\n\ndef pieces_of",
        new="for key in (TAG_APP, TAG_LEASE))\n\n\ndef pieces_of",
        tests=("tests/azure/test_vm_estate.py::test_near_miss_tags_are_somebody_else_s",),
    ),
)

REAPING = (
    Mutant(
        name="reaper-reads-tags-again",
        file="shared/platforms/dsvm.py",
        old="        _check_still_ours(resource, seen)\n",
        new="",
        tests=(
            "tests/platforms/test_contract.py::test_the_reaper_leaves_alone_what_is_no_longer_what_it_found[dsvm]",
        ),
    ),
    Mutant(
        name="reaper-leaves-pieces-of-the-living",
        file="shared/platforms/dsvm.py",
        old="        elif not _is_held(resource, seen):\n",
        new="        else:\n",
        tests=(f"{_RELEASE}::test_the_reaper_does_not_pull_pieces_from_under_a_living_machine",),
    ),
    Mutant(
        name="reaper-knows-our-app-only",
        file="shared/azure/vm_estate.py",
        old="        if each.tags.get(TAG_APP) == app:\n",
        new="        if True:\n",
        tests=(
            "tests/azure/test_vm_estate.py::test_the_reaper_s_list_holds_what_is_under_our_tags_and_nothing_else",
        ),
    ),
    Mutant(
        name="reaper-grace",
        file="shared/domain/upkeep.py",
        old="    if now >= deadline + GRACE:\n",
        new="    if now >= deadline:\n",
        tests=(f"{_UPKEEP}::test_a_machine_goes_when_its_deadline_and_the_grace_are_past",),
    ),
    Mutant(
        name="reaper-takes-what-its-owner-left",
        file="shared/domain/upkeep.py",
        old="    if owner in owners_over:\n",
        new="    if False:\n",
        tests=(f"{_UPKEEP}::test_a_machine_whose_owner_is_over_goes_before_its_deadline",),
    ),
    Mutant(
        name="reaper-takes-what-has-no-readable-deadline",
        file="shared/domain/upkeep.py",
        old='        return f"unreadable deadline: {fault}"',
        new="        return None",
        tests=(f"{_UPKEEP}::test_a_deadline_that_cannot_be_read_counts_as_past",),
    ),
    Mutant(
        name="reaper-takes-a-dozen-at-most",
        file="activities/leases.py",
        old="        removals=tuple(removals[:MAX_PER_PASS]),\n",
        new="        removals=tuple(removals),\n",
        tests=(f"{_MACHINES}::test_one_pass_removes_a_dozen_at_most",),
    ),
    Mutant(
        name="books-stay-open-while-something-is-left",
        file="shared/domain/upkeep.py",
        old="    return over and all(resource.tags.get(TAG_LEASE) != lease.id for resource in found)",
        new="    return over",
        tests=(f"{_MACHINES}::test_the_books_of_a_dead_run_are_closed_once_nothing_of_it_is_left",),
    ),
    Mutant(
        name="reaper-tries-the-next-after-a-refusal",
        file="orchestrators/upkeep.py",
        old='            failed.append(f"{removal.resource.name}: {error}")\n',
        new="            raise\n",
        tests=("tests/durable/test_upkeep.py::test_what_cannot_be_removed_does_not_keep_the_rest",),
    ),
    Mutant(
        name="one-pass-that-works-is-enough",
        file="shared/triggers/upkeep.py",
        old="        if look.as_of is None or now - look.as_of < STUCK:\n            return None\n",
        new="",
        tests=(f"{_PASSES}::test_one_pass_of_each_is_at_work_while_it_makes_steps",),
    ),
    Mutant(
        name="no-pass-waits-for-one-that-hangs",
        file="shared/triggers/upkeep.py",
        old="now - look.as_of < STUCK:",
        new="True:",
        tests=(f"{_PASSES}::test_a_pass_that_makes_no_step_does_not_keep_the_next",),
    ),
    Mutant(
        name="passes-side-by-side-write-two-chains",
        file="orchestrators/upkeep.py",
        old="    beside = flow.instance_id.partition(REAPER)[2]\n",
        new='    beside = ""\n',
        tests=("tests/durable/test_upkeep.py::test_passes_at_work_side_by_side_write_chains_of_their_own",),
    ),
)

MUTANTS = (*MAKING, *HOLDING, *REAPING)
