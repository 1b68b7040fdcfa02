"""Guards of what a task hub lets its clients do: ids, orders to instances, rewinds, and the locks of entities."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_HUB = "localdev/runner/hub"
_FILES, _DELIVERY, _LATE = (
    "tests/hub/test_files.py",
    "tests/hub/test_delivery.py",
    "tests/hub/test_late.py",
)
_FEATURES, _ENTITIES = "tests/hub/test_features.py", "tests/hub/test_entities.py"
_NOTHING = f"{_LATE}::test_a_start_that_means_nothing_is_refused"
_REPLACED = f"{_LATE}::test_a_replaced_holder_of_a_lock_holds_it_no_longer_and_a_locked_entity_is_not_purged"
_FORGOTTEN = f"{_DELIVERY}::test_a_lock_is_released_even_if_the_worker_forgets_to"
_SUSPENDED = f"{_FEATURES}::test_suspended_means_nothing_moves_until_resumed"
_COLLECTED = f"{_DELIVERY}::test_a_result_that_came_while_its_instance_failed_is_there_after_the_rewind"

IDS = (
    Mutant(
        name="hub-running-id-is-taken",
        file=f"{_HUB}/instances.py",
        old="        if existing.status not in replaceable:\n",
        new="        if False:\n",
        tests=(f"{_FEATURES}::test_a_finished_id_may_be_started_again_and_a_running_one_not",),
    ),
    Mutant(
        name="hub-ids-may-be-used-once",
        file=f"{_HUB}/management.py",
        old='FINAL if self.replaceable == "NonRunning" else frozenset[Status]()',
        new="FINAL",
        tests=(f"{_FILES}::test_a_hub_may_refuse_to_reuse_any_id",),
    ),
    Mutant(
        name="hub-child-of-a-taken-id-fails-its-task",
        file=f"{_HUB}/actions.py",
        old="    except (InstanceExists, InvalidMessage) as error:\n",
        new="    except InvalidMessage as error:\n",
        tests=(f"{_FEATURES}::test_a_child_id_in_use_fails_the_parents_task",),
    ),
    Mutant(
        name="hub-ids-of-entities-are-theirs",
        file=f"{_HUB}/instances.py",
        old='    if instance_id.startswith("@"):\n',
        new="    if False:\n",
        tests=(_NOTHING,),
    ),
    Mutant(
        name="hub-start-names-an-orchestrator",
        file=f"{_HUB}/instances.py",
        old="    if not name:\n",
        new="    if False:\n",
        tests=(_NOTHING,),
    ),
)

ORDERS = (
    Mutant(
        name="hub-event-for-the-finished-is-refused",
        file=f"{_HUB}/management.py",
        old='        if instance.status.is_final:\n            raise InstanceState(f"{instance_id!r} is {',
        new='        if False:\n            raise InstanceState(f"{instance_id!r} is {',
        tests=(f"{_FEATURES}::test_an_event_for_nobody_is_refused_by_name",),
    ),
    Mutant(
        name="hub-running-is-not-purged",
        file=f"{_HUB}/management.py",
        old="    if not instance.status.is_final or not instances",
        new="    if not instances",
        tests=(f"{_FEATURES}::test_purge_forgets_an_instance_and_its_children",),
    ),
    Mutant(
        name="hub-suspended-once",
        file=f"{_HUB}/management.py",
        old="            if instance.suspending == suspending:\n",
        new="            if False:\n",
        tests=(f"{_LATE}::test_who_is_told_twice_to_suspend_is_told_once",),
    ),
    Mutant(
        name="hub-suspended-gets-no-turn",
        file=f"{_HUB}/turns.py",
        old="    if instance.status is Status.SUSPENDED and not any",
        new="    if False and not any",
        tests=(_SUSPENDED,),
    ),
    Mutant(
        name="hub-children-may-be-left-alone",
        file=f"{_HUB}/management.py",
        old="recursive=recursive and self.terminate_recursively)",
        new="recursive=recursive)",
        tests=(f"{_FILES}::test_a_hub_may_leave_children_of_the_terminated_alone",),
    ),
    Mutant(
        name="hub-only-the-failed-is-rewound",
        file=f"{_HUB}/rewind.py",
        old="    if instance.status is not Status.FAILED:\n",
        new="    if False:\n",
        tests=(f"{_FEATURES}::test_only_a_failed_instance_is_rewound",),
    ),
    Mutant(
        name="hub-rewind-goes-alone",
        file=f"{_HUB}/turns.py",
        old="    rows = [row for row in rows if row[1] == Kind.REWIND][:1] or rows\n",
        new="",
        tests=(_COLLECTED,),
    ),
    Mutant(
        name="hub-failed-keeps-results",
        file=f"{_HUB}/instances.py",
        old="    if status is Status.FAILED:\n",
        new="    if False:\n",
        tests=(_COLLECTED,),
    ),
    Mutant(
        name="hub-failed-collects-results",
        file=f"{_HUB}/instances.py",
        old="(row[1] in FINAL and row[1] != Status.FAILED)",
        new="row[1] in FINAL",
        tests=(f"{_FEATURES}::test_a_rewound_instance_gets_what_finished_after_it_had_failed",),
    ),
)

ENTITIES = (
    Mutant(
        name="hub-lock-keeps-others-out",
        file=f"{_HUB}/entities.py",
        old=" AND (?2 IS NULL OR caller = ?2) ORDER BY n LIMIT ?3",
        new=" AND (?2 IS NULL OR ?2) ORDER BY n LIMIT ?3",
        tests=(f"{_ENTITIES}::test_a_lock_keeps_outside_signals_and_other_lockers_out",),
    ),
    Mutant(
        name="hub-lock-ends-with-its-holder",
        file=f"{_HUB}/instances.py",
        old="    tx.finished.append(instance.key)\n    entities.release_all(tx, instance.key)\n",
        new="    tx.finished.append(instance.key)\n",
        tests=(_FORGOTTEN,),
    ),
    Mutant(
        name="hub-lock-ends-with-its-generation",
        file=f"{_HUB}/turns.py",
        old="    entities.release_all(tx, key)\n",
        new="",
        tests=(_FORGOTTEN,),
    ),
    Mutant(
        name="hub-lock-ends-with-its-replacement",
        file=f"{_HUB}/instances.py",
        old='    entities.release_all(tx, key)\n    for table in ("history"',
        new='    for table in ("history"',
        tests=(_REPLACED,),
    ),
    Mutant(
        name="hub-locked-entity-is-not-purged",
        file=f"{_HUB}/management.py",
        old='"DELETE FROM entity WHERE id = ? AND owner IS NULL"',
        new='"DELETE FROM entity WHERE id = ?"',
        tests=(_REPLACED,),
    ),
    Mutant(
        name="hub-unanswered-operations-stay",
        file=f"{_HUB}/entities.py",
        old="operations if whole_failure is not None else operations[: len(result.results)]\n",
        new="operations\n",
        tests=(f"{_DELIVERY}::test_an_entity_batch_answered_in_part_keeps_the_rest",),
    ),
)

MUTANTS = (*IDS, *ORDERS, *ENTITIES)
