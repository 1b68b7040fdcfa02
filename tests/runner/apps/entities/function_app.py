# mypy: ignore-errors
"""An entity counter: signalled, called, locked, read; and a client that is a plain function."""

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.entity_trigger(context_name="context", entity_name="Counter")
def counter(context: df.DurableEntityContext):
    value = context.get_state(lambda: 0)
    match context.operation_name:
        case "add":
            value += context.get_input()
            context.set_state(value)
        case "get":
            context.set_result(value)
        case "fail":
            raise ValueError("no such sum")


@app.orchestration_trigger(context_name="context")
def count(context: df.DurableOrchestrationContext):
    entity = df.EntityId("Counter", context.get_input())
    yield context.call_entity(entity, "add", 2)
    context.signal_entity(entity, "add", 3)
    return (yield context.call_entity(entity, "get"))


@app.orchestration_trigger(context_name="context")
def count_wrong(context: df.DurableOrchestrationContext):
    try:
        yield context.call_entity(df.EntityId("Counter", "wrong"), "fail")
    except Exception as error:  # noqa: BLE001
        return str(error)


@app.route(route="counters/{key}", methods=["POST"])
@app.durable_client_input(client_name="client")
def sync_client(req: func.HttpRequest, client) -> func.HttpResponse:
    instance_id = client.schedule_new_orchestration("count", input=req.route_params["key"])
    return client.create_check_status_response(req, instance_id)
