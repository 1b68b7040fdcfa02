"""An event is only a wake-up: whatever it is called and says, a deployment goes by what is on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from localdev.runner.hub import TaskHub
from shared.domain.deploy import DeployState
from shared.domain.wire import Wire
from shared.durable import contracts
from tests.durable.serving_day import BLUE, RUN, ServingDay, on_stage, request
from tests.durable.stage import Stage

NAMES = ("wake", "approve", "Approval", "resume-1", "cancel", "rollback")
WORDS: tuple[Any, ...] = (
    None, True, "approve", [], {"decision": "approve", "by": "bob", "number": 1},
    {"approval": {"decision": "approve", "by": "bob", "digest": "f" * 64}}, "x" * 9_000,
)  # fmt: skip


class ForgingDay(ServingDay):
    """Whoever can reach the host's webhook raises events whenever the run has asked a person: all shapes in turn."""

    hub: TaskHub

    def __init__(self) -> None:
        super().__init__()
        self.forged = 0
        self._shapes = [(name, json.dumps(word)) for name in NAMES for word in WORDS]

    def __call__(self, step: str, payload: Any) -> Wire:
        if self._asked and step in (contracts.READ_APPROVAL.name, contracts.READ_STEP.name):
            for name, word in self._shapes[self.forged : self.forged + 10]:
                self.hub.raise_event(RUN, name, word)
                self.forged += 1
        return super().__call__(step, payload)

    @property
    def told_all(self) -> bool:
        return self.forged == len(NAMES) * len(WORDS)


@pytest.fixture
def day() -> ForgingDay:
    return ForgingDay()


@pytest.fixture
def azure(day: ForgingDay) -> Iterator[Stage]:
    with on_stage(day) as made:
        day.hub = made._hub
        yield made


def test_forged_events_give_green_no_traffic(azure: Stage, day: ForgingDay) -> None:
    azure.run(contracts.DEPLOY_MODEL, request(approval={"required": True, "timeout": "PT4H"}), RUN)
    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)
    assert day.told_all and day.maps == []
    assert (outcome.state, outcome.approved_by) == (DeployState.REJECTED, "")
    assert "nobody approved" in outcome.reason


def test_forged_events_carry_no_rollout_over_a_pause(azure: Stage, day: ForgingDay) -> None:
    day.silent = True
    azure.run(contracts.DEPLOY_MODEL, request(), RUN)
    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)
    green = request().green
    assert day.told_all and outcome.state is DeployState.ROLLED_BACK
    assert day.maps == [{BLUE.name: 95, green: 5}, {BLUE.name: 100}]
