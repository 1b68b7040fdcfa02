"""Machines: one request or one look each. What a platform knows stays in shared/platforms."""

from __future__ import annotations

from shared.azure import classify, ledger
from shared.config import settings
from shared.domain.errors import Cancelled, LeaseLost, TransientError
from shared.domain.lease import Lease, Machine, MachineState, Operation, Remains
from shared.domain.offers import HeadroomQuery, HeadroomReport, Offer
from shared.domain.price_book import offers_for
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.platforms import platform


@activity(contracts.CHECK_HEADROOM)
def check_headroom(query: HeadroomQuery) -> HeadroomReport:
    """Quota and stock for every offer the declaration allows, in its order. Buys nothing."""
    where = platform(query.platform)
    offers: tuple[Offer, ...] = (Offer(size=where.name, region="here"),)
    if where.bills:
        offers = offers_for(query.sizes, query.regions or (settings().location,), query.priority)
    looks = where.provisioner.check_headroom(offers, query.nodes)
    return HeadroomReport(looks=looks, shares_machine=where.shares_machine)


@activity(contracts.BEGIN_PROVISION)
def begin_provision(lease: Lease) -> Operation:
    """Create the lease's machine, if the lease is still open and its run is not cancelled.

    A late copy of this call, delivered after the release, must not make a machine: so the record is read here, right
    before the request. What slips through that moment carries tags, and the reaper finds it.
    """
    if ledger.is_lease_closed(lease):
        raise LeaseLost(
            f"lease {lease.id} epoch {lease.epoch} is closed; nothing is created under it any more"
        )
    if ledger.is_cancel_requested(lease.owner):
        raise Cancelled(f"{lease.owner} is cancelled")
    return platform(lease.platform).provisioner.begin_provision(lease)


@activity(contracts.OBSERVE_MACHINE)
def observe_machine(lease: Lease) -> Machine:
    """Look once. Raises what Azure's refusal means if provisioning failed, LeaseLost if the machine is gone.

    A code that asks to wait is no reason to here: this machine has failed and stays so. Another one may be made.
    """
    machine = platform(lease.platform).provisioner.observe_machine(lease)
    if machine.state is MachineState.FAILED:
        error = classify.error_for(machine.code, machine.message, target=str(lease.offer))
        if isinstance(error, TransientError):
            raise LeaseLost(f"{lease.offer} could not be made: {error}", lease=lease.id)
        raise error
    if machine.state in (MachineState.DEALLOCATED, MachineState.DEALLOCATING, MachineState.DELETING):
        raise LeaseLost(f"{lease.offer} was {machine.state} before it was ready")
    return machine


@activity(contracts.BEGIN_RELEASE)
def begin_release(lease: Lease) -> Operation:
    """Deallocate: from here on it must stop billing."""
    return platform(lease.platform).provisioner.begin_release(lease) or Operation(poll_after_s=0.0)


@activity(contracts.BEGIN_DELETE)
def begin_delete(lease: Lease) -> Operation:
    """Delete the machine and everything that came with it."""
    return platform(lease.platform).provisioner.begin_delete(lease) or Operation(poll_after_s=0.0)


@activity(contracts.OBSERVE_RELEASE)
def observe_release(lease: Lease) -> Remains:
    """Look at the machine, and once it is gone at what it left behind."""
    provisioner = platform(lease.platform).provisioner
    machine = provisioner.observe_machine(lease)
    resources = provisioner.list_remains(lease) if machine.state is MachineState.ABSENT else ()
    return Remains(machine=machine.state, resources=resources, poll_after_s=machine.poll_after_s)


@activity(contracts.CONFIRM_RELEASE)
def confirm_release(lease: Lease) -> Remains:
    """A second look some time after the first, at everything that bears the lease's tags or names."""
    return Remains(resources=platform(lease.platform).provisioner.list_remains(lease))
