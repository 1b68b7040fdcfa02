"""What is late, twice or meanwhile changes nothing that it should not: one turn at a time, one answer, time forward."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest

from localdev.clock import Clock
from localdev.runner.hub import HubFull, HubLocked, InvalidMessage, Limits, Status, TaskHub
from tests.hub.worker import answer, call_activities, finished, result, results_in, take, text


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TaskHub]:
    with TaskHub.open(tmp_path / "hub.db", clock=Clock(), visibility_s=0.05) as hub:
        yield hub


def kinds_in(item: Any) -> list[str]:
    return [event.WhichOneof("eventType") for event in item.orchestratorRequest.newEvents]


def test_turns_of_one_instance_never_overlap_and_each_takes_only_what_it_saw(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    first = take(session, "orchestratorRequest")
    hub.raise_event("i", "meanwhile")
    assert session.next(0) is None
    session.complete_orchestrator(answer(first))
    assert kinds_in(take(session, "orchestratorRequest")) == ["orchestratorStarted", "eventRaised"]


def test_who_is_told_twice_to_suspend_is_told_once(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    session.complete_orchestrator(answer(take(session, "orchestratorRequest")))
    hub.suspend("i")
    hub.suspend("i")
    assert kinds_in(take(session, "orchestratorRequest")) == ["orchestratorStarted", "executionSuspended"]


def test_batches_of_one_entity_never_overlap(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.signal_entity("@e@1", "a")
    first = take(session, "entityRequest")
    hub.signal_entity("@e@1", "b")
    assert session.next(0) is None
    ok = pb.OperationResult(success=pb.OperationResultSuccess())
    session.complete_entity(pb.EntityBatchResult(completionToken=first.completionToken, results=[ok]))
    assert [o.operation for o in take(session, "entityRequest").entityRequest.operations] == ["b"]


def test_a_lease_that_ran_out_after_its_answer_takes_nothing_from_who_is_next(hub: TaskHub) -> None:
    lost, other = hub.connect_remote("lost", Limits()), hub.connect("other")
    hub.start("o", instance_id="i")
    turn = take(lost, "orchestratorRequest")
    leases = list(lost.in_hand.values())
    lost.complete_orchestrator(answer(turn))
    hub.raise_event("i", "one")
    held = take(other, "orchestratorRequest")
    hub.delivery.release(leases, died=True)
    hub.raise_event("i", "two")
    assert other.next(0) is None
    other.complete_orchestrator(finished(held))
    assert hub.wait_for("i", timeout_s=5).status is Status.COMPLETED  # type: ignore[union-attr]


def test_a_turn_handed_out_before_a_restart_is_not_answered_after_it(tmp_path: Path) -> None:
    """Not even by a worker that was given the first item of the hub before, as another one is of this."""
    path = tmp_path / "hub.db"
    with TaskHub.open(path, clock=Clock()) as hub:
        hub.start("o", instance_id="i")
        stale = finished(take(hub.connect("w"), "orchestratorRequest"), '"stale"')
    with TaskHub.open(path, clock=Clock()) as hub:
        session = hub.connect("w")
        held = take(session, "orchestratorRequest")
        session.complete_orchestrator(stale)
        session.complete_orchestrator(finished(held, '"held"'))
        assert hub.wait_for("i", timeout_s=5).output == '"held"'  # type: ignore[union-attr]


def test_an_answer_for_an_instance_that_was_replaced_changes_nothing(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("old", instance_id="i")
    turn = take(session, "orchestratorRequest")
    hub.start("new", instance_id="i", replaceable=[Status.PENDING, Status.RUNNING])
    session.complete_orchestrator(finished(turn, '"of the old one"'))
    fresh = take(session, "orchestratorRequest")
    assert fresh.orchestratorRequest.newEvents[1].executionStarted.name == "new"
    session.complete_orchestrator(finished(fresh, '"of the new one"'))
    assert hub.wait_for("i", timeout_s=5).output == '"of the new one"'  # type: ignore[union-attr]


def test_what_comes_while_it_continues_as_new_is_kept_if_it_came_from_outside(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    call_activities(session, 2)
    before, after = take(session, "activityRequest"), take(session, "activityRequest")
    hub.raise_event("i", "first")
    turn = take(session, "orchestratorRequest")
    session.complete_activity(result(before, "for the old generation"))
    hub.raise_event("i", "late")
    again = pb.CompleteOrchestrationAction(orchestrationStatus="ORCHESTRATION_STATUS_CONTINUED_AS_NEW")
    session.complete_orchestrator(answer(turn, pb.OrchestratorAction(id=9, completeOrchestration=again)))
    session.complete_activity(result(after, "for the old generation too"))
    fresh = take(session, "orchestratorRequest")
    assert kinds_in(fresh) == ["orchestratorStarted", "executionStarted", "eventRaised"]
    assert fresh.orchestratorRequest.newEvents[2].eventRaised.name == "late"


def test_the_time_an_orchestrator_sees_never_goes_back(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock.json", start=datetime(2030, 1, 1, tzinfo=UTC), speed=0)
    with TaskHub.open(tmp_path / "hub.db", clock=clock) as hub:
        session = hub.connect("w")
        hub.start("o", instance_id="i")
        first = take(session, "orchestratorRequest")
        before = first.orchestratorRequest.newEvents[0].timestamp.ToDatetime()
        session.complete_orchestrator(answer(first))
        clock.advance(timedelta(hours=-1))
        hub.raise_event("i", "go")
        later = take(session, "orchestratorRequest").orchestratorRequest.newEvents[0]
        assert later.HasField("orchestratorStarted") and later.timestamp.ToDatetime() >= before


def test_an_answer_that_a_full_disk_refused_and_nobody_repeats_is_asked_for_again(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    call_activities(session)
    item = take(session, "activityRequest")
    with hub.store.reading() as sql:
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(HubFull):
        session.complete_activity(result(item, "x" * 100_000))
    with hub.store.reading() as sql:
        sql.execute(f"PRAGMA max_page_count = {pages + 1000}")
    again = take(session, "activityRequest")
    session.complete_activity(result(again, "done"))
    assert results_in(take(session, "orchestratorRequest")) == ["done"]


def test_a_file_that_another_program_locks_for_a_while_loses_no_work(hub: TaskHub, tmp_path: Path) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    call_activities(session, 3)
    answered, handed_back = take(session, "activityRequest"), take(session, "activityRequest")
    with hub.store.reading() as sql:
        sql.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / "hub.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert session.next(0) is None
        with pytest.raises(HubLocked):
            session.complete_activity(result(answered, "refused"))
        session.abandon(handed_back)
    taken = [take(session, "activityRequest").activityRequest.taskId for _ in range(3)]
    assert sorted(taken) == [1, 2, 3]


def test_deaths_of_the_hub_by_another_hand_are_shared_out_and_fail_nobody(tmp_path: Path) -> None:
    """Each time the first item is in hand when the hub dies: were it always the oldest, that one would be given up."""
    path, deaths, instances = tmp_path / "hub.db", 3, [f"i-{n}" for n in range(3)]

    def opened() -> TaskHub:
        return TaskHub.open(path, clock=Clock(), max_deliveries=deaths)

    with opened() as hub:
        for instance in instances:
            hub.start("o", instance_id=instance)
    for _ in range((deaths - 1) * len(instances)):
        with opened() as hub:
            take(hub.connect("w"), "orchestratorRequest")
            hub.store.close()  # nothing is handed back, as when the process is killed
    with opened() as hub:
        session = hub.connect("w")
        while (item := session.next(0)) is not None:
            session.complete_orchestrator(finished(item))
        assert [hub.get_instance(i).status for i in instances] == [Status.COMPLETED] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize(("instance", "name"), [("@e@1", "o"), ("i", "")])
def test_a_start_that_means_nothing_is_refused(hub: TaskHub, instance: str, name: str) -> None:
    with pytest.raises(InvalidMessage):
        hub.start(name, instance_id=instance)
    assert hub.query()[0] == []


def test_a_stored_activity_that_cannot_be_read_fails_and_says_so(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    call_activities(session)
    with hub.store.transaction() as tx:
        tx.sql.execute("UPDATE activity SET request = x'ff00ff'")
    told = take(session, "orchestratorRequest").orchestratorRequest.newEvents[1]
    assert "cannot be parsed" in told.taskFailed.failureDetails.errorMessage


def test_a_stored_operation_that_cannot_be_read_holds_up_no_other(hub: TaskHub) -> None:
    hub.signal_entity("@e@1", "a")
    with hub.store.transaction() as tx:
        tx.sql.execute("UPDATE operation SET event = x'ff00ff'")
    hub.signal_entity("@e@1", "b")
    item = take(hub.connect("w"), "entityRequest")
    assert [o.operation for o in item.entityRequest.operations] == ["b"]


def test_a_replaced_holder_of_a_lock_holds_it_no_longer_and_a_locked_entity_is_not_purged(
    hub: TaskHub,
) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="holder")
    lock = pb.EntityLockRequestedEvent(
        criticalSectionId="s", lockSet=["@e@1"], parentInstanceId=text("holder")
    )
    asked = pb.OrchestratorAction(
        id=1, sendEntityMessage=pb.SendEntityMessageAction(entityLockRequested=lock)
    )
    session.complete_orchestrator(answer(take(session, "orchestratorRequest"), asked))
    take(session, "orchestratorRequest")
    hub.signal_entity("@e@1", "op")
    assert hub.purge("@e@1") == 0 and session.next(0) is None
    hub.start("o", instance_id="holder", replaceable=[Status.RUNNING])
    take(session, "orchestratorRequest")
    assert take(session, "entityRequest").entityRequest.instanceId == "@e@1"
