"""What happened in the workspace since a moment, read from Azure ML itself and told as Event Grid would have told it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from shared.azure.arm import pages
from shared.config import settings

_API = "2024-10-01"
_TYPES = "Microsoft.MachineLearningServices."
_OVER = ("Completed", "Failed", "Canceled")
MAX_PAGES = 100


def events_since(moment: datetime) -> Iterator[dict[str, Any]]:
    """Every job that is over and every model version, made since then: an event of the Event Grid schema for each.

    A job's ARM form does not say when it ended: it is told at the time of its last change. What a job went through on
    its way is not told either.
    """
    yield from _jobs(moment)
    yield from _models(moment)


def _jobs(moment: datetime) -> Iterator[dict[str, Any]]:
    for job in _items(f"{_workspace()}/jobs?listViewType=All&api-version={_API}", moment):
        properties = job["properties"]
        status, run = properties.get("status", ""), job["name"]
        if status not in _OVER:
            continue
        completed = status == "Completed"
        data = {
            "experimentName": properties.get("experimentName", ""),
            "runId": run,
            "runType": properties.get("jobType", ""),
            "runTags": properties.get("tags") or {},
            "runProperties": properties.get("properties") or {},
            **({} if completed else {"runStatus": status}),
        }
        subject = f"experiments/{data['experimentName']}/runs/{run}"
        yield _event("RunCompleted" if completed else "RunStatusChanged", subject, job, data)


def _models(moment: datetime) -> Iterator[dict[str, Any]]:
    for model in _items(f"{_workspace()}/models?listViewType=All&api-version={_API}", moment):
        name = model["name"]
        versions = f"{_workspace()}/models/{name}/versions?listViewType=All&api-version={_API}"
        for version in _items(versions, moment):
            properties = version["properties"]
            data = {
                "modelName": name,
                "modelVersion": version["name"],
                "modelTags": properties.get("tags") or {},
                "modelProperties": properties.get("properties") or {},
            }
            yield _event("ModelRegistered", f"models/{name}:{version['name']}", version, data)


def _items(path: str, moment: datetime) -> Iterator[dict[str, Any]]:
    """Those that were changed since `moment`. The list is read whole: its order is nobody's promise."""
    for number, page in enumerate(pages(path, api_version=_API, target="list what changed in Azure ML")):
        if number == MAX_PAGES:
            return
        yield from (item for item in page.body["value"] if _changed(item) >= moment)


def _event(type_: str, subject: str, item: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"reconciled-{item['name']}",
        "topic": settings().ml_workspace_id,
        "subject": subject,
        "eventType": _TYPES + type_,
        "eventTime": _changed(item).isoformat(),
        "data": data,
    }


def _changed(item: dict[str, Any]) -> datetime:
    """The newest time that it shows. An item without any counts as new: better looked at twice than not at all."""
    told = item.get("systemData") or {}
    moments = [told[name] for name in ("lastModifiedAt", "createdAt") if told.get(name)]
    return max((datetime.fromisoformat(m).astimezone(UTC) for m in moments), default=datetime.now(UTC))


def _workspace() -> str:
    return settings().ml_workspace_id
