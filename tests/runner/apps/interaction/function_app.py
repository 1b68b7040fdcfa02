# mypy: ignore-errors
"""Human interaction (an event or a timer, whichever is first) and a monitor that lives for ever."""

from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.orchestration_trigger(context_name="context")
def approval(context: df.DurableOrchestrationContext):
    context.set_custom_status("waiting for approval")
    due = context.current_utc_datetime + timedelta(hours=72)
    timeout = context.create_timer(due)
    approved = context.wait_for_external_event("Approval")
    winner = yield context.task_any([approved, timeout])
    if winner == approved:
        timeout.cancel()
        return f"approved by {approved.result}"
    return (yield context.call_activity("escalate", "the boss"))


@app.activity_trigger(input_name="to")
def escalate(to: str) -> str:
    return f"escalated to {to}"


@app.orchestration_trigger(context_name="context")
def monitor(context: df.DurableOrchestrationContext):
    """One generation an hour, until somebody says stop."""
    rounds = context.get_input() or 0
    context.set_custom_status({"rounds": rounds})
    tick = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
    stop = context.wait_for_external_event("stop")
    winner = yield context.task_any([tick, stop])
    if winner == stop:
        tick.cancel()
        return rounds
    context.continue_as_new(rounds + 1)


@app.route(route="wait/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_and_wait(req: func.HttpRequest, client) -> func.HttpResponse:
    instance_id = await client.start_new("quick", req.route_params["id"], 20)
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id)


@app.orchestration_trigger(context_name="context")
def quick(context: df.DurableOrchestrationContext):
    return context.get_input() + 1
    yield


@app.timer_trigger(arg_name="timer", schedule="0 0 * * * *")
@app.durable_client_input(client_name="client")
async def hourly(timer: func.TimerRequest, client) -> None:
    await client.start_new("quick", "started-by-timer", 41)
