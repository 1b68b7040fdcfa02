"""Schedules of jobs and of model monitors: written and deleted by long operations. They do not fire here: what a
monitor would raise is published by a test (`control.publish_event`).

Shape: mfe.json 2023-06-01-preview. "A schedule must be disabled before deletion": learn.microsoft.com
azure/machine-learning/how-to-schedule-pipeline-job.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.errors import bad_member
from localdev.azuresim.ml.common import (
    ASSET_VERSIONS,
    WORKSPACE,
    WORKSPACES,
    missing,
    page,
    properties_of,
    user_error,
    view,
    workspace_of,
)
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

SCHEDULES = f"{WORKSPACES}/schedules"
SCHEDULE_WRITE_S, SCHEDULE_DELETE_S, SCHEDULE_POLL_S = 5.0, 5.0, 5.0
_MEMBERS = {"description", "properties", "tags", "action", "trigger", "displayName", "isEnabled"}
_ACTIONS = ("CreateJob", "CreateMonitor", "InvokeBatchEndpoint", "ImportData")
_TRIGGERS = ("Recurrence", "Cron")
# Enums that the SDK writes with a small first letter. The service reads them without case and answers its own spelling.
_SPELT_WITH_A_CAPITAL = ("frequency", "weekDays", "taskType", "metric")


def routes(world: World) -> list[Route]:
    schedules = Schedules(world)
    all_, one = f"{WORKSPACE}/schedules", f"{WORKSPACE}/schedules/{{name}}"
    return [
        Route("GET", all_, f"{SCHEDULES}/read", schedules.list, ASSET_VERSIONS),
        Route("GET", one, f"{SCHEDULES}/read", schedules.get, ASSET_VERSIONS),
        Route("PUT", one, f"{SCHEDULES}/write", schedules.put, ASSET_VERSIONS),
        Route("DELETE", one, f"{SCHEDULES}/delete", schedules.delete, ASSET_VERSIONS),
    ]


class Schedules:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("ml.schedule.written", self._written)
        world.scheduler.register("ml.schedule.deleted", self._deleted)

    def get(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise missing(f"Schedule with name {call.params['name']} not found.")
        return Reply(200, view(found))

    def list(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        found = self._world.store.of_type(SCHEDULES, workspace.id)
        wanted = call.query.get("listviewtype", "EnabledOnly").casefold()
        if wanted != "all":
            found = [each for each in found if each.properties["isEnabled"] is (wanted == "enabledonly")]
        return Reply(200, page(call, [view(each) for each in found]))

    def put(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        asked = _checked(properties_of(call))
        found = self._world.store.get(call.resource_id)
        schedule = found or Resource(call.resource_id, SCHEDULES, workspace.location, call.at, call.at)
        state = "Updating" if found else "Creating"
        shown: dict[str, Any] = {
            "description": None,
            "tags": {},
            "properties": {},
            "displayName": None,
            "isEnabled": True,
        }
        schedule.properties = {**shown, **asked, "provisioningState": state}
        schedule.state["author"] = call.principal.identity.name
        self._world.store.put(schedule)
        if found:
            self._world.store.touch(schedule, call.at)
        operation = self._begin(call, schedule, SCHEDULE_WRITE_S, "ml.schedule.written")
        return Reply(200 if found else 201, view(schedule), operation=operation)

    def delete(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        if found.properties["isEnabled"]:
            raise user_error(
                400, f"Schedule {found.name} is enabled. A schedule must be disabled before deletion."
            )
        found.properties["provisioningState"] = "Deleting"
        return Reply(202, operation=self._begin(call, found, SCHEDULE_DELETE_S, "ml.schedule.deleted"))

    def _begin(self, call: Call, schedule: Resource, after_s: float, step: str) -> Operation:
        self._world.operations.preempt(schedule.id, call.at)
        operation = self._world.operations.begin_for(call, schedule, poll_after_s=SCHEDULE_POLL_S)
        self._world.operations.then(operation, call.fault, after_s, step, schedule=schedule.id)
        return operation

    def _written(self, at: float, schedule: str, operation: str) -> None:
        found = self._world.store.get(schedule)
        if found and self._world.operations.is_running(operation):
            found.properties["provisioningState"] = "Succeeded"
            self._world.operations.succeed(operation, at)

    def _deleted(self, at: float, schedule: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            self._world.store.remove(schedule)
            self._world.operations.succeed(operation, at)


def _checked(asked: dict[str, Any]) -> dict[str, Any]:
    asked.pop("provisioningState", None)
    for name in asked:
        if name not in _MEMBERS:
            raise bad_member(name, "Schedule", f"properties.{name}")
    for name, member, known in (
        ("action", "actionType", _ACTIONS),
        ("trigger", "triggerType", _TRIGGERS),
    ):
        value = (asked.get(name) or {}).get(member)
        if str(value).casefold() not in {each.casefold() for each in known}:
            raise user_error(400, f"The {member} '{value}' of the schedule is not one of {', '.join(known)}.")
    return {name: _spelt(value) for name, value in asked.items()}


def _spelt(value: Any, name: str = "") -> Any:
    """_spelt({"frequency": "day"}) -> {"frequency": "Day"}"""
    match value:
        case dict():
            return {key: _spelt(each, key) for key, each in value.items()}
        case list():
            return [_spelt(each, name) for each in value]
        case str() if name in _SPELT_WITH_A_CAPITAL:
            return value[:1].upper() + value[1:]
    return value
