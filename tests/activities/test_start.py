"""Starting a run exactly once, whoever asks, however often, and whatever was cut off in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localdev.runner.hub import Status, TaskHub
from shared.azure import ledger
from shared.domain.scoring import ScoreRequest
from shared.durable import contracts
from shared.durable.client import Orchestrations
from shared.triggers.start import KeyReused, Started, start_forgotten, start_once
from tests.activities.runs import Run, workload
from tests.crash.app import HubClient, run_turn
from tests.crash.clock import VirtualClock
from tests.support.cloud import Cloud

RIVALS = 6


@pytest.fixture
def hub() -> Iterator[TaskHub]:
    with TaskHub.open(None, clock=VirtualClock()) as hub:
        yield hub


@pytest.fixture(autouse=True)
def nothing_waits(cloud: Cloud) -> None:
    """What other tests of this process have claimed and left would be started here."""
    for path in ledger.list_paths("claims/unstarted/"):
        ledger.delete(path)


@pytest.fixture
def orchestrations(hub: TaskHub) -> Orchestrations:
    return Orchestrations(_client(hub, lambda effect: effect()))


@pytest.fixture
def request_() -> ScoreRequest:
    return Run(workload()).request


def _client(hub: TaskHub, visit: Callable[[Callable[[], Any]], Any]) -> Any:
    return HubClient(lambda: hub, lambda _, effect: visit(effect))


def _crashing(hub: TaskHub) -> Orchestrations:
    """A client whose process dies when it is about to start something."""

    def die(_: Callable[[], Any]) -> Any:
        raise RuntimeError("killed")

    return Orchestrations(_client(hub, die))


def _terminate(hub: TaskHub, run: str) -> None:
    """To its end: a termination is a message, which a worker's next turn takes."""
    hub.terminate(run)
    session = hub.connect("worker")
    item: Any = session.next(0)
    response = run_turn(item.orchestratorRequest)
    response.instanceId, response.completionToken = run, item.completionToken
    session.complete_orchestrator(response)


def _instances(hub: TaskHub) -> list[str]:
    return [instance.id for instance in hub.query()[0]]


def test_a_run_starts_once_however_often_it_is_asked_for(
    hub: TaskHub, orchestrations: Orchestrations, request_: ScoreRequest
) -> None:
    answers = [asyncio.run(start_once(orchestrations, request_)) for _ in range(3)]

    assert answers == [Started(request_.run, fresh) for fresh in (True, False, False)]
    assert _instances(hub) == [request_.run]


def test_of_many_requests_under_one_key_at_one_moment_one_is_taken(
    hub: TaskHub, orchestrations: Orchestrations
) -> None:
    request = Run(workload()).request

    async def ask_all() -> list[Any]:
        asking = [start_once(orchestrations, request, fingerprint=f"body {n}") for n in range(RIVALS)]
        return await asyncio.gather(*asking, return_exceptions=True)

    answers = asyncio.run(ask_all())

    assert len([a for a in answers if isinstance(a, Started)]) == 1
    assert len([a for a in answers if isinstance(a, KeyReused)]) == RIVALS - 1
    assert _instances(hub) == [request.run]


def test_a_key_that_comes_with_another_request_is_refused(
    orchestrations: Orchestrations, request_: ScoreRequest
) -> None:
    asyncio.run(start_once(orchestrations, request_, fingerprint="one body"))

    with pytest.raises(KeyReused):
        asyncio.run(start_once(orchestrations, request_, fingerprint="another body"))

    assert not asyncio.run(start_once(orchestrations, request_, fingerprint="one body")).fresh


def test_a_claim_whose_start_was_cut_off_is_started_later(
    hub: TaskHub, orchestrations: Orchestrations, request_: ScoreRequest
) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        asyncio.run(start_once(_crashing(hub), request_))
    assert _instances(hub) == []

    assert request_.run in asyncio.run(start_forgotten(orchestrations))
    assert _instances(hub) == [request_.run]
    assert asyncio.run(start_forgotten(orchestrations)) == []


def test_a_run_that_ended_and_was_forgotten_by_the_hub_is_not_run_again(
    hub: TaskHub, orchestrations: Orchestrations, request_: ScoreRequest
) -> None:
    asyncio.run(start_once(orchestrations, request_))
    _terminate(hub, request_.run)
    hub.purge(request_.run)

    assert not asyncio.run(start_once(orchestrations, request_)).fresh
    assert _instances(hub) == []


def test_a_run_with_an_outcome_is_not_run_again_though_its_marker_was_left(
    hub: TaskHub, orchestrations: Orchestrations, request_: ScoreRequest
) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(start_once(_crashing(hub), request_))
    ledger.create(f"runs/{request_.run}/outcome.json", {"state": "Completed"})

    asyncio.run(start_forgotten(orchestrations))

    assert request_.run not in _instances(hub)


def test_an_instance_that_is_over_is_not_replaced_by_a_late_start(
    hub: TaskHub, orchestrations: Orchestrations, request_: ScoreRequest
) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(start_once(_crashing(hub), request_))
    asyncio.run(orchestrations.start(contracts.SCORE_BATCH, request_, request_.run))
    _terminate(hub, request_.run)

    asyncio.run(start_forgotten(orchestrations))

    found = hub.get_instance(request_.run)
    assert found is not None and found.status is Status.TERMINATED
