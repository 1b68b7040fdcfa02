"""Who decides what goes wrong: a list of crash points, or a seed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.crash.machine import Machine
    from tests.crash.points import Point
    from tests.crash.scenario import Scenario


class Verdict(StrEnum):
    GO_ON = "go on"
    DIE = "the app's process dies"
    WORKER_DIES = "the agent's worker dies"
    AGENT_DIES = "the agent dies"
    MACHINE_LOST = "the machine is lost"
    STALLS = "the worker is out of sight, and goes on long after"


class Plan:
    """Nothing goes wrong."""

    name = "fault-free"

    def faults(self, scenario: Scenario) -> list[dict[str, Any]]:
        """Faults to arm in the simulated Azure, besides the scenario's."""
        return []

    def at(self, machine: Machine, point: Point) -> Verdict:
        return Verdict.GO_ON

    def latency(self, machine: Machine, strand: str, usual_s: float) -> float:
        return usual_s

    def drops_request(self, machine: Machine, strand: str, label: str) -> bool:
        """Whether a request is lost before it takes effect."""
        return False

    def drops_answer(self, machine: Machine, strand: str, label: str) -> bool:
        """Whether the answer of a request that took effect is lost."""
        return False

    def trigger_failed(self, name: str, error: Exception) -> None:
        """A timer's or user's call ended with an exception. Without faults that is a defect."""
        raise AssertionError(f"{name} failed") from error


class CrashAt(Plan):
    """Crash at the points numbered so."""

    def __init__(self, points: Mapping[int, Verdict]) -> None:
        self._points = dict(points)
        self.name = ", ".join(f"{number}: {verdict}" for number, verdict in self._points.items())

    def at(self, machine: Machine, point: Point) -> Verdict:
        return self._points.get(point.number, Verdict.GO_ON)
