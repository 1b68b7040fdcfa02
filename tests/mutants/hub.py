"""Guards of the task hub: one holder of the file, work at least once and its outcome exactly once, poison found."""

from __future__ import annotations

from tests.mutants import hub_rules
from tests.mutants.mutant import Mutant

_HUB = "localdev/runner/hub"
_FILES, _POISON = "tests/hub/test_files.py", "tests/hub/test_poison.py"
_DELIVERY, _LATE = "tests/hub/test_delivery.py", "tests/hub/test_late.py"
_CRASH = "tests/hub/test_crash.py"
_UNUSABLE = f"{_FILES}::test_an_unusable_file_is_refused_and_left_as_it_was"
_GUILTY = f"{_POISON}::test_those_who_die_with_the_guilty_are_tried_alone_and_survive"
_ALWAYS_KILLS = f"{_POISON}::test_a_turn_that_always_kills_fails_its_instance_and_says_so"
_KILLING_OPERATION = f"{_POISON}::test_an_operation_that_always_kills_is_refused_and_the_others_are_run"
_NEXT_GENERATION = f"{_LATE}::test_what_comes_while_it_continues_as_new_is_kept_if_it_came_from_outside"
_WHILE_LOCKED = f"{_LATE}::test_a_file_that_another_program_locks_for_a_while_loses_no_work"

FILE = (
    Mutant(
        name="hub-file-has-one-holder",
        file=f"{_HUB}/holder.py",
        old="fcntl.LOCK_EX | fcntl.LOCK_NB",
        new="fcntl.LOCK_SH | fcntl.LOCK_NB",
        tests=(f"{_FILES}::test_a_second_process_is_told_who_holds_the_file",),
    ),
    Mutant(
        name="hub-refused-lets-go-of-its-file",
        file=f"{_HUB}/__init__.py",
        old="            store.close()  # or",
        new="            pass  # or",
        tests=(f"{_FILES}::test_a_file_that_was_locked_as_it_was_opened_can_be_opened_later",),
    ),
    Mutant(
        name="hub-of-a-newer-schema",
        file=f"{_HUB}/schema.py",
        old="    if version > SCHEMA_VERSION:\n",
        new="    if False:\n",
        tests=(_UNUSABLE,),
    ),
    Mutant(
        name="hub-file-of-another-program",
        file=f"{_HUB}/schema.py",
        old="    if application != APPLICATION_ID:\n",
        new="    if False:\n",
        tests=(_UNUSABLE,),
    ),
    Mutant(
        name="hub-file-that-is-empty",
        file=f"{_HUB}/schema.py",
        old="    if size == 0 and not has_wal:\n",
        new="    if False:\n",
        tests=(_UNUSABLE,),
    ),
    Mutant(
        name="hub-file-that-is-truncated",
        file=f"{_HUB}/schema.py",
        old="    if size < expected and not has_wal:\n",
        new="    if False:\n",
        tests=(_UNUSABLE,),
    ),
    Mutant(
        name="hub-file-that-is-damaged",
        file=f"{_HUB}/store.py",
        old="        if small and (verdict",
        new="        if False and (verdict",
        tests=(_UNUSABLE,),
    ),
    Mutant(
        name="hub-undoes-what-failed",
        file=f"{_HUB}/store.py",
        old='                        self.sql.execute("ROLLBACK")\n',
        new="                        pass\n",
        tests=(f"{_FILES}::test_a_hub_may_refuse_to_reuse_any_id",),
    ),
    Mutant(
        name="hub-on-a-full-disk-may-be-asked-again",
        file=f"{_HUB}/store.py",
        old="    if code == sqlite3.SQLITE_FULL:\n",
        new="    if False:\n",
        tests=(f"{_DELIVERY}::test_a_full_disk_is_reported_and_nothing_is_lost",),
    ),
    Mutant(
        name="hub-full-disk-loses-no-work",
        file=f"{_HUB}/delivery.py",
        old="            self.expire_later([lease] if lease else [])\n",
        new="",
        tests=(f"{_LATE}::test_an_answer_that_a_full_disk_refused_and_nobody_repeats_is_asked_for_again",),
    ),
    Mutant(
        name="hub-locked-file-stops-no-worker",
        file=f"{_HUB}/session.py",
        old="except (HubFull, HubUnavailable) as error:",
        new="except HubFull as error:",
        tests=(_WHILE_LOCKED,),
    ),
    Mutant(
        name="hub-locked-file-loses-no-work",
        file=f"{_HUB}/delivery.py",
        old="        except (HubFull, HubUnavailable):\n",
        new="        except HubFull:\n",
        tests=(_WHILE_LOCKED,),
    ),
    Mutant(
        name="hub-locked-file-keeps-nothing-in-hand",
        file=f"{_HUB}/delivery.py",
        old="        except (HubFull, HubUnavailable) as error:  # it stays counted",
        new="        except EOFError as error:  # it stays counted",
        tests=(_WHILE_LOCKED,),
    ),
    Mutant(
        name="hub-full-disk-stops-no-hand-out",
        file=f"{_HUB}/in_hand.py",
        old="        except OSError as error:\n",
        new="        except EOFError as error:\n",
        tests=(f"{_POISON}::test_a_record_of_what_is_in_hand_that_cannot_be_written_stops_no_work",),
    ),
    Mutant(
        name="hub-half-a-line-is-no-line",
        file=f"{_HUB}/in_hand.py",
        old="            except ValueError:\n",
        new="            except EOFError:\n",
        tests=(f"{_POISON}::test_a_record_of_what_is_in_hand_that_cannot_be_written_stops_no_work",),
    ),
    Mutant(
        name="hub-record-stays-small",
        file=f"{_HUB}/in_hand.py",
        old="            if self._size > _COMPACT_BYTES:\n",
        new="            if False:\n",
        tests=(f"{_POISON}::test_the_record_of_what_is_in_hand_does_not_grow",),
    ),
    Mutant(
        name="hub-on-loopback",
        file=f"{_HUB}/__init__.py",
        old='f"127.0.0.1:{port}"',
        new='f"0.0.0.0:{port}"',
        tests=(f"{_DELIVERY}::test_clients_reach_it_on_loopback_only",),
    ),
)

ONCE = (
    Mutant(
        name="hub-token-is-good-once",
        file=f"{_HUB}/leases.py",
        old="        self._by_token.pop(lease.token, None)\n",
        new="",
        tests=(f"{_DELIVERY}::test_a_turn_is_answered_only_by_the_worker_that_holds_it",),
    ),
    Mutant(
        name="hub-token-of-this-process",
        file=f"{_HUB}/leases.py",
        old="secrets.token_hex(4)",
        new='secrets.token_hex(4)[:0] + "same"',
        tests=(f"{_LATE}::test_a_turn_handed_out_before_a_restart_is_not_answered_after_it",),
    ),
    Mutant(
        name="hub-lease-runs-out-if-it-is-held",
        file=f"{_HUB}/delivery.py",
        old="            held = [lease for lease in leases if self._leases.get(lease.token) is lease]\n",
        new="            held = leases\n",
        tests=(f"{_LATE}::test_a_lease_that_ran_out_after_its_answer_takes_nothing_from_who_is_next",),
    ),
    Mutant(
        name="hub-activity-is-answered-once",
        file=f"{_HUB}/handout.py",
        old='"DELETE FROM activity WHERE id = ? RETURNING instance, generation, task"',
        new='"SELECT instance, generation, task FROM activity WHERE id = ?"',
        tests=(f"{_DELIVERY}::test_the_first_answer_to_an_activity_counts_and_no_other",),
    ),
    Mutant(
        name="hub-answer-names-its-activity",
        file=f"{_HUB}/delivery.py",
        old="        if activity_id is None:\n            raise InvalidMessage(",
        new="        if activity_id is None:\n            return print(",
        tests=(f"{_DELIVERY}::test_an_activity_answer_with_a_foreign_token_is_refused",),
    ),
    Mutant(
        name="hub-generation",
        file=f"{_HUB}/instances.py",
        old="row[0] != generation or ",
        new="",
        tests=(_NEXT_GENERATION,),
    ),
    Mutant(
        name="hub-new-generation-starts-without-results",
        file=f"{_HUB}/turns.py",
        old='WHERE instance = ? AND kind IN (?, ?, ?) ORDER BY n",\n',
        new='WHERE instance = ? AND ? + ? + ? > 0 ORDER BY n",\n',
        tests=(_NEXT_GENERATION,),
    ),
    Mutant(
        name="hub-new-generation-keeps-events",
        file=f"{_HUB}/turns.py",
        old="[(key, *row) for row in kept]",
        new="[]",
        tests=(_NEXT_GENERATION,),
    ),
    Mutant(
        name="hub-new-generation-keeps-orders",
        file=f"{_HUB}/turns.py",
        old="    for kind, order in _orders(turn.new_events):\n",
        new="    for kind, order in ():\n",
        tests=(f"{_DELIVERY}::test_an_order_that_meets_a_continue_as_new_is_not_lost",),
    ),
    Mutant(
        name="hub-replaced-instance-gets-no-old-answer",
        file=f"{_HUB}/turns.py",
        old="    if instance is None or instance.generation != turn",
        new="    assert instance is not None\n    if instance.generation != turn",
        tests=(f"{_LATE}::test_an_answer_for_an_instance_that_was_replaced_changes_nothing",),
    ),
    Mutant(
        name="hub-turn-consumes-what-it-saw",
        file=f"{_HUB}/turns.py",
        old='    tx.sql.executemany("DELETE FROM inbox WHERE n = ?", [(n,) for n in turn.rows])\n',
        new='    tx.sql.execute("DELETE FROM inbox WHERE instance = ?", (instance.key,))\n',
        tests=(f"{_LATE}::test_turns_of_one_instance_never_overlap_and_each_takes_only_what_it_saw",),
    ),
    Mutant(
        name="hub-turns-do-not-overlap",
        file=f"{_HUB}/queues.py",
        old="        if key in self._busy_turns or key in self._queued_turns:\n",
        new="        if key in self._queued_turns:\n",
        tests=(f"{_LATE}::test_turns_of_one_instance_never_overlap_and_each_takes_only_what_it_saw",),
    ),
    Mutant(
        name="hub-batches-do-not-overlap",
        file=f"{_HUB}/queues.py",
        old="        if entity not in self._busy_entities and entity",
        new="        if entity",
        tests=(f"{_LATE}::test_batches_of_one_entity_never_overlap",),
    ),
    Mutant(
        name="hub-completions-are-gathered",
        file=f"{_HUB}/queues.py",
        old="            delay = min(_DEBOUNCE_TURNS * self._turn_took.get(key, 0.0), _DEBOUNCE_AT_MOST_S)\n",
        new="            delay = 0.0\n",
        tests=(f"{_DELIVERY}::test_a_burst_of_completions_costs_few_turns",),
    ),
    Mutant(
        name="hub-time-does-not-go-back",
        file=f"{_HUB}/instances.py",
        old="        timestamp=timestamp(max(now, instance.updated)),\n",
        new="        timestamp=timestamp(now),\n",
        tests=(f"{_LATE}::test_the_time_an_orchestrator_sees_never_goes_back",),
    ),
    Mutant(
        name="hub-out-of-sight-is-given-to-another",
        file=f"{_HUB}/servicer.py",
        old="        if not context.add_callback(session.lose):\n            session.lose()\n",
        new="",
        tests=(f"{_CRASH}::test_an_activity_whose_worker_died_is_given_to_the_next",),
    ),
    Mutant(
        name="hub-takes-back-what-was-not-answered",
        file=f"{_HUB}/delivery.py",
        old="            if not answered:\n",
        new="            if False:\n",
        tests=(f"{_DELIVERY}::test_work_of_a_worker_out_of_sight_goes_to_another_and_either_may_answer",),
    ),
    Mutant(
        name="hub-worker-takes-so-much",
        file=f"{_HUB}/session.py",
        old="        if limit <= 0:\n",
        new="        if True:\n",
        tests=(f"{_DELIVERY}::test_a_worker_gets_only_what_it_said_it_takes",),
    ),
)

POISON = (
    Mutant(
        name="hub-poison-activity",
        file=f"{_HUB}/handout.py",
        old="                if ref.deliveries >= self.max_deliveries:\n",
        new="                if False:\n",
        tests=(f"{_CRASH}::test_an_activity_that_always_kills_its_worker_fails_and_says_so",),
    ),
    Mutant(
        name="hub-deliveries-are-on-record-before",
        file=f"{_HUB}/handout.py",
        old='"UPDATE activity SET deliveries = deliveries + 1 WHERE id = ? RETURNING request"',
        new='"UPDATE activity SET deliveries = deliveries WHERE id = ? RETURNING request"',
        tests=(f"{_CRASH}::test_deliveries_are_counted_over_restarts_of_the_hub",),
    ),
    Mutant(
        name="hub-poison-turn",
        file=f"{_HUB}/handout.py",
        old="                if deaths >= self.max_deliveries:\n",
        new="                if False:\n",
        tests=(_ALWAYS_KILLS,),
    ),
    Mutant(
        name="hub-poison-operation",
        file=f"{_HUB}/handout.py",
        old="bool(operations) and deaths >= self.max_deliveries:\n",
        new="False:\n",
        tests=(_KILLING_OPERATION,),
    ),
    Mutant(
        name="hub-suspected-operations-one-by-one",
        file=f"{_HUB}/handout.py",
        old="                    del operations[1:]  # one by one",
        new="                    pass  # one by one",
        tests=(_KILLING_OPERATION,),
    ),
    Mutant(
        name="hub-suspects-go-out-alone",
        file=f"{_HUB}/leases.py",
        old="        return not self._suspects or deaths < SUSPECT_AFTER\n",
        new="        return True\n",
        tests=(_GUILTY,),
    ),
    Mutant(
        name="hub-deaths-are-shared-out",
        file=f"{_HUB}/queues.py",
        old="ORDER BY coalesce(s.deaths, 0), i.key",
        new="ORDER BY i.key",
        tests=(f"{_LATE}::test_deaths_of_the_hub_by_another_hand_are_shared_out_and_fail_nobody",),
    ),
    Mutant(
        name="hub-in-hand-is-on-record",
        file=f"{_HUB}/leases.py",
        old="            self._on_record.add(subject)\n",
        new="            pass\n",
        tests=(_ALWAYS_KILLS,),
    ),
    Mutant(
        name="hub-end-clears-suspicion",
        file=f"{_HUB}/delivery.py",
        old="                    self._out.suspects.survived(tx, turn.instance.key)\n",
        new="",
        tests=(f"{_POISON}::test_a_turn_that_ended_clears_what_the_ones_before_it_were_suspected_of",),
    ),
    Mutant(
        name="hub-handing-back-an-activity-is-no-death",
        file=f"{_HUB}/delivery.py",
        old="            if not died:\n",
        new="            if False:\n",
        tests=(f"{_DELIVERY}::test_handing_work_back_is_not_a_failed_delivery",),
    ),
    Mutant(
        name="hub-handing-back-a-turn-is-no-death",
        file=f"{_HUB}/delivery.py",
        old="            if died:\n",
        new="            if True:\n",
        tests=(f"{_POISON}::test_handing_a_turn_back_is_no_death",),
    ),
    Mutant(
        name="hub-unreadable-history-is-said",
        file=f"{_HUB}/handout.py",
        old='                self.fail_instance(key, "HistoryUnreadable", f"a stored event cannot be parsed: {error}")\n',
        new="                logger.error(str(error))\n",
        tests=(f"{_DELIVERY}::test_a_stored_event_that_cannot_be_read_fails_its_instance_only",),
    ),
    Mutant(
        name="hub-unreadable-activity-is-said",
        file=f"{_HUB}/handout.py",
        old="            except DecodeError as error:\n                self._fail_activity(\n",
        new="            except DecodeError as error:\n                print(\n",
        tests=(f"{_LATE}::test_a_stored_activity_that_cannot_be_read_fails_and_says_so",),
    ),
    Mutant(
        name="hub-unreadable-operation-is-dropped",
        file=f"{_HUB}/handout.py",
        old="                self._drop_unreadable(entity, error)\n                refused = True\n",
        new="                logger.error(str(error))\n",
        tests=(f"{_LATE}::test_a_stored_operation_that_cannot_be_read_holds_up_no_other",),
    ),
    Mutant(
        name="hub-answer-without-meaning-is-said",
        file=f"{_HUB}/delivery.py",
        old='                self._out.fail_instance(turn.instance.key, "InvalidMessage", reason)\n',
        new="                logger.error(reason)\n",
        tests=(f"{_DELIVERY}::test_an_answer_that_means_nothing_fails_the_instance_visibly",),
    ),
)

MUTANTS = (*FILE, *ONCE, *POISON, *hub_rules.MUTANTS)
