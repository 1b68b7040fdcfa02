"""The fence around an endpoint: upkeep takes over what is lost, and nothing that came to its end while it looked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.domain import fence
from shared.domain.deploy import CommitRequest, DeploymentRef, EndpointRecord, HoldRequest, LastGood

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RUN = "deploy-live-key-0123456789abcdef"


def asked(run: str, *, from_epoch: int | None = None) -> HoldRequest:
    return HoldRequest(
        endpoint="live", platform="aks", workload="live", run=run, at=NOW, deadline=NOW + timedelta(hours=1),
        from_epoch=from_epoch,
    )  # fmt: skip


def held() -> EndpointRecord:
    record = fence.hold(EndpointRecord(endpoint="live"), asked(RUN)).record
    return fence.save_last_good(record, LastGood(endpoint="live", run=RUN, epoch=1, weights={"blue": 100}))


def test_a_lost_run_is_taken_over_with_the_map_that_it_saved() -> None:
    taken = fence.hold(held(), asked(fence.TENDER, from_epoch=1))

    assert taken.granted
    assert (taken.record.epoch, taken.record.held_for, taken.record.last_good) == (2, RUN, {"blue": 100})


def test_a_run_that_committed_while_upkeep_looked_is_not_taken_over() -> None:
    """The commit leaves the epoch as it was: the holder alone tells that nothing is lost."""
    green = DeploymentRef(name="green", model="m:2", run=RUN)
    committed = fence.commit(held(), CommitRequest(endpoint="live", run=RUN, epoch=1, live=green, at=NOW))

    late = fence.hold(committed, asked(fence.TENDER, from_epoch=1))

    assert not late.granted and "let it go" in late.reason
    assert late.record == committed
