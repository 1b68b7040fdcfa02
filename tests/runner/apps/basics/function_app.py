# mypy: ignore-errors
"""No durable functions: HTTP routes, timers, Event Grid, outputs and their absence."""

import json
import logging
import os
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
TRACE = Path(os.environ.get("TRACE", os.devnull))


def trace(**fields) -> None:
    with TRACE.open("a") as file:
        file.write(json.dumps(fields) + "\n")


@app.route(route="echo", auth_level=func.AuthLevel.ANONYMOUS)
def echo(req: func.HttpRequest) -> func.HttpResponse:
    answer = {
        "method": req.method,
        "url": req.url,
        "query": dict(req.params),
        "header": req.headers.get("X-Thing"),
        "length": len(req.get_body()),
    }
    return func.HttpResponse(json.dumps(answer), mimetype="application/json", headers={"X-Answer": "yes"})


@app.route(route="items/{id:int}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def item_by_number(req: func.HttpRequest) -> str:
    return f"number {req.route_params['id']}"


@app.route(route="items/{name}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def item_by_name(req: func.HttpRequest) -> str:
    return f"name {req.route_params['name']}"


@app.route(route="items/special", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def item_special(req: func.HttpRequest) -> str:
    return "special"


@app.route(route="items/{name}", methods=["DELETE"], auth_level=func.AuthLevel.ANONYMOUS)
def delete_item(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=204)


@app.route(route="files/{*rest}", auth_level=func.AuthLevel.ANONYMOUS)
def files(req: func.HttpRequest) -> str:
    return req.route_params["rest"]


@app.route(route="guarded")
def guarded(req: func.HttpRequest) -> str:
    return "in"


@app.route(route="whoami")
def whoami(req: func.HttpRequest) -> func.HttpResponse:
    said = {name: value for name, value in req.headers.items() if name.startswith("x-ms-")}
    assert req.get_body() == b"with a body"
    return func.HttpResponse(json.dumps({"auth": os.environ.get("WEBSITE_AUTH_ENABLED"), "said": said}))


@app.route(route="master-only", auth_level=func.AuthLevel.ADMIN)
def administered(req: func.HttpRequest) -> str:
    return "in"


@app.route(route="raises", auth_level=func.AuthLevel.ANONYMOUS)
def raises(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("this stays in the log")


@app.route(route="context", auth_level=func.AuthLevel.ANONYMOUS)
def with_context(req: func.HttpRequest, context: func.Context) -> str:
    return f"{context.function_name} {len(context.invocation_id)}"


@app.timer_trigger(arg_name="timer", schedule="%NIGHTLY%")
def nightly(timer: func.TimerRequest) -> None:
    trace(name="nightly", past_due=timer.past_due, status=timer.schedule_status, schedule=timer.schedule)


@app.timer_trigger(arg_name="timer", schedule="00:00:20")
async def often(timer: func.TimerRequest) -> None:
    trace(name="often", past_due=timer.past_due, status=timer.schedule_status, schedule=timer.schedule)


@app.timer_trigger(arg_name="timer", schedule="0 0 1 1 *", run_on_startup=True)
def at_startup(timer: func.TimerRequest) -> None:
    trace(name="at_startup", past_due=timer.past_due)


@app.event_grid_trigger(arg_name="event")
def on_event(event: func.EventGridEvent) -> None:
    kind = type(event).__name__
    if isinstance(event, func.CloudEvent):
        trace(name="on_event", kind=kind, id=event.id, type=event.type, data=event.get_json())
    else:
        trace(name="on_event", kind=kind, id=event.id, type=event.event_type, data=event.get_json())
    if event.id == "poison":
        raise ValueError("poisonous event")


@app.route(route="log", auth_level=func.AuthLevel.ANONYMOUS)
async def log(req: func.HttpRequest) -> str:
    logging.getLogger("basics").warning("a line of the app's own")
    return "logged"
