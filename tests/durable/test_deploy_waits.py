"""A person's word wakes a deployment at once, and yet Azure is left alone for as long as it asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.deploy import DeployState
from shared.durable import contracts
from shared.durable.contracts import Step
from tests.durable.serving_day import RUN, ServingDay, request
from tests.durable.stage import stage

# What is asked for, the time that the day's Azure names, and the look that comes next.
WAITS: tuple[tuple[Step[Any, Any], float, tuple[Step[Any, Any], ...]], ...] = (
    (contracts.BEGIN_ENDPOINT, 15, (contracts.READ_ENDPOINT, contracts.BEGIN_DELETION)),
    (contracts.BEGIN_DEPLOYMENT, 20, (contracts.OBSERVE_DEPLOYMENT, contracts.BEGIN_DELETION)),
    (contracts.SET_TRAFFIC, 10, (contracts.READ_STEP,)),
)


@pytest.mark.parametrize("stop", ["cancel", ""])
@pytest.mark.parametrize(("step", "named_s", "looks"), WAITS, ids=lambda each: getattr(each, "name", ""))
def test_word_that_comes_early_does_not_hurry_azure(
    step: Step[Any, Any], named_s: float, looks: tuple[Step[Any, Any], ...], stop: str
) -> None:
    day = ServingDay()
    with stage(day) as azure:
        day.now = azure._clock.now
        day.stop, day.stop_in = stop, step.name if stop else ""
        azure.wake_while(step, RUN)
        azure.run(contracts.DEPLOY_MODEL, request(), RUN)

    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)
    assert outcome.state is (DeployState.CANCELLED if stop else DeployState.COMPLETED)
    began = next(number for number, call in enumerate(azure.calls) if call.step == step.name)
    names = {look.name for look in looks}
    next_look = next((call.at for call in azure.calls[began + 1 :] if call.step in names), None)
    assert next_look is not None or stop
    assert next_look is None or next_look - azure.calls[began].at >= timedelta(seconds=named_s)
