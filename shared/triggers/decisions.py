"""The HTTP API's answers about events: what was decided, and why."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import azure.functions as func

from shared.azure import event_ledger
from shared.domain.errors import NotFoundError
from shared.domain.ml_events import is_event_key
from shared.domain.retrain_decision import Decision
from shared.durable.client import Orchestrations
from shared.triggers.workloads import deciding, find_deciding

MAX_LISTED = 50


async def get_decisions(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """The newest decisions: of one workload, or about drifts that no workload listens to."""
    name = req.params.get("workload", "")
    workload = find_deciding(name).name if name else event_ledger.NOBODY
    found = await asyncio.to_thread(event_ledger.newest_decisions, workload, MAX_LISTED)
    return _answer(name or "drifts that no workload listens to", found)


async def get_decision(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """What was decided about one event, by every workload that listens to it."""
    key = str(req.route_params.get("key", ""))
    found = await asyncio.to_thread(_decisions_about, key) if is_event_key(key) else []
    if not found:
        raise NotFoundError(f"nothing was decided about event {key[:100]!r}", code="NoDecision")
    return _answer(f"event {key}", found)


def _decisions_about(key: str) -> list[Decision]:
    asked = (event_ledger.read_decision(workload, key)[0] for workload in (*deciding(), event_ledger.NOBODY))
    return [decision for decision in asked if decision]


def _answer(about: str, found: list[Decision]) -> func.HttpResponse:
    body: dict[str, Any] = {"about": about, "decisions": [each.model_dump(mode="json") for each in found]}
    return func.HttpResponse(json.dumps(body), mimetype="application/json")
