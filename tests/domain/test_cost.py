"""The account of the money."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.cost import RunCost, charge, worst_case_usd
from shared.domain.lease import Lease
from shared.domain.offers import Offer

START = datetime(2026, 3, 1, tzinfo=UTC)
OFFER = Offer(size="s", region="r", price_usd_per_hour=0.20, disk_usd_per_hour=0.02)
LEASE = Lease(id="ab" * 8, owner="run", epoch=1, platform="dsvm", offer=OFFER, deadline=START)


def minutes(count: float) -> datetime:
    return START + timedelta(minutes=count)


def test_the_machine_bills_until_deallocated_and_its_disk_until_deleted() -> None:
    assert charge(LEASE, since=START, until=minutes(30), gone=minutes(45)).usd == pytest.approx(0.10 + 0.015)


def test_every_node_is_charged() -> None:
    two = LEASE.model_copy(update={"nodes": 2})
    assert charge(two, since=START, until=minutes(60), gone=minutes(60)).usd == pytest.approx(0.44)


def test_time_that_runs_backwards_charges_nothing() -> None:
    assert charge(LEASE, since=START, until=minutes(-5), gone=minutes(-5)).usd == 0


def test_a_run_costs_what_its_machines_cost() -> None:
    charges = tuple(charge(LEASE, since=START, until=minutes(m), gone=minutes(m)) for m in (15, 30))
    assert RunCost.of("run", charges).usd == pytest.approx(sum(c.usd for c in charges))
    assert RunCost.of("run", ()).usd == 0


def test_the_worst_case_is_every_machine_for_its_whole_time() -> None:
    assert worst_case_usd(OFFER, machines=3, ttl_s=7200) == pytest.approx(0.22 * 3 * 2)
