"""Microsoft.DevTestLab: the auto-shutdown of a virtual machine, which really shuts it down.

Source: devtestlabs DTL.json 2018-09-15 and its examples (schedules `shutdown-computevm-NAME`, taskType
`ComputeVmShutdownTask`). The schedule outlives its machine: it has to be deleted by itself.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from localdev.azuresim import paging
from localdev.azuresim.compute import parts
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError, invalid_parameter, not_found
from localdev.azuresim.events import iso
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = ("2018-09-15",)
SCHEDULES = "Microsoft.DevTestLab/schedules"
_SHUTDOWN = "ComputeVmShutdownTask"
_PREFIX = "shutdown-computevm-"
_PAGE = 100
# Windows names of time zones, as this API takes them; an IANA name is taken too.
_ZONES = {
    "UTC": "UTC",
    "GMT Standard Time": "Europe/London",
    "W. Europe Standard Time": "Europe/Berlin",
    "Romance Standard Time": "Europe/Paris",
    "Central Europe Standard Time": "Europe/Budapest",
    "Eastern Standard Time": "America/New_York",
    "Central Standard Time": "America/Chicago",
    "Mountain Standard Time": "America/Denver",
    "Pacific Standard Time": "America/Los_Angeles",
}
_SHAPE = {
    **members("location", "tags", *READ_ONLY),
    "properties": {
        **members("status", "taskType", "timeZoneId", "targetResourceId", "createdDate", "uniqueIdentifier"),
        **members("provisioningState", "hourlyRecurrence", "weeklyRecurrence"),
        "dailyRecurrence": members("time"),
        "notificationSettings": members(
            "status", "timeInMinutes", "webhookUrl", "emailRecipient", "notificationLocale"
        ),
    },
}


def routes(world: World) -> list[Route]:
    schedules = Schedules(world)
    base = "providers/Microsoft.DevTestLab/schedules"
    collection = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{base}"
    one = f"{collection}/{{schedule}}"
    return [
        Route(
            "GET", f"/subscriptions/{{subscription}}/{base}", f"{SCHEDULES}/read", schedules.list, VERSIONS
        ),
        Route("GET", collection, f"{SCHEDULES}/read", schedules.list, VERSIONS),
        Route("GET", one, f"{SCHEDULES}/read", schedules.get, VERSIONS),
        Route("PUT", one, f"{SCHEDULES}/write", schedules.put, VERSIONS),
        Route("DELETE", one, f"{SCHEDULES}/delete", schedules.delete, VERSIONS),
    ]


class Schedules:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("schedule.fire", self._fire)

    def get(self, call: Call) -> Reply:
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return Reply(200, found.envelope())

    def list(self, call: Call) -> Reply:
        found = self._world.store.of_type(SCHEDULES, call.path.partition("/providers/")[0])
        return Reply(200, paging.page(call, [schedule.envelope() for schedule in found], _PAGE))

    def put(self, call: Call) -> Reply:
        body = call.document()
        check(body, _SHAPE, "Schedule")
        location = required_location(body, SCHEDULES)
        check_tags(body.get("tags"))
        asked = dict(body.get("properties") or {})
        self._check(call.params["schedule"], asked)
        found = self._world.store.get(call.resource_id)
        schedule = found or Resource(call.resource_id, SCHEDULES, location, call.at, call.at)
        kept = {
            "createdDate": iso(schedule.created),
            "uniqueIdentifier": str(uuid.uuid4()),
            **schedule.properties,
        }
        schedule.properties = {"status": "Enabled", **kept, **asked, "provisioningState": "Succeeded"}
        schedule.tags = dict(body.get("tags") or {})
        schedule.state["turn"] = str(uuid.uuid4())  # what was planned before does not fire
        self._world.store.put(schedule)
        self._plan(schedule, call.at)
        return Reply(200 if found else 201, schedule.envelope())

    def delete(self, call: Call) -> Reply:
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        parts.remove(self._world, found.id, call.at)
        return Reply(200)

    def _check(self, name: str, asked: dict[str, Any]) -> None:
        target = str(asked.get("targetResourceId", ""))
        if asked.get("taskType") != _SHUTDOWN:
            raise invalid_parameter(f"Only schedules of taskType {_SHUTDOWN} are simulated.", "taskType")
        if self._world.store.get(target) is None:
            raise ArmError(
                400, "InvalidScheduleTargetResource", f"The target resource '{target}' was not found."
            )
        if name.casefold() != f"{_PREFIX}{target.rpartition('/')[2]}".casefold():
            raise ArmError(
                400,
                "InvalidScheduleId",
                f"The schedule of a virtual machine must be named {_PREFIX}VMNAME, '{name}' is not.",
            )
        time = str((asked.get("dailyRecurrence") or {}).get("time", ""))
        if len(time) != 4 or not time.isdigit() or int(time[:2]) > 23 or int(time[2:]) > 59:
            raise invalid_parameter(f"The time '{time}' is not of the form HHmm.", "dailyRecurrence.time")
        _zone(asked.get("timeZoneId", "UTC"))

    def _plan(self, schedule: Resource, after: float) -> None:
        """The next time of day, strictly after `after`, in the schedule's own zone."""
        time = schedule.properties["dailyRecurrence"]["time"]
        zone = _zone(schedule.properties.get("timeZoneId", "UTC"))
        day = datetime.fromtimestamp(after, UTC).astimezone(zone)
        moment = day.replace(hour=int(time[:2]), minute=int(time[2:]), second=0, microsecond=0)
        if moment.timestamp() <= after:
            moment = (moment.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        self._world.scheduler.at(
            moment.timestamp(), "schedule.fire", schedule=schedule.id, turn=schedule.state["turn"]
        )

    def _fire(self, at: float, schedule: str, turn: str) -> None:
        found = self._world.store.get(schedule)
        if found is None or found.state["turn"] != turn:
            return
        if found.properties["status"] == "Enabled":
            self._world.events.add("schedule_fired", at, resource_id=found.id)
            self._world.scheduler.at(
                at,
                "vm.auto_shutdown",
                vm=found.properties["targetResourceId"],
                action="Microsoft.DevTestLab/schedules/execute/action",
            )
        self._plan(found, at)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(_ZONES.get(name, name))
    except (KeyError, ValueError) as error:
        raise invalid_parameter(f"The time zone '{name}' is not known.", "timeZoneId") from error
