"""The real orchestrators on the real task hub, and an Azure that answers activities as a script says.

Turns are executed by the SDK's own executor, as the host's trigger path does; answers cross as the JSON of the step's
contract. Time stands still while anything can happen and then goes to the next timer, so every wait is seen whole.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.wrappers_pb2 import StringValue

from localdev.runner.failures import Failure
from localdev.runner.hub import Instance, TaskHub, WorkSession
from shared.domain.errors import AppError
from shared.domain.wire import Wire
from shared.durable import wire
from shared.durable.contracts import Step
from shared.durable.flow import CANCEL_EVENT, WAKE_EVENT
from tests.crash.app import run_turn
from tests.crash.clock import VirtualClock
from tests.crash.histories import History, histories_of

MOST_ITEMS = 5_000
type Answer = Wire | Exception


@dataclass(frozen=True)
class Call:
    """An activity that an orchestrator called, and when."""

    step: str
    at: datetime
    payload: Any


class Stage:
    """`usual` answers what no script does. An AppError is answered as a value; any other exception is a crash."""

    def __init__(self, hub: TaskHub, clock: VirtualClock, usual: Callable[[str, Any], Wire]) -> None:
        self.calls: list[Call] = []
        self._hub, self._clock, self._usual = hub, clock, usual
        self._session: WorkSession = hub.connect("stage")
        self._scripts: dict[str, deque[Answer]] = {}
        self._cues: dict[str, Callable[[], None]] = {}

    def script[I: Wire, O: Wire](self, step: Step[I, O], *answers: O | Exception) -> None:
        """What the next calls of `step` are answered, one after the other."""
        self._scripts[step.name] = deque(answers)

    def cancel_while[I: Wire, O: Wire](self, step: Step[I, O], instance_id: str) -> None:
        """Wake `instance_id` for its cancellation while the first call of `step` is under way."""
        self._cues[step.name] = lambda: self._hub.raise_event(instance_id, CANCEL_EVENT, '"enough"')

    def wake_while[I: Wire, O: Wire](self, step: Step[I, O], instance_id: str) -> None:
        """Tell `instance_id` that something was put on record while the first call of `step` is under way."""
        self._cues[step.name] = lambda: self._hub.raise_event(instance_id, WAKE_EVENT, "null")

    def run[I: Wire, O: Wire](self, step: Step[I, O], request: I, instance_id: str) -> Instance:
        """Run an orchestration to its end."""
        self._hub.start(step.name, instance_id=instance_id, input=json.dumps(wire.to_wire(request)))
        for _ in range(MOST_ITEMS):
            if item := self._session.next(0):
                self._execute(item)
            elif (found := self._hub.get_instance(instance_id)) and found.status.is_final:
                return found
            elif not self._fire_next_timer():
                raise AssertionError(f"{instance_id} waits for nothing that could come")
        raise AssertionError(f"{instance_id} does not end")

    def outcome[I: Wire, O: Wire](self, step: Step[I, O], request: I, instance_id: str) -> O:
        """What an orchestration answered. Raises the AppError it failed with."""
        ended = self.run(step, request, instance_id)
        return wire.read_answer(step.output, json.loads(ended.output or "null"), step.name)

    def steps(self, *of: Step[Any, Any]) -> list[str]:
        """The names of the calls so far, in order; only those of the steps named."""
        names = {step.name for step in of}
        return [call.step for call in self.calls if not names or call.step in names]

    def of[I: Wire, O: Wire](self, step: Step[I, O]) -> list[I]:
        """What each call of a step was given."""
        return [step.input.model_validate(call.payload) for call in self.calls if call.step == step.name]

    def when(self, step: Step[Any, Any]) -> list[datetime]:
        return [call.at for call in self.calls if call.step == step.name]

    def history(self, instance_id: str) -> History:
        """What the hub has written down of an instance."""
        return next(each for each in histories_of(self._hub, instance_id) if each.instance == instance_id)

    def _fire_next_timer(self) -> bool:
        """Go to the next timer's moment. False if there is none."""
        moment = self._hub._timers._next_moment()
        if moment is None:
            return False
        self._clock.move_to(moment / 1_000_000)
        self._hub._timers._fire()
        return True

    def _execute(self, item: pb.WorkItem) -> None:
        if item.HasField("orchestratorRequest"):
            self._turn(item)
        else:
            self._activity(item)

    def _turn(self, item: pb.WorkItem) -> None:
        request = item.orchestratorRequest
        response = run_turn(request)
        response.instanceId, response.completionToken = request.instanceId, item.completionToken
        self._session.complete_orchestrator(response)

    def _activity(self, item: pb.WorkItem) -> None:
        request = item.activityRequest
        response = pb.ActivityResponse(
            instanceId=request.orchestrationInstance.instanceId,
            taskId=request.taskId,
            completionToken=item.completionToken,
        )
        payload = json.loads(request.input.value)
        self.calls.append(Call(request.name, self._clock.now(), payload))
        if cue := self._cues.pop(request.name, None):
            cue()
        try:
            response.result.CopyFrom(StringValue(value=json.dumps(self._answer(request.name, payload))))
        except RuntimeError as crash:
            response.failureDetails.CopyFrom(Failure.of(crash).details())
        self._session.complete_activity(response)

    def _answer(self, step: str, payload: Any) -> dict[str, Any]:
        try:
            usual: Answer = self._usual(
                step, payload
            )  # also where a script answers: the request reached Azure
        except AppError as refused:
            usual = refused
        script = self._scripts.get(step)
        answer: Answer = script.popleft() if script else usual
        if isinstance(answer, AppError):
            return wire.failure(answer)
        if isinstance(answer, Exception):
            raise answer
        return wire.answer(answer)


@contextmanager
def stage(usual: Callable[[str, Any], Wire]) -> Iterator[Stage]:
    clock = VirtualClock()
    with TaskHub.open(None, clock=clock) as hub:
        yield Stage(hub, clock, usual)


def at_least(seconds: float, moments: Sequence[datetime]) -> bool:
    """Whether the last of two moments came no sooner than `seconds` after the first."""
    return moments[-1] - moments[0] >= timedelta(seconds=seconds)
