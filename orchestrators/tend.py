"""Upkeep of endpoints between rollouts: what must happen whether or not any run remembers to do it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from shared.domain.deploy import EndpointRecord, FreeRequest, HoldRequest
from shared.domain.errors import AppError, ConflictError
from shared.domain.fence import TEND_WITHIN, TENDER
from shared.domain.serving import TrafficChange
from shared.domain.tending import Chore, TendReport, TendRequest
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps


@orchestrator(contracts.TEND_ENDPOINTS)
def tend_endpoints(flow: Flow, request: TendRequest) -> Steps[TendReport]:
    """Take one step for every endpoint that needs one.

    1. A rollout that was lost: take its endpoint over, so that it can write no more, and set the last good map again.
       A later pass reads it back and lets the endpoint go, or in the end freezes it.
    2. What stands by past its time, blue after its hold or a failed green: delete it.
    It never waits for Azure: the next pass, a minute later, sees what is left. One endpoint's trouble stops no other.
    """
    found = yield from flow.call(contracts.LIST_LOST_ROLLOUTS, request)
    # Every pass is a chain of its own: one follows the other under one instance id, and one may be at work beside it.
    beside = flow.instance_id.partition(TENDER)[2]
    trail = AuditTrail(flow, who="tender", chain=f"tend{beside}-{found.now:%Y%m%dT%H%M%SZ}")
    done: Counter[str] = Counter()
    failed = list(found.failed)
    for chore in found.chores:
        try:
            yield from _do(flow, trail, chore, found.now)
            done[chore.kind] += 1
        except AppError as error:
            failed.append(f"{chore.endpoint}: {chore.kind} {chore.deployment}: {error}"[:300])
    return TendReport(
        restored=done["restore"],
        retired=done["retire"],
        freed=done["free"],
        failed=tuple(failed[:20]),
        alive=found.alive,
    )


def _do(flow: Flow, trail: AuditTrail, chore: Chore, now: datetime) -> Steps[None]:
    if chore.kind == "retire":
        yield from flow.call(contracts.RETIRE_DEPLOYMENT, chore, tries=1)
        yield from trail.write("deployment deleted", f"{chore.endpoint}/{chore.deployment}", why=chore.reason)
        return
    record = yield from _hold(flow, trail, chore, now)
    if chore.kind == "restore":
        change = TrafficChange(
            platform=chore.platform, endpoint=chore.endpoint, weights=chore.weights, epoch=record.epoch,
            run=TENDER, clears=not any(chore.weights.values()),
        )  # fmt: skip
        yield from flow.call(contracts.SET_TRAFFIC, change, tries=1)
        after = str(chore.weights or "no traffic")
        yield from trail.write("traffic written", chore.endpoint, why=f"restore: {chore.reason}", after=after)
        return
    frozen = chore.reason if chore.kind == "freeze" else ""
    yield from flow.call(
        contracts.FREE_ENDPOINT,
        FreeRequest(
            endpoint=chore.endpoint,
            run=TENDER,
            epoch=record.epoch,
            at=now,
            frozen=frozen,
            forget_live=chore.is_gone,
        ),
    )
    what = "endpoint frozen" if frozen else "endpoint freed"
    yield from trail.write(what, chore.endpoint, why=chore.reason, before=f"held for {chore.run}")


def _hold(flow: Flow, trail: AuditTrail, chore: Chore, now: datetime) -> Steps[EndpointRecord]:
    """Hold the endpoint in place of a lost run. Raises ConflictError if somebody took it since we looked."""
    asked = HoldRequest(
        endpoint=chore.endpoint, platform=chore.platform, workload="", run=TENDER, at=now, deadline=now + TEND_WITHIN,
        from_epoch=chore.epoch,
    )  # fmt: skip
    hold = yield from flow.call(contracts.HOLD_ENDPOINT, asked, tries=1)
    if not hold.granted:
        raise ConflictError(hold.reason, code="Taken", target=chore.endpoint)
    if hold.record.epoch != chore.epoch:
        after = f"epoch {hold.record.epoch}"
        yield from trail.write(
            "endpoint taken over", chore.endpoint, why=chore.reason, before=chore.run, after=after
        )
    return hold.record
