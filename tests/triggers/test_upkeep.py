"""What starts a pass of upkeep and what does not, by the timer itself, on a hub whose clock the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from localdev.runner.hub import TaskHub
from shared.azure import endpoint_records, ledger
from shared.domain.deploy import EndpointRecord
from tests.crash import app
from tests.crash.clock import VirtualClock

KEPT = EndpointRecord(endpoint="e", platform="local")


class Upkeep:
    """The timer that starts passes. No activity is ever answered, so no pass ends before `end`."""

    def __init__(self, hub: TaskHub, clock: VirtualClock) -> None:
        self._hub, self._clock = hub, clock
        self._client = app.HubClient(lambda: hub, lambda _, effect: effect())
        self._session = hub.connect("test")

    def at_work(self) -> list[str]:
        return sorted(instance.id for instance in self._hub.query(statuses=(0, 6, 7))[0])

    def fire(self, *, after: timedelta = timedelta()) -> list[str]:
        """Fire the timer so much later. Gives what is at work then, in order."""
        self._clock.advance(after)
        app.run_timer("reap", self._clock.now(), self._client)
        return self.at_work()

    def step(self) -> None:
        """Every pass at work takes a step, though not its last."""
        for instance in self.at_work():
            self._hub.raise_event(instance, "heard by nobody", None)
        self._take_turns()

    def end(self, instance: str) -> None:
        """It alone; the others make no step by that."""
        self._hub.terminate(instance)
        self._take_turns()

    def _take_turns(self) -> None:
        while (item := self._session.next(0)) is not None:
            if item.HasField("orchestratorRequest"):
                response = app.run_turn(item.orchestratorRequest)
                response.instanceId = item.orchestratorRequest.instanceId
                response.completionToken = item.completionToken
                self._session.complete_orchestrator(response)


@pytest.fixture
def upkeep(tmp_path: Path) -> Iterator[Upkeep]:
    clock = VirtualClock()
    hub = TaskHub.open(tmp_path / "hub.sqlite", clock=clock)
    with (
        mock.patch.object(ledger, "open_leases", list),
        mock.patch.object(endpoint_records, "all_records", lambda: [KEPT]),
    ):
        yield Upkeep(hub, clock)
    hub.close()


def test_one_pass_of_each_is_at_work_while_it_makes_steps(upkeep: Upkeep) -> None:
    assert upkeep.fire() == ["reap-leases", "tend-endpoints"]
    for _ in range(3):
        upkeep.step()
        assert upkeep.fire(after=timedelta(minutes=1)) == ["reap-leases", "tend-endpoints"]


def test_a_pass_that_makes_no_step_does_not_keep_the_next(upkeep: Upkeep) -> None:
    """Its activity hangs, or the hub has lost it: machines must not wait for it."""
    upkeep.fire()
    upkeep.step()

    at_work = upkeep.fire(after=timedelta(minutes=2))

    assert at_work == ["reap-leases", "reap-leases-2", "tend-endpoints", "tend-endpoints-2"]
    assert upkeep.fire(after=timedelta(minutes=1)) == at_work


def test_passes_that_hang_do_not_pile_up(upkeep: Upkeep) -> None:
    for _ in range(20):
        at_work = upkeep.fire(after=timedelta(minutes=2))

    assert [each for each in at_work if "reap" in each] == ["reap-leases", "reap-leases-2", "reap-leases-3"]


def test_a_pass_beside_one_that_hangs_is_followed_by_the_next(upkeep: Upkeep) -> None:
    upkeep.fire()
    upkeep.step()
    upkeep.fire(after=timedelta(minutes=2))
    upkeep.end("reap-leases-2")

    assert "reap-leases-2" in upkeep.fire(after=timedelta(minutes=1))
