"""A machine held for as long as a piece of work lasts: the first of three guarantees that none is forgotten.

The second is in the creating request (tags, the platform's own brake), the third is `reap_leases`. Each assumes that
the one before it failed. Release is never in a `finally`: between replays the runtime drops the generator, and a
`finally` would run while the job is merely waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.cost import Charge, charge
from shared.domain.errors import AppError, CapacityError, LeaseLost, TransientError
from shared.domain.lease import (
    Lease,
    LeaseClosing,
    LeaseOpening,
    Machine,
    MachineState,
    Operation,
    OwnedResource,
    Remains,
)
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.contracts import Step
from shared.durable.flow import DEFAULT_RETRY_AFTER_S, Flow, Steps

BOOT_DEADLINE = timedelta(minutes=15)  # Karpenter deletes a machine that has not registered by then
RELEASE_DEADLINE = timedelta(minutes=20)
THROTTLED_DEADLINE = timedelta(hours=1)
THROTTLED_ROUNDS = 4  # of eight tries each: the history stays bounded where Azure asks for waits of a second
LOOKS_PER_REQUEST = 12
AFTER_REFUSAL_S = 15.0
CONFIRM_AFTER_S = 30.0  # ARM's reads may lag its writes: gone means gone in two looks this far apart


@dataclass
class Held:
    """What the caller learns of a lease, also when the body failed."""

    charge: Charge | None = None
    remains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Released:
    """`stopped` is when compute was read back as no longer billing, and never again as billing."""

    remains: Remains
    stopped: datetime


def leased[T](
    flow: Flow, trail: AuditTrail, lease: Lease, held: Held, body: Callable[[Lease], Steps[T]]
) -> Steps[T]:
    """Provision `lease`, run `body` on it, release it. Raises what the body raised, after the release.

    The machine is released whatever happened, also when it was only half made. What could not be taken away is in
    `held.remains`; it does not change the result of the body, and the reaper owns it.
    """
    since = flow.now
    yield from flow.call(contracts.OPEN_LEASE, LeaseOpening(lease=lease, at=since))
    yield from trail.write("lease opened", lease.id, why=str(lease.offer), before="absent")
    try:
        yield from provision(flow, lease)
        yield from trail.write("machine ready", lease.id, before="creating", after="ready")
        result = yield from body(lease)
    except Exception as error:
        flow.note("body failed, releasing", lease=lease.id, error=str(error))
        yield from _release_and_record(
            flow, trail, lease, held, since, why=f"{type(error).__name__}: {error}"
        )
        raise
    yield from _release_and_record(flow, trail, lease, held, since, why="work done")
    return result


def provision(flow: Flow, lease: Lease) -> Steps[Machine]:
    """Create the lease's machine and wait until it is ready. Raises CapacityError, LeaseLost after the boot deadline."""
    flow.status("provisioning", waiting_for=f"create {lease.offer}", lease=lease.id, billing_since=flow.now,
                usd_per_hour=lease.offer.usd_per_hour * lease.nodes)  # fmt: skip
    operation = yield from _begin(flow, lease)
    deadline, poll_s = min(flow.now + BOOT_DEADLINE, lease.deadline), operation.poll_after_s
    while True:
        flow.status("provisioning", waiting_for=f"{lease.offer} to be ready", next_look_s=poll_s)
        yield from flow.rest(poll_s)
        machine = yield from flow.call(contracts.OBSERVE_MACHINE, lease)
        if machine.state is MachineState.READY:
            flow.status("ready", machine=lease.offer.size)
            return machine
        if flow.now >= deadline:
            raise LeaseLost(
                f"{lease.offer} was not ready by {deadline.isoformat()}: last seen {machine.state}"
            )
        poll_s = machine.poll_after_s


def _begin(flow: Flow, lease: Lease) -> Steps[Operation]:
    """Ask for the machine, for as long as a throttled Azure may take to listen again.

    Nothing is bought while it does not listen, so patience is free and a failed night is not; but its limits are those of
    one region, so in the end it is no room here (CapacityError), and the next offer may be in another one.
    """
    patience_ends = min(flow.now + THROTTLED_DEADLINE, lease.deadline)
    for _ in range(THROTTLED_ROUNDS):
        try:
            return (yield from flow.call(contracts.BEGIN_PROVISION, lease))
        except TransientError as error:
            refused = error
        if flow.now >= patience_ends:
            break
        flow.status("provisioning", waiting_for=f"Azure to take requests again: {refused}")
        yield from flow.rest(refused.retry_after_s or DEFAULT_RETRY_AFTER_S)
    raise CapacityError(f"{lease.offer}: never answered: {refused}", code=refused.code, target=refused.target)


def release(flow: Flow, lease: Lease) -> Steps[Released]:
    """Deallocate, delete, and look until nothing is left, twice. Gives what is left at the release deadline.

    Level-triggered: every refusal (409, 429) is answered by looking again, never taken for done or for hopeless.
    """
    yield from flow.sit_out_the_rest()
    deadline = flow.now + RELEASE_DEADLINE
    meter = _Meter()
    look_in_s = yield from _try(flow, contracts.BEGIN_RELEASE, lease)
    remains = yield from _watch(
        flow, lease, meter, look_in_s, deadline, "deallocation", lambda left: not left.bills_compute
    )
    while not remains.is_gone and flow.now < deadline:
        look_in_s = yield from _try(flow, contracts.BEGIN_DELETE, lease)
        remains = yield from _watch(
            flow, lease, meter, look_in_s, deadline, "deletion", lambda left: left.is_gone
        )
        if remains.is_gone:
            yield from flow.sleep(CONFIRM_AFTER_S)
            remains = yield from _look(flow, lease, contracts.CONFIRM_RELEASE)
    return Released(remains=remains, stopped=meter.stopped or flow.now)


@dataclass
class _Meter:
    """Since when no look has found the machine billing. A single 404 may be wrong, and a deallocation refused."""

    stopped: datetime | None = None

    def note(self, remains: Remains, at: datetime) -> None:
        self.stopped = None if remains.bills_compute else self.stopped or at


def _watch(
    flow: Flow,
    lease: Lease,
    meter: _Meter,
    look_in_s: float,
    deadline: datetime,
    what: str,
    is_over: Callable[[Remains], bool],
) -> Steps[Remains]:
    """Look a dozen times at most, until `is_over` or the deadline; the caller asks Azure again or gives up."""
    remains = Remains()
    for _ in range(LOOKS_PER_REQUEST):
        flow.status("releasing", waiting_for=f"{what} of {lease.offer}", next_look_s=look_in_s)
        yield from flow.sleep(look_in_s)
        remains = yield from _look(flow, lease)
        meter.note(remains, flow.now)
        if is_over(remains) or flow.now >= deadline:
            break
        look_in_s = remains.poll_after_s
    return remains


def _look(flow: Flow, lease: Lease, step: Step[Lease, Remains] = contracts.OBSERVE_RELEASE) -> Steps[Remains]:
    """One look; a look that Azure refused counts as "still there", so that nothing is believed gone unseen."""
    try:
        return (yield from flow.call(step, lease))
    except AppError as error:
        flow.note("cannot see the release", lease=lease.id, error=str(error))
        unseen = OwnedResource(id=f"unseen/{lease.id}", type=str(error)[:200])
        return Remains(resources=(unseen,), machine=MachineState.READY)


def _try(flow: Flow, step: Step[Lease, Operation], lease: Lease) -> Steps[float]:
    """Send a request of the release. Gives in how many seconds to look.

    A refusal is noted, not raised: the next look decides.
    """
    try:
        operation = yield from flow.call(step, lease)
    except AppError as error:
        flow.note("release refused, looking again", step=step.name, lease=lease.id, error=str(error))
        return AFTER_REFUSAL_S
    return operation.poll_after_s


def _release_and_record(
    flow: Flow, trail: AuditTrail, lease: Lease, held: Held, since: datetime, *, why: str
) -> Steps[None]:
    released = yield from release(flow, lease)
    held.remains = () if released.remains.is_gone else released.remains.names(lease)
    held.charge = charge(lease, since=since, until=released.stopped, gone=flow.now)
    yield from flow.call(contracts.CLOSE_LEASE, LeaseClosing(lease=lease, at=flow.now, remains=held.remains))
    after = f"{len(held.remains)} resources left" if held.remains else "absent"
    yield from trail.write("lease closed", lease.id, why=why, before="held", after=after)
    flow.status("released", billing_since=None, usd_per_hour=0.0, spent_usd=held.charge.usd)
