"""Work that kills whoever takes it is found, and fails with a reason; what was in the same hands goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest

from localdev.clock import Clock
from localdev.runner.hub import Limits, Status, TaskHub, WorkSession
from tests.hub.worker import answer, call_activities, finished, take, text

DEATHS = 3
IDLE_S = 0.3  # longer than the visibility timeout


def open_hub(path: Path) -> TaskHub:
    return TaskHub.open(path, clock=Clock(), visibility_s=0.05, max_deliveries=DEATHS)


class Life:
    """Workers in a row: each dies at the first poison it takes, alone or with the hub, and the next takes its place."""

    def __init__(self, path: Path, *, with_hub: bool) -> None:
        self.hub = open_hub(path)
        self.path, self.with_hub, self.deaths = path, with_hub, 0

    def close(self) -> None:
        self.hub.close()

    def run(self, handle: Callable[[WorkSession, Any], bool]) -> None:
        """Until there is no more work. `handle` takes an item; False: it has killed the worker."""
        session = self.hub.connect_remote("w", Limits())
        while (item := session.next(IDLE_S)) is not None:
            if handle(session, item):
                continue
            self.deaths += 1
            assert self.deaths < 20, "it is handed out again and again"
            if self.with_hub:
                self.hub.store.close()  # nothing is handed back, as when the process is killed
                self.hub.close()
                self.hub = open_hub(self.path)
            else:
                session.lose()
            session = self.hub.connect_remote("w", Limits())

    def reason(self, instance: str) -> str:
        found = self.hub.get_instance(instance)
        assert found and found.status is Status.FAILED and found.failure, found
        return str(found.failure.errorMessage)


@pytest.fixture(params=["its worker", "hub and worker"])
def life(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Life]:
    with closing(Life(tmp_path / "hub.db", with_hub=request.param != "its worker")) as life:
        yield life


def test_a_turn_that_always_kills_fails_its_instance_and_says_so(life: Life) -> None:
    for instance in ("good-1", "poison", "good-2"):
        life.hub.start("o", instance_id=instance)

    def handle(session: WorkSession, item: Any) -> bool:
        if item.orchestratorRequest.instanceId == "poison":
            return False
        session.complete_orchestrator(finished(item))
        return True

    life.run(handle)

    assert f"handed out {DEATHS} times and its worker died each time" in life.reason("poison")
    assert life.deaths == DEATHS
    assert all(life.hub.get_instance(i).status is Status.COMPLETED for i in ("good-1", "good-2"))  # type: ignore[union-attr]


def test_a_turn_that_ended_clears_what_the_ones_before_it_were_suspected_of(life: Life) -> None:
    life.hub.start("o", instance_id="i")
    seen: list[str] = []

    def handle(session: WorkSession, item: Any) -> bool:
        turns = [kind for kind in seen if kind == "turn"]
        if item.HasField("activityRequest"):
            session.complete_activity(
                pb.ActivityResponse(completionToken=item.completionToken, result=text("1"))
            )
        elif len(seen) % DEATHS != DEATHS - 1:
            seen.append("death")
            return False
        else:
            seen.append("turn")
            call = pb.ScheduleTaskAction(name="act")
            more = pb.OrchestratorAction(id=len(turns) + 1, scheduleTask=call)
            session.complete_orchestrator(answer(item, more) if len(turns) < 3 else finished(item))
        return True

    life.run(handle)

    assert life.hub.get_instance("i").status is Status.COMPLETED  # type: ignore[union-attr]
    assert life.deaths == 4 * (DEATHS - 1)


def test_those_who_die_with_the_guilty_are_tried_alone_and_survive(life: Life) -> None:
    """All are in the same hands at each death, until they are suspected: then one at a time."""
    instances = [f"i-{n}" for n in range(6)]
    for instance in instances:
        life.hub.start("o", instance_id=instance)
    held: list[Any] = []

    def handle(session: WorkSession, item: Any) -> bool:
        held.append(item)
        if other := session.next(0):
            return handle(session, other)
        taken, held[:] = list(held), []
        if any(each.orchestratorRequest.instanceId == "i-2" for each in taken):
            return False
        for each in taken:
            session.complete_orchestrator(finished(each))
        return True

    life.run(handle)

    life.reason("i-2")
    states = [life.hub.get_instance(i).status for i in instances if i != "i-2"]  # type: ignore[union-attr]
    assert states == [Status.COMPLETED] * 5
    assert life.deaths == DEATHS


def test_an_operation_that_always_kills_is_refused_and_the_others_are_run(life: Life) -> None:
    call = pb.SendEntityMessageAction(
        entityOperationCalled=pb.EntityOperationCalledEvent(
            requestId="r1", operation="poison", targetInstanceId=text("@e@1")
        )
    )
    life.hub.signal_entity("@e@1", "a")
    life.hub.start("caller", instance_id="i")
    session = life.hub.connect("w")
    turn = take(session, "orchestratorRequest")
    session.complete_orchestrator(answer(turn, pb.OrchestratorAction(id=1, sendEntityMessage=call)))
    session.close()
    life.hub.signal_entity("@e@1", "b")
    ran: list[str] = []
    told: list[Any] = []

    def handle(session: WorkSession, item: Any) -> bool:
        if item.HasField("orchestratorRequest"):
            told.extend(e for e in item.orchestratorRequest.newEvents if e.HasField("entityOperationFailed"))
            session.complete_orchestrator(finished(item))
            return True
        operations = [operation.operation for operation in item.entityRequest.operations]
        if "poison" in operations:
            return False
        ran.extend(operations)
        ok = pb.OperationResult(success=pb.OperationResultSuccess())
        results = pb.EntityBatchResult(completionToken=item.completionToken, results=[ok] * len(operations))
        session.complete_entity(results)
        return True

    life.run(handle)

    assert ran == ["a", "b"]
    (failed,) = told
    assert "its worker died each time" in failed.entityOperationFailed.failureDetails.errorMessage


def test_handing_a_turn_back_is_no_death(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    for _ in range(2 * DEATHS):
        with open_hub(path) as hub:
            if hub.get_instance("i") is None:
                hub.start("o", instance_id="i")
            take(hub.connect("w"), "orchestratorRequest")
    with open_hub(path) as hub:
        session = hub.connect("w")
        call_activities(session)
        assert take(session, "activityRequest")


def test_the_record_of_what_is_in_hand_does_not_grow(tmp_path: Path) -> None:
    with open_hub(tmp_path / "hub.db") as hub:
        session = hub.connect("w")
        hub.start("waits", instance_id="held")
        held = take(session, "orchestratorRequest")
        for n in range(2000):
            hub.start("o", instance_id=f"i-{n}")
            session.complete_orchestrator(finished(take(session, "orchestratorRequest")))
        assert (tmp_path / "hub.db.inhand").stat().st_size < 17_000
        hub.store.close()
        assert held
    with open_hub(tmp_path / "hub.db") as hub, hub.store.reading() as sql:
        assert sql.execute("SELECT subject, deaths FROM suspect").fetchall() == [("1", 1)]


def test_a_record_of_what_is_in_hand_that_cannot_be_written_stops_no_work(tmp_path: Path) -> None:
    """A disk that is full where a line was half written: the work goes on, and the hub opens again."""
    path = tmp_path / "hub.db"
    with open_hub(path) as hub:
        session = hub.connect("w")
        hub.start("o", instance_id="i")
        (tmp_path / "hub.db.inhand").write_bytes(b"+1")
        record = hub.store.in_hand._file
        assert record is not None
        with open("/dev/full", "wb", buffering=0) as full:
            spare = os.dup(record)
            os.dup2(full.fileno(), record)
        turn = take(session, "orchestratorRequest")
        os.dup2(spare, record)
        os.close(spare)
        session.complete_orchestrator(answer(turn))
        hub.raise_event("i", "go")
        take(session, "orchestratorRequest")
        hub.store.close()
    with open_hub(path) as hub:
        session = hub.connect("w")
        session.complete_orchestrator(finished(take(session, "orchestratorRequest")))
        assert hub.wait_for("i", timeout_s=5).status is Status.COMPLETED  # type: ignore[union-attr]
