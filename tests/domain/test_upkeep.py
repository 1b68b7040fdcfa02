"""What the reaper takes: only what is nobody's, and that surely."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.lease import Lease, OwnedResource
from shared.domain.offers import Offer
from shared.domain.upkeep import GRACE, reason_to_remove

NOW = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)
LEASE = Lease(
    id="ab" * 8, owner="score-a-1", epoch=1, platform="dsvm", offer=Offer(size="s", region="r"), deadline=NOW
)


def machine(**tags: str) -> OwnedResource:
    return OwnedResource(
        id="/x/vm-1", type="Microsoft.Compute/virtualMachines", tags={**LEASE.tags("muster"), **tags}
    )


@pytest.mark.parametrize(
    "late, goes", [(timedelta(), False), (GRACE - timedelta(seconds=1), False), (GRACE, True)]
)
def test_a_machine_goes_when_its_deadline_and_the_grace_are_past(late: timedelta, goes: bool) -> None:
    assert (reason_to_remove(machine(), now=NOW + late, owners_over=frozenset()) is not None) is goes


def test_a_machine_whose_owner_is_over_goes_before_its_deadline() -> None:
    early = NOW - timedelta(hours=3)
    assert "score-a-1 is over" in (
        reason_to_remove(machine(), now=early, owners_over=frozenset({"score-a-1"})) or ""
    )
    assert reason_to_remove(machine(), now=early, owners_over=frozenset({"score-a-2"})) is None


def test_a_machine_whose_lease_is_closed_goes_at_once() -> None:
    early = NOW - timedelta(hours=3)
    reason = reason_to_remove(machine(), now=early, owners_over=frozenset(), is_closed=True)
    assert "closed under epoch 1" in (reason or "")


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00Z"])
def test_a_deadline_that_cannot_be_read_counts_as_past(text: str) -> None:
    reason = reason_to_remove(
        machine(**{"muster-deadline": text}), now=NOW - timedelta(days=1), owners_over=frozenset()
    )
    assert reason is not None and "unreadable" in reason


def test_a_deadline_without_a_zone_is_read_as_utc() -> None:
    tags = {"muster-deadline": "2026-03-01T05:00:00"}
    assert reason_to_remove(machine(**tags), now=NOW, owners_over=frozenset()) is None
    assert reason_to_remove(machine(**tags), now=NOW + GRACE, owners_over=frozenset()) is not None
