"""Rollouts of a model that is first tried at several sizes; and what must hold of the deployments it is tried with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from localdev.azuresim.ml.endpoint_spec import DEPLOYMENTS
from shared.domain import names
from tests.crash.deployment import GREEN, RUN, Deployment, deployed, strays
from tests.crash.scenario import LATE

if TYPE_CHECKING:
    from tests.crash.machine import Machine

# All of them do well; the last is the cheapest.
SIZES = ({"cpu": "1", "usdPerHour": 0.2}, {"cpu": "3", "usdPerHour": 0.3}, {"cpu": "250m", "usdPerHour": 0.1})
CANDIDATES = tuple(names.profile_deployment_name(RUN, number) for number in range(1, len(SIZES) + 1))
# The profile's deadline, and the time to remove what is left.
_UNTIL = timedelta(minutes=45 + 10)


@dataclass(frozen=True)
class Profiled(Deployment):
    """A profile of `SIZES` before the rollout, which goes on with the cheapest that did well."""

    def declaration(self) -> dict[str, Any]:
        load = {"requests": 3, "concurrency": [1, 2], "p95": "PT4S"}
        return {
            **super().declaration(),
            "profile": {"instanceTypes": list(SIZES), "load": load, "deadline": "PT45M"},
        }

    def unkept(self, machine: Machine, *, strict: bool) -> Iterator[str]:
        """P1 to P4: candidates are the run's, for a time, without traffic and not for ever; green is as was found."""
        yield from super().unkept(machine, strict=strict)
        yield from (f"P1 {fault}" for fault in strays(_made(machine, *CANDIDATES), _UNTIL))
        yield from _outlived(machine)
        yield from _without_traffic(machine)
        there = {each.name for each in machine.cloud.world.store.of_type(DEPLOYMENTS)}
        yield from (f"P3 {name} is left" for name in CANDIDATES if name in there)
        yield from _as_recommended(machine)


def _outlived(machine: Machine) -> Iterator[str]:
    """P1: the deletion of each begins soon after its deadline at the latest.

    Of what a worker that was out of sight makes after that, it begins at once, as I11 has it of machines.
    """
    for event in _made(machine, *CANDIDATES):
        if "muster-deadline" not in event["tags"]:
            continue  # that is said already
        until = datetime.fromisoformat(event["tags"]["muster-deadline"]).timestamp()
        if _deleting(machine, event) > max(until, event["at"]) + LATE.total_seconds():
            yield f"P1 {_name(event)}, made at {event['at']:.0f}, has until {until:.0f}, and is still there"


def _deleting(machine: Machine, made: dict[str, Any]) -> float:
    """When its deletion began."""
    events = machine.cloud.world.events.since(type_="deployment")
    ends = (e["at"] for e in events if e["status"] == "Deleting" and e["resource_id"] == made["resource_id"])
    return min((at for at in ends if at >= made["at"]), default=math.inf)


def _without_traffic(machine: Machine) -> Iterator[str]:
    """P2: no map that was ever accepted gives a candidate anything."""
    for event in machine.cloud.world.events.since(type_="traffic"):
        given = {name: event["traffic"][name] for name in CANDIDATES if event["traffic"].get(name)}
        if given:
            yield f"P2 candidates got {given}"


def _as_recommended(machine: Machine) -> Iterator[str]:
    """P4: green is made after the profile is on record, which recommends one that passed, and at that one's size."""
    record = machine.cloud.storage.document("muster", f"deployments/{RUN}/profile.json")
    chosen = record.get("recommendation", {}).get("chosen", "")
    tried = next((each for each in record.get("tried", ()) if each["deployment"] == chosen), None)
    green = _made(machine, GREEN)
    if green and (tried is None or tried["reason"] or not all(level["ok"] for level in tried["levels"])):
        yield f"P4 {GREEN} was made, and recommended is {tried}"
        return
    for each in machine.cloud.world.store.of_type(DEPLOYMENTS):
        if each.name == GREEN and tried is not None:
            asked = each.properties["containerResourceRequirements"]["containerResourceRequests"]["cpu"]
            if asked != tried["resources"]["cpu"]:
                yield f"P4 {GREEN} has {asked} cpu, recommended are {tried['resources']['cpu']}"


def _made(machine: Machine, *wanted: str) -> list[dict[str, Any]]:
    return [event for event in deployed(machine) if _name(event) in wanted]


def _name(event: dict[str, Any]) -> str:
    return str(event["resource_id"].rpartition("/")[2])
