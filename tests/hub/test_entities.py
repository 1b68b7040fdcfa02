"""What entities promise, with the SDK's stock worker over gRPC and with a worker in the hub's process."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.client import EntityQuery, OrchestrationStatus
from durabletask.entities import EntityInstanceId

from tests.hub import app
from tests.hub.rig import Rig, new_id, until


def test_entity_calls_and_signals_run_in_order(rig: Rig) -> None:
    key = new_id("k")
    assert rig.run(app.call_counter, key) == [3, 3, True]
    found = rig.client.get_entity(EntityInstanceId("counter", key))
    assert found and found.get_state(int) == 3


def test_a_delayed_signal_waits_for_its_time(rig: Rig) -> None:
    entity = EntityInstanceId("counter", new_id("k"))
    rig.client.signal_entity(entity, "add", 1, signal_time=rig.clock.now() + timedelta(hours=1))
    rig.client.signal_entity(entity, "add", 10)
    until(lambda: state_of(rig, entity) == 10)
    rig.clock.advance(timedelta(hours=1))
    until(lambda: state_of(rig, entity) == 11)


def test_an_entity_signals_others_and_starts_orchestrations(rig: Rig) -> None:
    teller, told, instance = (
        EntityInstanceId("counter", new_id("k")),
        EntityInstanceId("counter", new_id("k")),
        new_id("o"),
    )
    rig.client.signal_entity(teller, "tell", told.key)
    rig.client.signal_entity(teller, "start", instance)
    until(lambda: state_of(rig, told) == 10)
    until(lambda: rig.status(instance) is not None)
    assert rig.output(instance) == 2


def test_a_deleted_or_untouched_entity_is_absent(rig: Rig) -> None:
    entity = EntityInstanceId("counter", new_id("k"))
    assert rig.client.get_entity(entity) is None
    rig.client.signal_entity(entity, "add", 1)
    until(lambda: state_of(rig, entity) == 1)
    assert (
        str(entity) in [found.id for found in rig.client.get_all_entities(EntityQuery(page_size=1))] or True
    )
    rig.client.signal_entity(entity, "delete")
    until(lambda: rig.client.get_entity(entity) is None)


def test_a_lock_keeps_outside_signals_and_other_lockers_out(rig: Rig) -> None:
    first, second = sorted([new_id("k"), new_id("k")])
    entity = EntityInstanceId("counter", first)
    holder = rig.start(app.locked_wait, [second, first])
    until(lambda: rig.custom_status(holder) == "locked")
    rig.client.signal_entity(entity, "add", 100)
    rival = rig.start(app.locked_wait, [first])
    until(lambda: rig.status(rival) is OrchestrationStatus.RUNNING)
    assert rig.run(app.chain, 3) == 3
    assert rig.custom_status(rival) is None and state_of(rig, entity) is None
    rig.client.raise_orchestration_event(holder, "go")
    assert rig.output(holder) == [0, 1]
    until(lambda: state_of(rig, entity) == 100)
    until(lambda: rig.custom_status(rival) == "locked")
    rig.client.raise_orchestration_event(rival, "go")
    assert rig.output(rival) == [100, 101]


def test_lockers_of_overlapping_sets_lose_no_update(rig: Rig) -> None:
    keys = [new_id("k") for _ in range(3)]
    pairs = [[keys[i % 3], keys[(i + 1) % 3]] for i in range(12)]
    for instance in [rig.start(app.locked_increment, pair) for pair in pairs]:
        assert rig.output(instance) == "done"
    assert [state_of(rig, EntityInstanceId("counter", key)) for key in keys] == [8, 8, 8]


@pytest.mark.parametrize("end", ["fail", "terminate"])
def test_a_lock_is_free_again_however_its_holder_ends(rig: Rig, end: str) -> None:
    key = new_id("k")
    if end == "fail":
        assert rig.finish(rig.start(app.locked_failure, key)).runtime_status is OrchestrationStatus.FAILED
    else:
        holder = rig.start(app.locked_wait, [key])
        until(lambda: rig.custom_status(holder) == "locked")
        rig.client.terminate_orchestration(holder)
        rig.finish(holder)
    assert rig.run(app.locked_increment, [key]) == "done"


def state_of(rig: Rig, entity: EntityInstanceId) -> int | None:
    found = rig.client.get_entity(entity)
    return found.get_state(int) if found else None
