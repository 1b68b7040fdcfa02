"""What orchestrations may rely on, with the SDK's stock worker over gRPC and with a worker in the hub's process."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from durabletask.client import OrchestrationQuery, OrchestrationStatus

from tests.hub import app
from tests.hub.rig import Rig, new_id, until

RUNNING, FAILED = OrchestrationStatus.RUNNING, OrchestrationStatus.FAILED
TERMINATED, SUSPENDED = OrchestrationStatus.TERMINATED, OrchestrationStatus.SUSPENDED


def test_a_chain_runs_in_order(rig: Rig) -> None:
    assert rig.run(app.chain, 12) == 12


def test_a_fan_out_collects_every_result(rig: Rig) -> None:
    assert rig.run(app.fan_out, 200) == sum(range(1, 201))


def test_a_failed_activity_fails_its_orchestration_with_the_reason(rig: Rig) -> None:
    state = rig.finish(rig.start(app.failing, {"name": new_id("f"), "times": 9}))
    assert state.runtime_status is FAILED
    assert state.failure_details and "run 1 of" in state.failure_details.message


def test_an_error_without_a_message_is_still_a_failure(rig: Rig) -> None:
    assert rig.finish(rig.start(app.silent_failure)).runtime_status is FAILED


@pytest.mark.parametrize("orchestrator", [app.retried, app.retried_child])
def test_a_retry_policy_tries_again(rig: Rig, orchestrator: object) -> None:
    assert rig.run(orchestrator, {"name": new_id("retry"), "times": 2}) == "run 3"


def test_a_timer_fires_when_the_hub_clock_says_so_and_not_before(rig: Rig) -> None:
    instance = rig.start(app.sleep, 3600)
    until(lambda: rig.status(instance) is RUNNING)
    assert rig.run(app.chain, 3) == 3  # the hub is at work, and the sleeper still sleeps
    assert rig.status(instance) is RUNNING
    rig.clock.advance(timedelta(hours=1))
    assert rig.output(instance) >= 3600


def test_an_instance_starts_at_its_time(rig: Rig) -> None:
    instance = rig.start(app.chain, 1, start_at=rig.clock.now() + timedelta(hours=2))
    assert rig.run(app.chain, 2) == 2
    assert rig.status(instance) is OrchestrationStatus.PENDING
    rig.clock.advance(timedelta(hours=2))
    assert rig.output(instance) == 1


def test_a_scheduled_instance_can_be_terminated_before_it_starts(rig: Rig) -> None:
    instance = rig.start(app.chain, 1, start_at=rig.clock.now() + timedelta(hours=2))
    rig.client.terminate_orchestration(instance, output="never mind")
    assert rig.finish(instance).runtime_status is TERMINATED


def test_events_raised_before_they_are_awaited_are_kept_in_order(rig: Rig) -> None:
    instance = rig.start(app.two_events)
    for name, value in (("a", 1), ("A", 2), ("b", 3)):
        rig.client.raise_orchestration_event(instance, name, data=value)
    assert rig.output(instance) == [1, 3, 2]


def test_an_event_raised_before_the_start_is_delivered_after_it(rig: Rig) -> None:
    instance = rig.start(app.await_event, "go", start_at=rig.clock.now() + timedelta(minutes=5))
    rig.client.raise_orchestration_event(instance, "go", data="early")
    rig.clock.advance(timedelta(minutes=5))
    assert rig.output(instance) == "early"


def test_the_first_of_event_and_timer_wins(rig: Rig) -> None:
    by_event, by_timer = rig.start(app.event_or_timer, 600), rig.start(app.event_or_timer, 600)
    rig.client.raise_orchestration_event(by_event, "go", data="event")
    assert rig.output(by_event) == "event"
    until(lambda: any(event.HasField("timerCreated") for event in rig.hub.history(by_timer)))
    rig.clock.advance(timedelta(minutes=10))
    assert rig.output(by_timer) == "timer"


def test_one_orchestration_sends_another_an_event(rig: Rig) -> None:
    target = rig.start(app.await_event, "go")
    assert rig.run(app.send_to, target) == "sent"
    assert rig.output(target) == "from a sibling"


def test_an_event_for_nobody_is_refused_by_name(rig: Rig) -> None:
    with pytest.raises(grpc.RpcError, match="no orchestration instance 'nobody'"):
        rig.client.raise_orchestration_event("nobody", "go")
    finished = rig.start(app.chain, 1)
    rig.output(finished)
    with pytest.raises(grpc.RpcError, match="completed already"):
        rig.client.raise_orchestration_event(finished, "go")


def test_custom_status_shows_while_it_runs(rig: Rig) -> None:
    instance = rig.start(app.status_then_event)
    until(lambda: rig.custom_status(instance) == {"waiting_for": "go"})
    rig.client.raise_orchestration_event(instance, "go", data=7)
    rig.output(instance)
    assert rig.custom_status(instance) == {"got": 7}


def test_a_child_knows_its_parent_and_its_id(rig: Rig) -> None:
    parent, child = new_id("parent"), new_id("child")
    assert rig.run(app.family, child, instance_id=parent) == [child, parent]
    assert rig.run(app.who_am_i, instance_id=child + "x") == [child + "x", None]


def test_a_child_may_take_longer_than_any_timeout(rig: Rig) -> None:
    instance = rig.start(app.sleeping_parent, 7 * 86400)
    until(lambda: len(rig.hub.history(instance)) > 1)
    child = rig.hub.history(instance)[2].subOrchestrationInstanceCreated.instanceId
    until(lambda: rig.status(child) is RUNNING)
    rig.clock.advance(timedelta(days=7))
    assert rig.output(instance) >= 7 * 86400


def test_a_child_id_in_use_fails_the_parents_task(rig: Rig) -> None:
    taken = rig.start(app.await_event, "end")
    until(lambda: rig.status(taken) is RUNNING)
    state = rig.finish(rig.start(app.family, taken))
    assert state.runtime_status is FAILED and "already exists" in str(state.failure_details)
    rig.client.raise_orchestration_event(taken, "end")


def test_continue_as_new_carries_events(rig: Rig) -> None:
    instance = rig.start(app.collector, [])
    for item in "abc":
        rig.client.raise_orchestration_event(instance, "item", data=item)
    assert rig.output(instance) == ["a", "b", "c"]
    found = rig.hub.get_instance(instance)
    assert found and found.generation == 3


def test_what_an_old_generation_started_never_reaches_the_new_one(rig: Rig) -> None:
    instance = rig.start(app.forgetful, 0)
    old_child, new_child = f"{instance}-0-child", f"{instance}-1-child"
    until(lambda: rig.status(old_child) is RUNNING)
    rig.client.raise_orchestration_event(instance, "next")
    until(lambda: rig.status(new_child) is RUNNING)
    witness = rig.start(app.sleep, 60)
    until(lambda: len(rig.hub.history(witness)) > 2)

    app.GATES[f"{instance}-0"].set()
    rig.client.raise_orchestration_event(old_child, "end")
    rig.clock.advance(timedelta(seconds=61))
    rig.output(witness)
    rig.output(old_child)
    until(lambda: app.RUNS[f"{instance}-0"])
    assert rig.run(app.chain, 2) == 2
    assert rig.status(instance) is RUNNING

    app.GATES[f"{instance}-1"].set()
    assert rig.output(instance) == ["activity", f"{instance}-1"]
    rig.client.raise_orchestration_event(new_child, "end")


def test_an_activity_nobody_waits_for_still_runs(rig: Rig) -> None:
    gate = new_id("gate")
    assert rig.run(app.fire_and_forget, gate) == "done"
    app.GATES[gate].set()
    until(lambda: app.RUNS[gate] == 1)


def test_suspended_means_nothing_moves_until_resumed(rig: Rig) -> None:
    instance = rig.start(app.await_event, "go")
    until(lambda: rig.status(instance) is RUNNING)
    rig.client.suspend_orchestration(instance)
    rig.client.suspend_orchestration(instance)
    until(lambda: rig.status(instance) is SUSPENDED)
    rig.client.raise_orchestration_event(instance, "go", data="kept")
    assert rig.run(app.chain, 3) == 3
    assert rig.status(instance) is SUSPENDED
    rig.client.resume_orchestration(instance)
    assert rig.output(instance) == "kept"


def test_a_suspended_instance_can_be_terminated(rig: Rig) -> None:
    instance = rig.start(app.await_event, "go")
    rig.client.suspend_orchestration(instance)
    until(lambda: rig.status(instance) is SUSPENDED)
    rig.client.terminate_orchestration(instance, output="enough")
    state = rig.finish(instance)
    assert (state.runtime_status, state.serialized_output) == (TERMINATED, '"enough"')


@pytest.mark.parametrize("recursive", [True, False])
def test_terminate_reaches_all_generations_below_if_asked(rig: Rig, recursive: bool) -> None:
    top = new_id("top")
    rig.start(app.waiting_parent, 2, instance_id=top)
    bottom = f"{top}/1/0"
    until(lambda: rig.status(bottom) is RUNNING)
    rig.client.terminate_orchestration(top, recursive=recursive)
    assert rig.finish(top).runtime_status is TERMINATED
    if recursive:
        assert rig.finish(bottom).runtime_status is TERMINATED
    else:
        assert rig.run(app.chain, 2) == 2
        assert rig.status(bottom) is RUNNING


def test_rewind_runs_only_what_failed(rig: Rig) -> None:
    job = {"name": new_id("job"), "times": 1}
    instance = rig.start(app.failing, job)
    assert rig.finish(instance).runtime_status is FAILED
    rig.client.rewind_orchestration(instance, reason="fixed")
    assert rig.output(instance) == "run 2"


def test_rewind_reaches_into_a_failed_child(rig: Rig) -> None:
    instance = rig.start(app.failing_parent, {"name": new_id("job"), "times": 1})
    assert rig.finish(instance).runtime_status is FAILED
    rig.client.rewind_orchestration(instance)
    assert rig.output(instance) == [2, "run 2"]


def test_rewind_starts_a_purged_child_again(rig: Rig) -> None:
    instance = rig.start(app.failing_parent, {"name": new_id("job"), "times": 1})
    rig.finish(instance)
    parent = rig.hub.get_instance(instance)
    children = [one for one in rig.hub.query(page_size=1000)[0] if parent and one.parent_key == parent.key]
    assert rig.client.purge_orchestration(children[0].id).deleted_instance_count == 1
    rig.client.rewind_orchestration(instance)
    assert rig.output(instance) == [2, "run 2"]


def test_a_rewound_instance_gets_what_finished_after_it_had_failed(rig: Rig) -> None:
    job = {"name": new_id("job"), "times": 1}
    instance = rig.start(app.gate_and_failure, job)
    assert rig.finish(instance).runtime_status is FAILED
    app.GATES[f"{job['name']}-gate"].set()
    until(lambda: app.RUNS[f"{job['name']}-gate"] == 1)
    rig.client.rewind_orchestration(instance)
    assert rig.output(instance) == ["run 2", f"{job['name']}-gate"]
    assert app.RUNS[f"{job['name']}-gate"] == 1


def test_only_a_failed_instance_is_rewound(rig: Rig) -> None:
    instance = rig.start(app.chain, 1)
    rig.output(instance)
    with pytest.raises(grpc.RpcError, match="only a failed instance"):
        rig.client.rewind_orchestration(instance)


def test_restart_runs_a_finished_instance_again(rig: Rig) -> None:
    instance = rig.start(app.chain, 4)
    rig.output(instance)
    assert rig.client.restart_orchestration(instance) == instance
    assert rig.output(instance) == 4
    other = rig.client.restart_orchestration(instance, restart_with_new_instance_id=True)
    assert other != instance and rig.output(other) == 4


def test_a_finished_id_may_be_started_again_and_a_running_one_not(rig: Rig) -> None:
    instance = rig.start(app.await_event, "go")
    with pytest.raises(grpc.RpcError, match="already exists and is"):
        rig.start(app.chain, 1, instance_id=instance)
    rig.client.raise_orchestration_event(instance, "go", data=1)
    rig.output(instance)
    rig.start(app.chain, 5, instance_id=instance)
    assert rig.output(instance) == 5


def test_purge_forgets_an_instance_and_its_children(rig: Rig) -> None:
    child = new_id("child")
    parent = rig.start(app.family, child)
    rig.output(parent)
    assert rig.client.purge_orchestration(parent).deleted_instance_count == 2
    assert rig.client.get_orchestration_state(child) is None
    running = rig.start(app.await_event, "go")
    assert rig.client.purge_orchestration(running).deleted_instance_count == 0
    rig.client.raise_orchestration_event(running, "go")


def test_a_query_pages_through_all_that_match(rig: Rig) -> None:
    prefix = new_id("page")
    for i in range(7):
        rig.start(app.chain, 0, instance_id=f"{prefix}-{i}")
    for i in range(7):
        rig.output(f"{prefix}-{i}")
    query = OrchestrationQuery(
        instance_id_prefix=prefix, max_instance_count=3, runtime_status=[OrchestrationStatus.COMPLETED]
    )
    found = rig.client.get_all_orchestration_states(query)
    assert [state.instance_id for state in found] == [f"{prefix}-{i}" for i in range(7)]
    finished, token = list[str](), None
    while True:
        page = rig.client.list_instance_ids(page_size=2, continuation_token=token)
        finished += page.items
        if not (token := page.continuation_token):
            break
    assert {f"{prefix}-{i}" for i in range(7)} <= set(finished) and len(finished) == len(set(finished))


def test_history_can_be_read_back(rig: Rig) -> None:
    instance = rig.start(app.chain, 2)
    rig.output(instance)
    kinds = [type(event).__name__ for event in rig.client.get_orchestration_history(instance)]
    assert kinds.count("TaskScheduledEvent") == kinds.count("TaskCompletedEvent") == 2


def test_payloads_may_be_large(rig: Rig) -> None:
    assert rig.run(app.large, 3_000_000) == 18_000_000
