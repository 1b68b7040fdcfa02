"""A pass of the reaper: one step for everything that is nobody's, whatever is refused on the way."""

from __future__ import annotations

from shared.domain.errors import ConflictError, DeniedError
from shared.domain.lease import Lease, OwnedResource
from shared.domain.upkeep import REAPER, Overdue, ReapReport, ReapRequest, Removal
from shared.durable import contracts
from tests.durable.night import OFFERS, REAPED, Night
from tests.durable.stage import Stage

REMOVALS = tuple(
    Removal(platform="dsvm", resource=OwnedResource(id=f"/x/vm-{n}", type="vm"), reason="its owner is over")
    for n in range(3)
)
SETTLED = Lease(id="ab" * 8, owner="score-a", epoch=1, platform="dsvm", offer=OFFERS[0], deadline=REAPED)


def _pass(azure: Stage, instance: str = REAPER) -> ReapReport:
    azure.script(contracts.LIST_LEASES, Overdue(removals=REMOVALS, settled=(SETTLED,), alive=1, now=REAPED))
    return azure.outcome(contracts.REAP_LEASES, ReapRequest(), instance)


def test_a_pass_asks_once_for_everything_and_waits_for_nothing(azure: Stage) -> None:
    report = _pass(azure)

    assert (report.removed, report.settled, report.failed, report.alive) == (3, 1, (), 1)
    assert [removal.resource for removal in azure.of(contracts.REMOVE_RESOURCE)] == [
        r.resource for r in REMOVALS
    ]
    assert len(set(azure.when(contracts.REMOVE_RESOURCE))) == 1


def test_what_cannot_be_removed_does_not_keep_the_rest(azure: Stage) -> None:
    azure.script(contracts.REMOVE_RESOURCE, ConflictError("not ours"), DeniedError("no role"))

    report = _pass(azure)

    assert (report.removed, report.settled, len(report.failed)) == (1, 1, 2)
    assert len(azure.of(contracts.SETTLE_LEASE)) == 1


def test_every_pass_writes_a_chain_of_its_own(azure: Stage, night: Night) -> None:
    _pass(azure)

    assert [(e.chain, e.seq, e.target) for e in azure.of(contracts.AUDIT)] == [
        ("reap-20260301T050030Z", n + 1, removal.resource.id) for n, removal in enumerate(REMOVALS)
    ]


def test_passes_at_work_side_by_side_write_chains_of_their_own(azure: Stage) -> None:
    _pass(azure, f"{REAPER}-2")

    assert {e.chain for e in azure.of(contracts.AUDIT)} == {"reap-2-20260301T050030Z"}
