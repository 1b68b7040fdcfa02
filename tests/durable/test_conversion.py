"""A model converted before it is served: on one machine, released whatever happens, the endpoint untouched till then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shared.domain.deploy import DeployOutcome, DeployState
from shared.domain.errors import JobFailed, SpecError
from shared.domain.jobs import JobGlance, JobsReport, JobState
from shared.domain.offers import Headroom, HeadroomReport
from shared.durable import contracts
from tests.durable.converting_day import ONNX, ConvertingDay
from tests.durable.drift_night import FAILED, LOST
from tests.durable.night import OFFERS
from tests.durable.serving_day import MODEL, RUN, ServingDay, end_of, on_stage
from tests.durable.stage import Stage
from tests.support.conversions import conversion

AT_THE_ENDPOINT = (
    contracts.CHECK_TARGET,
    contracts.BEGIN_ENDPOINT,
    contracts.BEGIN_DEPLOYMENT,
    contracts.SET_TRAFFIC,
)
MACHINE = (contracts.OPEN_LEASE, contracts.BEGIN_PROVISION, contracts.SUBMIT_JOB)


@pytest.fixture
def day() -> ConvertingDay:
    return ConvertingDay()


@pytest.fixture
def azure(day: ConvertingDay) -> Iterator[Stage]:
    with on_stage(day) as made:
        yield made


def _end(azure: Stage, day: ServingDay, **changes: Any) -> DeployOutcome:
    approval = changes.pop("approval", {"required": False})
    outcome = end_of(azure, day, conversion=conversion(**changes), approval=approval)
    opened, closed = azure.of(contracts.OPEN_LEASE), azure.of(contracts.CLOSE_LEASE)
    assert [each.lease.epoch for each in opened] == [each.lease.epoch for each in closed]
    return outcome


def test_green_serves_the_converted_model_and_a_person_agrees_to_its_digest(
    azure: Stage, day: ConvertingDay
) -> None:
    day.answer = "approve"

    outcome = _end(azure, day, approval={"required": True})

    assert (outcome.state, outcome.model, outcome.model_sha256) == (
        DeployState.COMPLETED,
        str(ONNX),
        ONNX.sha256,
    )
    (asked,) = azure.of(contracts.ASK_APPROVAL)
    assert (asked.model, asked.model_sha256) == (str(ONNX), ONNX.sha256)
    assert any("2e-07 apart" in row for row in asked.rows)
    assert {probe.model for probe in azure.of(contracts.RUN_PROBE)} == {ONNX}
    (plan,) = azure.of(contracts.PLAN_DEPLOYMENT)
    assert (plan.model, plan.asset) == (ONNX, "azureml:m:2-onnx")
    (opening,) = azure.of(contracts.OPEN_LEASE)
    assert opening.lease.owner == RUN and opening.lease.deadline > opening.at
    assert outcome.conversion and outcome.conversion.converted and outcome.conversion.usd > 0
    assert (
        outcome.usd == pytest.approx(sum(each.usd for each in outcome.charges)) and len(outcome.charges) == 2
    )
    order = azure.steps(contracts.CLOSE_LEASE, contracts.KEEP_CONVERSION, *AT_THE_ENDPOINT)
    assert order[:3] == ["close_lease", "keep_conversion", "check_target"]


def test_without_the_declaration_nothing_is_converted(azure: Stage, day: ConvertingDay) -> None:
    assert end_of(azure, day).conversion is None
    assert azure.steps(contracts.PREPARE_CONVERSION, *MACHINE) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"max_abs_difference": 0.01}, "largest difference: 0.01"),
        ({"error": "cannot be converted: SplineTransformer", "file": None}, "SplineTransformer"),
        ({"rows": 3}, "rows compared: 3"),
        ({"not_finite": 2}, "no finite number: 2"),
    ],
)
def test_what_does_not_pass_ends_the_deployment_before_anything_is_at_the_endpoint(
    azure: Stage, day: ConvertingDay, found: dict[str, Any], said: str
) -> None:
    day.found = found

    outcome = _end(azure, day)

    assert outcome.state is DeployState.FAILED and said in outcome.reason
    assert outcome.usd > 0 and outcome.conversion and not outcome.conversion.converted
    assert azure.steps(*AT_THE_ENDPOINT) == []


def test_where_it_is_declared_so_the_original_is_served_and_everybody_is_told(
    azure: Stage, day: ConvertingDay
) -> None:
    day.found = {"label_flips": 9}

    outcome = _end(azure, day, onFailure="serve-original")

    assert (outcome.state, outcome.model_sha256) == (DeployState.COMPLETED, MODEL.sha256)
    assert outcome.conversion and "labels flipped at 0.5: 9" in outcome.conversion.reason
    assert any("is not converted" in line for line in outcome.steps)


def test_a_record_of_the_same_version_is_used_again_and_no_machine_is_bought(
    azure: Stage, day: ConvertingDay
) -> None:
    day.is_done = True

    outcome = _end(azure, day)

    assert (outcome.state, outcome.model) == (DeployState.COMPLETED, str(ONNX))
    assert outcome.conversion and outcome.conversion.reused and outcome.conversion.usd == 0
    assert azure.steps(*MACHINE) == []


def test_a_model_that_is_onnx_already_needs_no_machine(azure: Stage, day: ConvertingDay) -> None:
    azure.script(contracts.READ_MODEL, ONNX)

    assert _end(azure, day).state is DeployState.COMPLETED
    assert azure.steps(contracts.PREPARE_CONVERSION, *MACHINE) == []


def test_a_machine_that_is_lost_is_replaced_by_one_of_a_new_epoch(azure: Stage, day: ConvertingDay) -> None:
    azure.script(contracts.OBSERVE_JOB, LOST)

    outcome = _end(azure, day)

    assert outcome.state is DeployState.COMPLETED and len(outcome.charges) == 3
    assert [each.lease.epoch for each in azure.of(contracts.OPEN_LEASE)] == [1, 2]


@pytest.mark.parametrize("on_failure", ["fail", "serve-original"])
def test_a_job_that_failed_is_told_with_its_bill(azure: Stage, day: ConvertingDay, on_failure: str) -> None:
    azure.script(contracts.OBSERVE_JOB, FAILED)

    outcome = _end(azure, day, onFailure=on_failure)

    assert (
        outcome.conversion and "convert-e1 failed" in outcome.conversion.reason and outcome.conversion.usd > 0
    )
    served = on_failure == "serve-original"
    assert outcome.state is (DeployState.COMPLETED if served else DeployState.FAILED)
    assert bool(azure.steps(*AT_THE_ENDPOINT)) == served


def test_what_could_cost_more_than_its_budget_is_not_bought(azure: Stage, day: ConvertingDay) -> None:
    outcome = _end(azure, day, limits={"deadline": "PT1H", "budgetUsd": 0.01})

    assert outcome.state is DeployState.FAILED and "budget" in outcome.reason
    assert azure.steps(*MACHINE, *AT_THE_ENDPOINT) == []


def test_no_room_for_the_machine_ends_it_at_no_cost(azure: Stage, day: ConvertingDay) -> None:
    full = tuple(Headroom(offer=offer, available=False, reason="quota") for offer in OFFERS)
    azure.script(contracts.CHECK_HEADROOM, HeadroomReport(looks=full))

    outcome = _end(azure, day)

    assert outcome.state is DeployState.FAILED and "no offer has room" in outcome.reason and outcome.usd == 0


def test_a_cancellation_while_the_machine_works_is_no_conversion_that_failed(
    azure: Stage, day: ConvertingDay
) -> None:
    going = JobsReport(jobs=(JobGlance(id="convert-e1", state=JobState.RUNNING),))
    azure.script(contracts.OBSERVE_JOBS, going, going.model_copy(update={"cancel_requested": True}))

    outcome = _end(azure, day, onFailure="serve-original")

    assert outcome.state is DeployState.CANCELLED and outcome.usd > 0
    assert azure.steps(*AT_THE_ENDPOINT) == []


def test_an_empty_sample_ends_it(azure: Stage, day: ConvertingDay) -> None:
    azure.script(contracts.PREPARE_CONVERSION, SpecError("conversion.parity.sample: no blob"))
    assert "no blob" in _end(azure, day).reason


def test_a_machine_that_left_no_record_is_a_failed_conversion(azure: Stage, day: ConvertingDay) -> None:
    azure.script(contracts.KEEP_CONVERSION, JobFailed("the job ended well, and left no record"))

    outcome = _end(azure, day)

    assert outcome.state is DeployState.FAILED and "left no record" in outcome.reason
    assert azure.steps(*AT_THE_ENDPOINT) == []
