# mypy: ignore-errors
"""Hello chaining and fan-out/fan-in, as in Microsoft's samples: sync, async and two-argument activities."""

import asyncio
import time
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="orchestrators/{functionName}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def http_start(req: func.HttpRequest, client):
    body = req.get_json() if req.get_body() else None
    instance_id = await client.start_new(req.route_params["functionName"], client_input=body)
    return client.create_check_status_response(req, instance_id)


@app.orchestration_trigger(context_name="context")
def hello_chaining(context: df.DurableOrchestrationContext):
    first = yield context.call_activity("hello", "Tokyo")
    second = yield context.call_activity("hello", "Seattle")
    third = yield context.call_activity("hello_async", "London")
    return [first, second, third]


@app.activity_trigger(input_name="city")
def hello(city: str):
    return f"Hello {city}!"


@app.activity_trigger(input_name="city")
async def hello_async(city: str):
    await asyncio.sleep(0)
    return f"Hello {city}!"


@app.orchestration_trigger(context_name="context")
def fan_out(context: df.DurableOrchestrationContext):
    numbers = context.get_input()
    squares = yield context.task_all([context.call_activity("square", n) for n in numbers])
    return sum(squares)


@app.activity_trigger(input_name="number", activity="square")
def square_it(number: int) -> int:
    return number * number


@app.orchestration_trigger(context_name="context")
def parent(context: df.DurableOrchestrationContext):
    halves = [context.call_sub_orchestrator("fan_out", [n, n + 1]) for n in (1, 3)]
    return (yield context.task_all(halves))


@app.orchestration_trigger(context_name="context")
def fails(context: df.DurableOrchestrationContext):
    try:
        yield context.call_activity("raise_error", "boom")
    except Exception as error:  # noqa: BLE001
        return str(error)


@app.orchestration_trigger(context_name="context")
def fails_loudly(context: df.DurableOrchestrationContext):
    yield context.call_activity("raise_error", "boom")


@app.activity_trigger(input_name="text")
def raise_error(text: str):
    raise ValueError(f"{text}\nand a second line")


@app.orchestration_trigger(context_name="context")
def calls_nobody(context: df.DurableOrchestrationContext):
    yield context.call_activity("no_such_activity", None)


@app.orchestration_trigger(context_name="context")
def slow_steps(context: df.DurableOrchestrationContext):
    """Each step leaves a mark, so that a test can count how often it ran."""
    settings = context.get_input()
    done = []
    for step in range(settings["steps"]):
        done.append((yield context.call_activity("slow_step", {**settings, "step": step})))
    return done


@app.activity_trigger(input_name="order")
def slow_step(order: dict) -> int:
    with Path(order["marks"]).open("a") as marks:
        marks.write(f"{order['step']}\n")
    while order.get("gate") and not Path(order["gate"]).exists():
        time.sleep(0.01)
    return order["step"]
