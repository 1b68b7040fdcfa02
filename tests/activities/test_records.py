"""The app's own records: written once, the same twice is one, another one is refused."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from activities import data, leases
from shared.azure import blob, ledger
from shared.domain.audit import GENESIS, AuditEntry
from shared.domain.cost import RunCost
from shared.domain.errors import ConflictError
from shared.domain.lease import Lease, LeaseClosing, LeaseOpening
from shared.domain.scoring import RunOutcome, RunState
from shared.platforms import platforms
from tests.support.cloud import Cloud


@pytest.fixture
def lease(cloud: Cloud) -> Lease:
    return cloud.lease(platforms()["dsvm"])


def _open(cloud: Cloud, lease: Lease) -> None:
    leases.open_lease(LeaseOpening(lease=lease, at=cloud.clock.now()))


def _is_open(lease: Lease) -> bool:
    return lease in [opening.lease for opening in ledger.open_leases()]


@pytest.mark.usefixtures("cloud")
def test_a_run_s_outcome_and_cost_are_written_once() -> None:
    run = f"score-w-{uuid.uuid4().hex[:8]}"
    outcome = RunOutcome(run=run, workload="w", slot="s", state=RunState.FAILED, reason="quota")
    for _ in range(2):
        data.record_outcome(outcome)
        leases.record_cost(RunCost(run=run, usd=1.5))

    with pytest.raises(ConflictError):
        data.record_outcome(outcome.model_copy(update={"state": RunState.COMPLETED}))
    with pytest.raises(ConflictError):
        leases.record_cost(RunCost(run=run, usd=0.0))

    assert blob.read_json("muster", f"runs/{run}/outcome.json")["state"] == "Failed"


def test_no_audit_record_takes_another_s_number(cloud: Cloud) -> None:
    entry = AuditEntry(
        chain=uuid.uuid4().hex, seq=1, prev=GENESIS, at=cloud.clock.now(), who="test", what="w", target="t"
    )
    assert leases.write_audit(entry) == leases.write_audit(entry)

    with pytest.raises(ConflictError):
        leases.write_audit(entry.model_copy(update={"what": "something else"}))


def test_the_first_claim_wins_and_stands(cloud: Cloud) -> None:
    path = f"claims/{uuid.uuid4().hex}.json"

    assert [ledger.claim(path, {"by": 1}), ledger.claim(path, {"by": 2})] == [True, False]
    assert ledger.read(path) == {"by": 1}


def test_a_lease_is_open_until_it_is_closed_and_then_for_ever_closed(cloud: Cloud, lease: Lease) -> None:
    _open(cloud, lease)
    assert _is_open(lease) and not ledger.is_lease_closed(lease)

    for _ in range(2):
        leases.close_lease(LeaseClosing(lease=lease, at=cloud.clock.now()))

    assert ledger.is_lease_closed(lease) and not _is_open(lease)


def test_a_closed_epoch_says_nothing_of_the_next(cloud: Cloud, lease: Lease) -> None:
    leases.close_lease(LeaseClosing(lease=lease, at=cloud.clock.now()))

    assert not ledger.is_lease_closed(lease.model_copy(update={"epoch": lease.epoch + 1}))


def test_a_lease_that_left_something_stays_on_the_books_until_it_is_settled(
    cloud: Cloud, lease: Lease
) -> None:
    _open(cloud, lease)
    leases.close_lease(LeaseClosing(lease=lease, at=cloud.clock.now(), remains=("a NIC",)))
    assert ledger.is_lease_closed(lease) and _is_open(lease)

    later = cloud.clock.now() + timedelta(minutes=1)
    leases.settle_lease(LeaseClosing(lease=lease, at=later))

    assert not _is_open(lease)
