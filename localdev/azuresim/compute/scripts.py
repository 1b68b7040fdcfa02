"""Scripts under way on machines: started, watched, stopped at their time limit, and remembered once they are over.

Run commands live on two clocks: a script takes the wall time it takes, its time limit is virtual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localdev.azuresim.events import iso
from localdev.azuresim.executor import Execution, Parameter
from localdev.azuresim.faults import Fault
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

Ended = Callable[[Resource, float], None]


@dataclass
class _Live:
    execution: Execution
    verdict: str = ""  # what the end will be called, when it is us who end it


class Scripts:
    """Keeps each script's story in `state["script"]` of the resource that asked for it (plain data)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._live: dict[str, _Live] = {}
        self._when_ended: dict[str, Ended] = {}
        world.scheduler.watchers.append(self._look)
        world.scheduler.register("script.timeout", self._time_out)
        world.scheduler.register("scripts.abandon", self._abandon)

    def on_end(self, type_: str, listener: Ended) -> None:
        self._when_ended[type_.casefold()] = listener

    def start(
        self,
        owner: Resource,
        vm_id: str,
        script: str,
        parameters: list[Parameter],
        protected: list[Parameter],
        *,
        timeout_s: float,
        at: float,
        fault: Fault | None,
    ) -> None:
        story: dict[str, Any] = {"state": "Running", "started": at, "ended": None, "exit_code": 0}
        owner.state["script"] = {**story, "output": "", "error": "", "message": "Execution in progress"}
        self._world.events.add("script_started", at, resource_id=owner.id)
        self._world.scheduler.at(at + timeout_s, "script.timeout", owner=owner.id, started=at)
        if fault and fault.kind == "script_hangs":
            return
        if fault and fault.kind == "script_fails":
            self._end(owner, at, "Failed", fault.exit_code)
            return
        machine = self._world.machines.boot(vm_id)
        self._live[owner.id.casefold()] = _Live(machine.run(script, parameters, protected, None))

    def stop(self, owner: Resource, at: float, verdict: str = "Canceled") -> None:
        """End the script, if it still runs."""
        live = self._live.get(owner.id.casefold())
        if live is not None:
            live.verdict = live.verdict or verdict
            live.execution.kill()
        elif is_running(owner):
            self._end(owner, at, verdict, -1)

    def forget(self, owner: Resource) -> None:
        self._live.pop(owner.id.casefold(), None)

    def view(self, owner: Resource) -> dict[str, Any]:
        """The `instanceView` of a managed run command."""
        story = owner.state.get("script")
        if story is None:
            return {
                "executionState": "Pending",
                "executionMessage": "",
                "exitCode": 0,
                "output": "",
                "error": "",
            }
        live = self._live.get(owner.id.casefold())
        view = {
            "executionState": story["state"],
            "executionMessage": story["message"],
            "exitCode": story["exit_code"],
            "output": live.execution.stdout if live else story["output"],
            "error": live.execution.stderr if live else story["error"],
            "startTime": iso(story["started"]),
        }
        return view if story["ended"] is None else {**view, "endTime": iso(story["ended"])}

    def _look(self, now: float) -> None:
        for id_, live in list(self._live.items()):
            if live.execution.state == "Running":
                continue
            del self._live[id_]
            owner = self._world.store.get(id_)
            if owner is None:
                continue
            execution = live.execution
            owner.state["script"] |= {"output": execution.stdout, "error": execution.stderr}
            state = live.verdict or ("Failed" if execution.state == "Canceled" else execution.state)
            code = -1 if execution.exit_code is None else execution.exit_code
            self._end(owner, execution.ended or now, state, code)

    def _end(self, owner: Resource, at: float, state: str, exit_code: int) -> None:
        message = "Execution completed"
        if state != "Succeeded":
            failure = f"failed to execute command: command terminated with exit status={exit_code}"
            message = f"Execution failed: {failure}"
        owner.state["script"] |= {"state": state, "ended": at, "exit_code": exit_code, "message": message}
        self._world.events.add("script_ended", at, resource_id=owner.id, state=state, exit_code=exit_code)
        listener = self._when_ended.get(owner.type.casefold())
        if listener:
            listener(owner, at)

    def _abandon(self, at: float) -> None:
        """The simulator was killed and its children with it: what was running has failed."""
        for resource in self._world.store:
            if is_running(resource):
                self._end(resource, at, "Failed", -1)

    def _time_out(self, at: float, owner: str, started: float) -> None:
        found = self._world.store.get(owner)
        if found and is_running(found) and found.state["script"]["started"] == started:
            self.stop(found, at, "TimedOut")


def is_running(owner: Resource) -> bool:
    return bool(owner.state.get("script", {}).get("state") == "Running")
