"""Handing work out and taking answers, spoken to directly: what a worker may do wrong, and what may happen to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from durabletask.client import TaskHubGrpcClient

from localdev.clock import Clock
from localdev.runner.hub import HubFull, InvalidMessage, Limits, Status, TaskHub
from tests.hub.rig import until
from tests.hub.worker import answer, call_activities, finished, result, results_in, take, text


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TaskHub]:
    with TaskHub.open(tmp_path / "hub.db", clock=Clock(), visibility_s=0.05, max_deliveries=3) as hub:
        yield hub


def test_the_first_answer_to_an_activity_counts_and_no_other(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o")
    call_activities(session)
    item = take(session, "activityRequest")
    session.complete_activity(result(item, "first"))
    session.complete_activity(result(item, "second"))
    turn = take(session, "orchestratorRequest")
    assert results_in(turn) == ["first"]
    session.complete_activity(result(item, "third"))
    session.complete_orchestrator(answer(turn))
    assert session.next(0) is None


def test_work_of_a_worker_out_of_sight_goes_to_another_and_either_may_answer(hub: TaskHub) -> None:
    lost, other = hub.connect_remote("lost", Limits()), hub.connect("other")
    hub.start("o")
    call_activities(lost)
    first = take(lost, "activityRequest")
    lost.lose()
    again = take(other, "activityRequest")
    assert again.completionToken != first.completionToken
    lost.complete_activity(result(first, "late but good"))
    other.complete_activity(result(again, "too late"))
    assert results_in(take(other, "orchestratorRequest")) == ["late but good"]


def test_a_turn_is_answered_only_by_the_worker_that_holds_it(hub: TaskHub) -> None:
    lost, other = hub.connect_remote("lost", Limits()), hub.connect("other")
    hub.start("o", instance_id="i")
    stale = take(lost, "orchestratorRequest")
    lost.lose()
    held = take(other, "orchestratorRequest")
    lost.complete_orchestrator(finished(stale, '"stale"'))
    other.complete_orchestrator(finished(held, '"held"'))
    assert hub.wait_for("i", timeout_s=5).output == '"held"'  # type: ignore[union-attr]


def test_handing_work_back_is_not_a_failed_delivery(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o")
    call_activities(session)
    for _ in range(5):  # more than the 3 deliveries after which it would fail
        session.abandon(take(session, "activityRequest"))
    for _ in range(5):
        take(session, "activityRequest")
        session.close()
        session = hub.connect("w")
    session.complete_activity(result(take(session, "activityRequest"), "ok"))
    assert results_in(take(session, "orchestratorRequest")) == ["ok"]


def test_an_activity_that_lost_its_worker_too_often_fails_alone(hub: TaskHub) -> None:
    """The innocent ones that were in the same hands are tried one at a time, and survive."""
    session = hub.connect("w")
    hub.start("o")
    call_activities(session, 3)
    outcomes: list[Any] = []
    in_hand: list[Any] = []
    deadline = time.monotonic() + 20
    while len(outcomes) < 3:
        assert time.monotonic() < deadline
        item = session.next(0.1)
        if item is not None and item.HasField("orchestratorRequest"):
            outcomes += item.orchestratorRequest.newEvents[1:]
            session.complete_orchestrator(answer(item))
        elif item is not None:
            in_hand.append(item)
        elif any(held.activityRequest.taskId == 1 for held in in_hand):  # the one that kills its worker
            session.lose()
            session, in_hand = hub.connect("w"), []
        else:
            for held in in_hand:
                session.complete_activity(result(held, "ok"))
            in_hand = []
    failed = [e.taskFailed for e in outcomes if e.HasField("taskFailed")]
    assert [one.taskScheduledId for one in failed] == [1]
    assert "its worker died each time" in failed[0].failureDetails.errorMessage


def test_answers_outlive_a_restart_of_the_hub_for_activities_only(tmp_path: Path) -> None:
    """A worker that kept running while the hub was restarted may still report what it did."""
    path = tmp_path / "hub.db"
    with TaskHub.open(path, clock=Clock()) as hub:
        session = hub.connect("w")
        hub.start("o")
        call_activities(session)
        activity = take(session, "activityRequest")
        hub.start("p", instance_id="p")
        turn = take(session, "orchestratorRequest")
        stale = finished(turn)
    with TaskHub.open(path, clock=Clock()) as hub:
        session = hub.connect("w")
        session.complete_activity(result(activity, "from before"))
        session.complete_orchestrator(stale)
        found = hub.get_instance("p")
        assert found and found.status is Status.PENDING
        seen = [take(session, "orchestratorRequest") for _ in range(2)]
        assert sorted(results_in(item) for item in seen) == [[], ["from before"]]


@pytest.mark.parametrize("order", ["terminate", "suspend"])
def test_an_order_that_meets_a_continue_as_new_is_not_lost(hub: TaskHub, order: str) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    session.complete_orchestrator(answer(take(session, "orchestratorRequest")))
    hub.raise_event("i", "next")
    getattr(hub, order)("i")
    last = take(session, "orchestratorRequest")
    again = pb.CompleteOrchestrationAction(orchestrationStatus="ORCHESTRATION_STATUS_CONTINUED_AS_NEW")
    session.complete_orchestrator(answer(last, pb.OrchestratorAction(id=1, completeOrchestration=again)))
    first = take(session, "orchestratorRequest").orchestratorRequest
    kinds = [event.WhichOneof("eventType") for event in first.newEvents]
    assert kinds[:2] == ["orchestratorStarted", "executionStarted"] and len(first.pastEvents) == 0
    assert kinds[2:] == ["executionTerminated" if order == "terminate" else "executionSuspended"]


def test_a_burst_of_completions_costs_few_turns(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o")
    item = take(session, "orchestratorRequest")
    slow_until = time.monotonic() + 0.2
    until(
        lambda: time.monotonic() > slow_until
    )  # a turn that took long: the next may wait for three times that
    actions = [
        pb.OrchestratorAction(id=i + 1, scheduleTask=pb.ScheduleTaskAction(name="act")) for i in range(200)
    ]
    session.complete_orchestrator(answer(item, *actions))
    turns, got = 0, 0
    while got < 200:
        item = session.next(10)
        assert item is not None
        if item.HasField("activityRequest"):
            session.complete_activity(result(item, "ok"))
        else:
            turns += 1
            got += len(results_in(item))
            session.complete_orchestrator(answer(item))
    assert turns <= 20


def test_a_worker_gets_only_what_it_said_it_takes(hub: TaskHub) -> None:
    hub.start("o")
    call_activities(hub.connect("any"), 2, name="yes")
    hub.start("other")
    limits = Limits(
        activities=1,
        accepts_orchestration=lambda name, _: name == "mine",
        accepts_activity=lambda name, version: (name, version) == ("yes", None),
        accepts_entity=lambda _: False,
    )
    picky = hub.connect_remote("picky", limits)
    hub.signal_entity("@e@1", "op")
    first = take(picky, "activityRequest")
    assert first.activityRequest.name == "yes"
    assert picky.next(0) is None
    picky.complete_activity(result(first, "done"))
    take(picky, "activityRequest")
    assert picky.next(0) is None


def test_an_answer_that_means_nothing_fails_the_instance_visibly(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    item = take(session, "orchestratorRequest")
    session.complete_orchestrator(answer(item, pb.OrchestratorAction(id=1)))
    found = hub.wait_for("i", timeout_s=5)
    assert found and found.status is Status.FAILED
    assert found.failure and "unknown orchestrator action" in found.failure.errorMessage


def test_an_activity_answer_with_a_foreign_token_is_refused(hub: TaskHub) -> None:
    with pytest.raises(InvalidMessage, match="not the token of an activity"):
        hub.connect("w").complete_activity(pb.ActivityResponse(completionToken="nonsense"))


@pytest.mark.parametrize("table", ["history", "inbox"])
def test_a_stored_event_that_cannot_be_read_fails_its_instance_only(tmp_path: Path, table: str) -> None:
    path = tmp_path / "hub.db"
    with TaskHub.open(path, clock=Clock()) as hub:
        session = hub.connect("w")
        for instance in ("bad", "good"):
            hub.start("o", instance_id=instance)
            call_activities(session)
        doer = hub.connect_remote("activities only", Limits(accepts_orchestration=lambda *_: False))
        for _ in range(2):
            doer.complete_activity(result(take(doer, "activityRequest"), "ok"))
        key = hub.get_instance("bad").key  # type: ignore[union-attr]
        with hub.store.transaction() as tx:
            tx.sql.execute(f"UPDATE {table} SET event = x'ff00ff' WHERE instance = ?", (key,))
    with TaskHub.open(path, clock=Clock()) as hub:
        session = hub.connect("w")
        session.complete_orchestrator(finished(take(session, "orchestratorRequest")))
        assert hub.wait_for("good", timeout_s=5).status is Status.COMPLETED  # type: ignore[union-attr]
        bad = hub.wait_for("bad", timeout_s=5)
    assert bad and bad.failure and "cannot be parsed" in bad.failure.errorMessage


@pytest.mark.parametrize("end", ["fail", "continue as new", "purge"])
def test_a_lock_is_released_even_if_the_worker_forgets_to(hub: TaskHub, end: str) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="holder")
    lock = pb.EntityLockRequestedEvent(
        criticalSectionId="s", lockSet=["@e@1", "@e@2"], parentInstanceId=text("holder")
    )
    asked = pb.OrchestratorAction(
        id=1, sendEntityMessage=pb.SendEntityMessageAction(entityLockRequested=lock)
    )
    session.complete_orchestrator(answer(take(session, "orchestratorRequest"), asked))
    turn = take(session, "orchestratorRequest")
    assert turn.orchestratorRequest.newEvents[1].HasField("entityLockGranted")
    hub.signal_entity("@e@2", "op")
    assert session.next(0) is None
    status = "CONTINUED_AS_NEW" if end == "continue as new" else "FAILED"
    ending = pb.CompleteOrchestrationAction(orchestrationStatus=f"ORCHESTRATION_STATUS_{status}")
    session.complete_orchestrator(answer(turn, pb.OrchestratorAction(id=2, completeOrchestration=ending)))
    if end == "purge":
        assert hub.purge("holder") == 1
    elif end == "continue as new":
        session.complete_orchestrator(answer(take(session, "orchestratorRequest")))
    assert take(session, "entityRequest").entityRequest.instanceId == "@e@2"


def test_a_result_that_came_while_its_instance_failed_is_there_after_the_rewind(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    call_activities(session, 2)
    first, second = take(session, "activityRequest"), take(session, "activityRequest")
    session.complete_activity(result(first, "first"))
    turn = take(session, "orchestratorRequest")
    session.complete_activity(result(second, "second"))
    ending = pb.CompleteOrchestrationAction(orchestrationStatus="ORCHESTRATION_STATUS_FAILED")
    session.complete_orchestrator(answer(turn, pb.OrchestratorAction(id=9, completeOrchestration=ending)))
    hub.rewind("i")
    request = take(session, "orchestratorRequest")
    events = [*request.orchestratorRequest.pastEvents, *request.orchestratorRequest.newEvents]
    history = [event for event in events if not event.HasField("executionCompleted")]
    rewound = pb.RewindOrchestrationAction(newHistory=history)
    session.complete_orchestrator(answer(request, pb.OrchestratorAction(id=-1, rewindOrchestration=rewound)))
    assert results_in(take(session, "orchestratorRequest")) == ["second"]


def test_a_full_disk_is_reported_and_nothing_is_lost(hub: TaskHub) -> None:
    session = hub.connect("w")
    hub.start("o", instance_id="i")
    call_activities(session)
    item = take(session, "activityRequest")
    client = TaskHubGrpcClient(host_address=f"127.0.0.1:{hub.serve_grpc()}")
    with hub.store.reading() as sql:
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages}")
    big = "x" * 100_000
    with pytest.raises(HubFull, match="free some space and repeat"):
        session.complete_activity(result(item, big))
    with pytest.raises(grpc.RpcError, match="no space left") as refused:
        client.schedule_new_orchestration("o", input=big)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with hub.store.reading() as sql:
        sql.execute(f"PRAGMA max_page_count = {pages + 1000}")
    session.complete_activity(result(item, big))
    turn = take(session, "orchestratorRequest")
    assert results_in(turn) == [big]
    session.complete_orchestrator(finished(turn))
    client.close()
    assert hub.wait_for("i", timeout_s=5).status is Status.COMPLETED  # type: ignore[union-attr]


def test_an_entity_batch_answered_in_part_keeps_the_rest(hub: TaskHub) -> None:
    session = hub.connect("w")
    for operation in ("a", "b", "c"):
        hub.signal_entity("@e@1", operation)
    item = take(session, "entityRequest")
    assert [o.operation for o in item.entityRequest.operations] == ["a", "b", "c"]
    ok = pb.OperationResult(success=pb.OperationResultSuccess())
    session.complete_entity(
        pb.EntityBatchResult(completionToken=item.completionToken, results=[ok], entityState=text("1"))
    )
    item = take(session, "entityRequest")
    assert [o.operation for o in item.entityRequest.operations] == ["b", "c"]
    assert item.entityRequest.entityState.value == "1"


def test_what_does_not_parse_is_refused_and_the_hub_goes_on(hub: TaskHub) -> None:
    port = hub.serve_grpc()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in ("StartInstance", "CompleteOrchestratorTask", "CompleteActivityTask"):
            send = channel.unary_unary(f"/TaskHubSidecarService/{method}", request_serializer=bytes)
            with pytest.raises(grpc.RpcError, match="deserializing"):
                send(b"\xff\x00\xff")
        hello = channel.unary_unary("/TaskHubSidecarService/Hello", request_serializer=bytes)
        assert hello(b"") == b""


def test_clients_reach_it_on_loopback_only(hub: TaskHub) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", hub.serve_grpc()), timeout=5)


def test_closing_the_hub_ends_every_wait(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    hub = TaskHub.open(tmp_path / "hub.db", clock=Clock())
    hub.start("o", instance_id="i")
    session = hub.connect("w")
    take(session, "orchestratorRequest")
    with ThreadPoolExecutor() as pool:
        waits = [pool.submit(session.next), pool.submit(hub.wait_for, "i")]
        hub.close()
        for wait in waits:
            with suppress(Exception):
                assert wait.result(timeout=10) is None
            assert wait.done()
