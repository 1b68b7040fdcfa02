"""The HTTP API's routes. Every one needs a function key. What they do is in api.py, which the first request loads."""

from __future__ import annotations

import azure.durable_functions as df
import azure.functions as func

bp = df.Blueprint()

ROUTES = (  # method, path, and the handler's name in api.py
    ("POST", "runs", "post_run"),
    ("GET", "runs", "get_runs"),
    ("GET", "runs/{id}", "get_run"),
    ("POST", "runs/{id}/cancel", "cancel_run"),
    ("GET", "decisions", "get_decisions"),
    ("GET", "decisions/{key}", "get_decision"),
    ("GET", "leases", "get_leases"),
    ("GET", "health", "get_health"),
    ("POST", "deployments", "post_deployment"),
    ("GET", "deployments", "get_deployments"),
    ("GET", "deployments/{id}", "get_deployment"),
    ("POST", "deployments/{id}/approve", "approve_deployment"),
    ("POST", "deployments/{id}/reject", "reject_deployment"),
    ("POST", "deployments/{id}/cancel", "cancel_deployment"),
    ("POST", "deployments/{id}/rollback", "rollback_deployment"),
)


def _add(method: str, path: str, name: str) -> None:
    """A route with a durable client; function-level auth is the app's default."""

    # Azure indexes the function's own signature and name, and accepts plain annotations only.
    async def handle(req: func.HttpRequest, client) -> func.HttpResponse:  # type: ignore[no-untyped-def]
        from shared.triggers import api  # here, for the reason that shared/durable/index.py gives

        return await api.answer(name, req, client)

    handle.__name__ = name
    bound = bp.durable_client_input(client_name="client")(handle)
    bp.route(route=path, methods=[method])(bound)


for each in ROUTES:
    _add(*each)
