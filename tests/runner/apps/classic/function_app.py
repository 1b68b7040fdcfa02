# mypy: ignore-errors
"""The v1 style: one context argument, a blueprint, retries with RetryOptions, a helper module beside the app."""

import azure.durable_functions as df
import azure.functions as func
from helpers import blueprint

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(blueprint)


@app.orchestration_trigger(context_name="context")
def retried(context: df.DurableOrchestrationContext):
    options = df.RetryOptions(first_retry_interval_in_milliseconds=1000, max_number_of_attempts=3)
    return (yield context.call_activity_with_retry("flaky", options, context.get_input()))


@app.function_name(name="Starter")
@app.route(route="start/{name}/{id?}")
@app.durable_client_input(client_name="starter")
async def start(req: func.HttpRequest, starter) -> func.HttpResponse:
    instance_id = await starter.start_new(
        req.route_params["name"], req.route_params.get("id"), req.params.get("input")
    )
    return starter.create_check_status_response(req, instance_id)
