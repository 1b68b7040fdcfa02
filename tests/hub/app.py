"""Orchestrations made for testing a hub: one per promise."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Generator
from datetime import timedelta
from typing import Any

from durabletask import task
from durabletask.entities import EntityInstanceId
from durabletask.worker import TaskHubGrpcWorker

Steps = Generator[task.Task[Any], Any, Any]

GATES: defaultdict[str, threading.Event] = defaultdict(threading.Event)
RUNS: defaultdict[str, int] = defaultdict(int)
_counting = threading.Lock()


def count_run(name: str) -> int:
    with _counting:
        RUNS[name] += 1
        return RUNS[name]


def add_one(_: task.ActivityContext, value: int) -> int:
    return value + 1


def pass_gate(_: task.ActivityContext, gate: str) -> str:
    """Returns once the test opens the gate."""
    assert GATES[gate].wait(30), f"nobody opened {gate}"
    count_run(gate)
    return gate


def fail_times(_: task.ActivityContext, job: dict[str, Any]) -> str:
    """Fails the first `times` runs of the job called `name`."""
    run = count_run(job["name"])
    if run <= job["times"]:
        raise ValueError(f"run {run} of {job['name']}")
    return f"run {run}"


def big(_: task.ActivityContext, size: int) -> str:
    return "x" * size


def chain(ctx: task.OrchestrationContext, length: int) -> Steps:
    value = 0
    for _ in range(length):
        value = yield ctx.call_activity(add_one, input=value)
    return value


def fan_out(ctx: task.OrchestrationContext, width: int) -> Steps:
    values = yield task.when_all([ctx.call_activity(add_one, input=i) for i in range(width)])
    return sum(values)


def failing(ctx: task.OrchestrationContext, job: dict[str, Any]) -> Steps:
    return (yield ctx.call_activity(fail_times, input=job))


def silent_failure(ctx: task.OrchestrationContext, _: None) -> Steps:
    yield ctx.call_activity(fail_without_message)


def fail_without_message(_: task.ActivityContext, __: None) -> None:
    raise KeyError


def retried(ctx: task.OrchestrationContext, job: dict[str, Any]) -> Steps:
    policy = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=3)
    return (yield ctx.call_activity(fail_times, input=job, retry_policy=policy))


def retried_child(ctx: task.OrchestrationContext, job: dict[str, Any]) -> Steps:
    policy = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=3)
    return (yield ctx.call_sub_orchestrator(failing, input=job, retry_policy=policy))


def failing_parent(ctx: task.OrchestrationContext, job: dict[str, Any]) -> Steps:
    before = yield ctx.call_activity(add_one, input=1)
    below = yield ctx.call_sub_orchestrator(failing, input=job)
    return [before, below]


def gate_and_failure(ctx: task.OrchestrationContext, job: dict[str, Any]) -> Steps:
    """Fails while another of its activities is still running."""
    other = ctx.call_activity(pass_gate, input=job["name"] + "-gate")
    first = yield ctx.call_activity(fail_times, input=job)
    return [first, (yield other)]


def sleep(ctx: task.OrchestrationContext, seconds: float) -> Steps:
    started = ctx.current_utc_datetime
    yield ctx.create_timer(timedelta(seconds=seconds))
    return (ctx.current_utc_datetime - started).total_seconds()


def await_event(ctx: task.OrchestrationContext, name: str) -> Steps:
    return (yield ctx.wait_for_external_event(name))


def event_or_timer(ctx: task.OrchestrationContext, seconds: float) -> Steps:
    event = ctx.wait_for_external_event("go")
    timer = ctx.create_timer(timedelta(seconds=seconds))
    winner = yield task.when_any([event, timer])
    return "timer" if winner is timer else event.get_result()


def two_events(ctx: task.OrchestrationContext, _: None) -> Steps:
    """Its activity runs first, so that events raised at once come before they are awaited."""
    yield ctx.call_activity(add_one, input=0)
    first = yield ctx.wait_for_external_event("a")
    second = yield ctx.wait_for_external_event("b")
    third = yield ctx.wait_for_external_event("a")
    return [first, second, third]


def send_to(ctx: task.OrchestrationContext, target: str) -> str:
    ctx.send_event(target, "go", data="from a sibling")
    return "sent"


def status_then_event(ctx: task.OrchestrationContext, _: None) -> Steps:
    ctx.set_custom_status({"waiting_for": "go"})
    value = yield ctx.wait_for_external_event("go")
    ctx.set_custom_status({"got": value})
    return value


def who_am_i(ctx: task.OrchestrationContext, _: None) -> list[str | None]:
    return [ctx.instance_id, ctx.parent_instance_id]


def family(ctx: task.OrchestrationContext, child_id: str | None) -> Steps:
    return (yield ctx.call_sub_orchestrator(who_am_i, instance_id=child_id))


def sleeping_parent(ctx: task.OrchestrationContext, seconds: float) -> Steps:
    return (yield ctx.call_sub_orchestrator(sleep, input=seconds))


def waiting_parent(ctx: task.OrchestrationContext, depth: int) -> Steps:
    if depth == 0:
        return (yield ctx.wait_for_external_event("never"))
    child = f"{ctx.instance_id}/{depth - 1}"
    return (yield ctx.call_sub_orchestrator(waiting_parent, input=depth - 1, instance_id=child))


def collector(ctx: task.OrchestrationContext, got: list[str]) -> Steps:
    """Eternal until it has three events; keeps what came meanwhile."""
    got = [*got, (yield ctx.wait_for_external_event("item"))]
    if len(got) == 3:
        return got
    ctx.continue_as_new(got, save_events=True)
    return None


def forgetful(ctx: task.OrchestrationContext, generation: int) -> Steps:
    """Generation 0 leaves a timer, an activity and a child behind; generation 1 must see none of them."""
    gate = f"{ctx.instance_id}-{generation}"
    timer = ctx.create_timer(timedelta(seconds=60 if generation == 0 else 7200))
    activity = ctx.call_activity(pass_gate, input=gate)
    child = ctx.call_sub_orchestrator(await_event, input="end", instance_id=f"{gate}-child")
    event = ctx.wait_for_external_event("next")
    winner = yield task.when_any([timer, activity, child, event])
    if generation == 0:
        ctx.continue_as_new(1)
        return None
    names = {id(timer): "timer", id(activity): "activity", id(child): "child", id(event): "event"}
    return [names[id(winner)], winner.get_result()]


def fire_and_forget(ctx: task.OrchestrationContext, gate: str) -> str:
    ctx.call_activity(pass_gate, input=gate)
    return "done"


def counter(ctx: Any, value: Any) -> Any:
    """An entity: a number."""
    number = ctx.get_state(int, 0)
    match ctx.operation:
        case "add":
            ctx.set_state(number + value)
            return number + value
        case "get":
            return number
        case "delete":
            ctx.set_state(None)
        case "tell":
            ctx.signal_entity(EntityInstanceId("counter", value), "add", 10)
        case "start":
            return ctx.schedule_new_orchestration("chain", 2, instance_id=value)
        case "fail":
            raise ValueError("the counter says no")
    return None


def call_counter(ctx: task.OrchestrationContext, key: str) -> Steps:
    entity = EntityInstanceId("counter", key)
    ctx.signal_entity(entity, "add", 1)
    after = yield ctx.call_entity(entity, "add", 2)
    try:
        yield ctx.call_entity(entity, "fail")
    except task.TaskFailedError as error:
        return [after, (yield ctx.call_entity(entity, "get")), "no" in str(error)]


def locked_wait(ctx: task.OrchestrationContext, keys: list[str]) -> Steps:
    """Holds the counters while it waits for `go`; returns the first one's value before and after."""
    entities = [EntityInstanceId("counter", key) for key in keys]
    with (yield ctx.lock_entities(entities)):
        before = yield ctx.call_entity(entities[0], "get")
        ctx.set_custom_status("locked")
        yield ctx.wait_for_external_event("go")
        after = yield ctx.call_entity(entities[0], "add", 1)
    return [before, after]


def locked_increment(ctx: task.OrchestrationContext, keys: list[str]) -> Steps:
    """Read, think, write: loses updates unless the lock excludes the others."""
    entities = [EntityInstanceId("counter", key) for key in keys]
    with (yield ctx.lock_entities(entities)):
        for entity in entities:
            seen = yield ctx.call_entity(entity, "get")
            yield ctx.call_activity(add_one, input=seen)
            now = yield ctx.call_entity(entity, "get")
            yield ctx.call_entity(entity, "add", seen + 1 - now)
    return "done"


def locked_failure(ctx: task.OrchestrationContext, key: str) -> Steps:
    with (yield ctx.lock_entities([EntityInstanceId("counter", key)])):
        yield ctx.call_activity(fail_times, input={"name": f"{ctx.instance_id}", "times": 9})


def large(ctx: task.OrchestrationContext, size: int) -> Steps:
    values = yield task.when_all([ctx.call_activity(big, input=size) for _ in range(6)])
    return sum(len(value) for value in values)


ORCHESTRATORS = (
    *(
        chain,
        fan_out,
        failing,
        silent_failure,
        retried,
        retried_child,
        failing_parent,
        gate_and_failure,
        sleep,
    ),
    *(await_event, event_or_timer, two_events, send_to, status_then_event, who_am_i, family, sleeping_parent),
    *(waiting_parent, collector, forgetful, fire_and_forget, call_counter, locked_wait, locked_increment),
    *(locked_failure, large),
)
ACTIVITIES = (add_one, pass_gate, fail_times, fail_without_message, big)


def register(worker: TaskHubGrpcWorker) -> TaskHubGrpcWorker:
    for orchestrator in ORCHESTRATORS:
        worker.add_orchestrator(orchestrator)
    for activity in ACTIVITIES:
        worker.add_activity(activity)
    worker.add_entity(counter)
    return worker
