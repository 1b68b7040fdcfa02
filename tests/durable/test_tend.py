"""Upkeep of endpoints: a lost rollout is taken back under a new epoch, and what stands by too long goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain import fence
from shared.domain.deploy import EndpointRecord, FreeRequest, HoldRequest, KeptDeployment
from shared.domain.errors import ConflictError, DeniedError, TransientError
from shared.domain.fence import TENDER
from shared.domain.names import deployment_name
from shared.domain.serving import DeploymentState, TrafficChange
from shared.domain.tending import Chore, Chores, TendReport, TendRequest
from shared.durable import contracts
from tests.durable.serving_day import BLUE, RUN, ServingDay, on_stage
from tests.durable.stage import Stage

GREEN = deployment_name(RUN)
MIXED = {BLUE.name: 50, GREEN: 50}
BEGAN = datetime(2026, 3, 1, 1, 0, tzinfo=UTC)


@pytest.fixture
def day() -> ServingDay:
    """A rollout in its second step, whose run is lost."""
    day = ServingDay()
    day.record = day.record.model_copy(
        update={"holder": RUN, "epoch": 3, "deadline": BEGAN + timedelta(hours=9), "is_saved": True,
                "last_good": {BLUE.name: 100}},
    )  # fmt: skip
    day.deployments[GREEN], day.traffic, day.epoch = DeploymentState.READY, MIXED, 3
    return day


@pytest.fixture
def azure(day: ServingDay) -> Iterator[Stage]:
    with on_stage(day) as made:
        yield made


def _pass(azure: Stage, *over: str) -> TendReport:
    azure._clock.advance(timedelta(minutes=1))
    return azure.outcome(contracts.TEND_ENDPOINTS, TendRequest(owners_over=over), "tend-endpoints")


def test_a_lost_rollout_is_taken_back_read_back_and_let_go(azure: Stage, day: ServingDay) -> None:
    assert _pass(azure, RUN).restored == 1
    assert day.traffic == {BLUE.name: 100} and (day.record.holder, day.record.epoch) == (TENDER, 4)

    assert _pass(azure, RUN).freed == 1
    assert day.record.holder is None and day.record.live == BLUE

    for _ in range(12):  # what it left behind is found in a sweep
        _pass(azure, RUN)
    assert day.deployments.keys() == {BLUE.name}


def test_a_rollout_that_is_at_work_is_left_alone_until_its_deadline(azure: Stage, day: ServingDay) -> None:
    assert _pass(azure) == TendReport()
    azure._clock.move_to((BEGAN + timedelta(hours=9, minutes=4)).timestamp())
    assert _pass(azure).restored == 1


def test_the_map_is_written_again_even_where_it_shows_already(azure: Stage, day: ServingDay) -> None:
    """A write of the lost run may be on its way: only what is read back under our own epoch counts."""
    day.traffic = {BLUE.name: 100}
    assert (_pass(azure, RUN).restored, day.epoch) == (1, 4)
    with pytest.raises(ConflictError):
        day.set_traffic(
            TrafficChange(platform="aks", endpoint="e", weights=MIXED, epoch=3, run=RUN).model_dump()
        )


@pytest.mark.parametrize("traffic", [{BLUE.name: 100}, {}])
def test_a_run_that_shifted_nothing_is_only_let_go(
    azure: Stage, day: ServingDay, traffic: dict[str, int]
) -> None:
    day.record, day.traffic = day.record.model_copy(update={"is_saved": False, "last_good": {}}), traffic
    assert _pass(azure, RUN).freed == 1
    assert day.maps == [] and day.record.holder is None


def test_a_lost_first_deployment_loses_its_traffic(azure: Stage, day: ServingDay) -> None:
    day.record = day.record.model_copy(update={"last_good": {}, "live": None})
    day.deployments, day.traffic = {GREEN: DeploymentState.READY}, {GREEN: 100}
    _pass(azure, RUN)
    assert day.traffic == {} and _pass(azure, RUN).freed == 1


def test_what_cannot_be_restored_freezes_in_the_end(azure: Stage, day: ServingDay) -> None:
    day.holds_writes = lambda _: True
    for _ in range(32):
        _pass(azure, RUN)
    assert day.record.frozen and day.record.commands and day.record.held_for == RUN
    assert _pass(azure, RUN) == TendReport()


def test_blue_goes_after_its_hold_and_not_before(azure: Stage, day: ServingDay) -> None:
    day.record = EndpointRecord(
        endpoint="flights-live", platform="aks", epoch=4, live=BLUE.model_copy(update={"name": GREEN}), previous=BLUE,
        hold_until=azure._clock.now() + timedelta(hours=1),
    )  # fmt: skip
    day.traffic = {GREEN: 100}
    for _ in range(11):  # among them one that sweeps
        assert _pass(azure).retired == 0
    assert day.record.previous == BLUE and BLUE.name in day.deployments

    azure._clock.advance(timedelta(hours=1))
    assert _pass(azure).retired == 1
    assert day.record.previous is None and day.deployments.keys() == {GREEN}


def test_a_failed_green_goes_when_its_time_is_over(azure: Stage, day: ServingDay) -> None:
    kept = KeptDeployment(deployment=BLUE.model_copy(update={"name": GREEN}), until=azure._clock.now())
    day.record = EndpointRecord(endpoint="flights-live", platform="aks", live=BLUE, kept=(kept,))
    day.traffic = {BLUE.name: 100}
    assert _pass(azure).retired == 1
    assert day.deployments.keys() == {BLUE.name} and day.record.kept == ()


def test_one_endpoint_s_trouble_is_not_the_others(azure: Stage, day: ServingDay) -> None:
    chores = [
        Chore(kind="retire", endpoint=f"e{n}", platform="aks", epoch=3, deployment=f"d{n}") for n in range(4)
    ]
    azure.script(contracts.LIST_LOST_ROLLOUTS, Chores(chores=tuple(chores), failed=("e9: 500",), now=BEGAN))
    gone = contracts.RETIRE_DEPLOYMENT.output(gone=True)
    azure.script(contracts.RETIRE_DEPLOYMENT, DeniedError("no role"), gone, TransientError("429"), gone)

    report = _pass(azure)

    assert (report.retired, len(report.failed)) == (2, 3)
    assert len(set(azure.when(contracts.RETIRE_DEPLOYMENT))) == 1  # a pass waits for nobody


def test_what_somebody_took_meanwhile_is_nobody_s_to_touch(azure: Stage, day: ServingDay) -> None:
    azure.script(
        contracts.LIST_LOST_ROLLOUTS,
        Chores(
            chores=(
                Chore(
                    kind="restore", endpoint="flights-live", platform="aks", epoch=2, weights={BLUE.name: 100}
                ),
            ),
            now=BEGAN,
        ),
    )
    assert _pass(azure).failed and day.maps == [] and day.record.holder == RUN


def _asked(run: str, **more: Any) -> HoldRequest:
    return HoldRequest(endpoint="e", platform="aks", workload="w", run=run, at=BEGAN, deadline=BEGAN, **more)


def test_one_holder_at_a_time_and_epochs_that_strictly_rise() -> None:
    first = fence.hold(EndpointRecord(endpoint="e"), _asked("a"))
    assert first.granted and first.record.epoch == 1
    assert fence.hold(first.record, _asked("a")).record == first.record
    refused = fence.hold(first.record, _asked("b"))
    assert (refused.granted, refused.holder, refused.record) == (False, "a", first.record)
    assert not fence.hold(first.record, _asked("b", resume=True)).granted  # only what is frozen is resumed

    freed = fence.free(first.record, FreeRequest(endpoint="e", run="a", epoch=1, at=BEGAN))
    second = fence.hold(freed, _asked("b"))
    assert second.granted and second.record.epoch == 2
    late = FreeRequest(endpoint="e", run="a", epoch=1, at=BEGAN)
    assert fence.free(second.record, late) == second.record


def test_what_was_last_good_is_the_holder_s_own_or_the_one_s_he_took_over_from() -> None:
    held = fence.hold(EndpointRecord(endpoint="e"), _asked("a")).record
    saved = held.model_copy(update={"last_good": {"blue": 100}, "is_saved": True})
    taken = fence.hold(saved, _asked(TENDER, from_epoch=1)).record
    assert (taken.last_good, taken.held_for, taken.epoch) == ({"blue": 100}, "a", 2)
    assert not fence.hold(taken, _asked("b", from_epoch=1)).granted

    freed = fence.free(taken, FreeRequest(endpoint="e", run=TENDER, epoch=2, at=BEGAN))
    fresh = fence.hold(freed.model_copy(update={"last_good": {"old": 100}}), _asked("b")).record
    assert (fresh.last_good, fresh.is_saved, fresh.held_for) == ({}, False, "")
