"""A deployment taken back: after its commit, or out of a rollout that froze, as often as it takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localdev.runner.hub import Status
from shared.domain.deploy import DeployOutcome, DeployState, RollBackRequest
from shared.domain.serving import TrafficChange
from shared.durable import contracts
from tests.durable.serving_day import BLUE, RUN, ServingDay, end_of, on_stage, request
from tests.durable.stage import Stage

GREEN = request().green


@pytest.fixture
def day() -> ServingDay:
    return ServingDay()


@pytest.fixture
def azure(day: ServingDay) -> Iterator[Stage]:
    with on_stage(day) as made:
        yield made


def test_a_map_that_cannot_be_restored_freezes_and_a_roll_back_resumes(azure: Stage, day: ServingDay) -> None:
    day.errors_at = {5: 0.5}
    day.holds_writes = lambda change: BLUE.name in change.weights and change.weights[BLUE.name] == 100
    ended = azure.run(contracts.DEPLOY_MODEL, request(), RUN)
    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)

    assert ended.status is Status.FAILED and outcome.state is DeployState.FROZEN and outcome.commands
    assert day.record.holder == RUN and day.record.frozen and day.record.last_good == {BLUE.name: 100}

    assert roll_back(azure, day).state is DeployState.FROZEN and day.record.epoch == 2
    day.holds_writes = lambda _: False
    assert roll_back(azure, day).state is DeployState.ROLLED_BACK
    assert day.traffic == {BLUE.name: 100} and day.record.live == BLUE
    assert day.record.holder is None and not day.record.frozen and day.record.epoch == 3
    assert len({(entry.chain, entry.seq) for entry in azure.of(contracts.AUDIT)}) == len(day.audit)


def roll_back(azure: Stage, day: ServingDay) -> DeployOutcome:
    run = f"rollback-{RUN}"
    asked = RollBackRequest(
        run=run,
        deploy_run=RUN,
        endpoint="flights-live",
        platform="aks",
        started_by="http:bob",
        reason="too slow",
    )
    azure.run(contracts.ROLL_BACK, asked, run)
    return azure.of(contracts.RECORD_DEPLOYMENT)[-1]


def test_a_committed_deployment_can_be_taken_back_once(azure: Stage, day: ServingDay) -> None:
    end_of(azure, day)
    assert roll_back(azure, day).state is DeployState.ROLLED_BACK
    assert day.traffic == {BLUE.name: 100} and day.record.live == BLUE and day.record.previous is None
    assert [each.deployment.name for each in day.record.kept] == [GREEN]

    again = roll_back(azure, day)
    assert again.state is DeployState.FAILED and "not what is live" in again.reason
    assert day.traffic == {BLUE.name: 100} and day.record.holder is None


def test_a_roll_back_that_froze_is_taken_up_and_says_who_is_live(azure: Stage, day: ServingDay) -> None:
    end_of(azure, day)
    day.holds_writes = lambda _: True
    assert roll_back(azure, day).state is DeployState.FROZEN and day.record.last_good == {BLUE.name: 100}

    day.holds_writes = lambda _: False
    assert roll_back(azure, day).state is DeployState.ROLLED_BACK
    assert day.traffic == {BLUE.name: 100} and day.record.live == BLUE and day.record.previous is None


def test_a_roll_back_to_a_blue_that_is_gone_changes_nothing(azure: Stage, day: ServingDay) -> None:
    end_of(azure, day)
    del day.deployments[BLUE.name]

    assert roll_back(azure, day).state is DeployState.FAILED
    assert day.traffic == {GREEN: 100} and day.record.live and day.record.live.name == GREEN


def test_an_endpoint_deleted_underneath_freezes_and_is_forgotten_by_a_roll_back(
    azure: Stage, day: ServingDay
) -> None:
    def vanish(change: TrafficChange) -> bool:
        day.exists, day.traffic, day.deployments = change.weights.get(GREEN) != 50, {}, {}
        return not day.exists

    day.holds_writes = lambda change: change.weights.get(GREEN) == 50 and vanish(change)
    azure.run(contracts.DEPLOY_MODEL, request(), RUN)
    assert azure.of(contracts.RECORD_DEPLOYMENT)[0].state is DeployState.FROZEN

    assert roll_back(azure, day).state is DeployState.ROLLED_BACK
    assert day.record.live is None and day.record.holder is None
