"""A deployment that is served: its instances, the requests they have, and those that wait for one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from localdev.azuresim.machines import Machines
from localdev.azuresim.serving.instance import Instance, Place
from localdev.azuresim.serving.models import Health, Phase, ServedModel

_WORST_FIRST: tuple[Phase, ...] = ("out_of_memory", "crash_loop", "starting")
_LOG_LINES = 40  # of what an instance wrote, in a report of its health


class Deployment:
    """`acquire` gives an instance a request; in all, no instance gets more than `max_concurrent` at a time."""

    def __init__(self, name: str, served: ServedModel, machines: Machines, place: Place) -> None:
        self.name, self.served = name, served
        self.pending = 0
        self._instances = [Instance(machines, served, place) for _ in range(served.instances)]
        self._waiting: deque[asyncio.Future[Instance]] = deque()

    @property
    def capacity(self) -> int:
        return self.served.max_concurrent * self.served.instances

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self._instances)

    @property
    def is_up(self) -> bool:
        return any(each.port for each in self._instances)

    def owns(self, machine: str) -> bool:
        return any(each.id == machine for each in self._instances)

    def look(self) -> Phase:
        """Read how the instances are, and let those that came up take what waits."""
        phases = [each.look() for each in self._instances]
        for instance in self._instances:
            self._give_work(instance)
        return next((phase for phase in _WORST_FIRST if phase in phases), "running")

    def health(self) -> Health:
        return Health(self.look(), self.log(_LOG_LINES))

    def log(self, lines: int) -> str:
        """The last lines of all instances, one after the other."""
        logs = ["\n".join(each.log().splitlines()[-lines:]) for each in self._instances]
        if len(logs) == 1:
            return logs[0]
        pairs = zip(self._instances, logs, strict=True)
        return "\n".join(f"Instance: {each.id}\n{log}" for each, log in pairs)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around a request that was let in, whether it waits or is served."""
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    async def acquire(self) -> Instance:
        """The instance with the fewest requests that has room, in the order of asking. Give it back by `release`."""
        with_room = [each for each in self._instances if self._has_room(each)]
        if with_room and not self._waiting:
            chosen = min(with_room, key=lambda each: each.in_flight)
            chosen.in_flight += 1
            return chosen
        turn: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(turn.result())
            raise

    def release(self, instance: Instance) -> None:
        instance.in_flight -= 1
        self._give_work(instance)

    @property
    def is_over(self) -> bool:
        return all(each.is_over for each in self._instances)

    def terminate(self) -> None:
        """Ask its servers to end; look for `is_over`."""
        for instance in self._instances:
            instance.terminate()

    def destroy(self) -> None:
        for instance in self._instances:
            instance.destroy()

    def _has_room(self, instance: Instance) -> bool:
        return bool(instance.port) and instance.in_flight < self.served.max_concurrent

    def _give_work(self, instance: Instance) -> None:
        while self._waiting and self._has_room(instance):
            turn = self._waiting.popleft()
            if not turn.done():
                instance.in_flight += 1
                turn.set_result(instance)
