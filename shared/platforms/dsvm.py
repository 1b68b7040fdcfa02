"""A Data Science Virtual Machine per lease: one request a method, and nothing waited for.

ARM requests of a whole life, if every look comes after the wait it was told: create 3 (look, PUT, schedule), ready 2,
submit 1, deallocate 2, look 1, delete 3 (list, machine, schedule), gone 2 and again 1; each further look is one more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from node import package
from shared.azure import agent, compute, headroom, resources
from shared.azure.arm import SCHEDULES_API, Answer, log_fields, request, resource_id
from shared.azure.resources import DISK, NIC, PUBLIC_IP, SCHEDULE, VM
from shared.azure.vm_bodies import is_braked, run_command_body, schedule_body, vm_body
from shared.azure.vm_estate import is_ours, is_still_owned, owned_by, pieces_of, schedule_name, vm_name
from shared.azure.vm_looks import job_of, machine_of
from shared.config import settings
from shared.domain.errors import (
    ConflictError,
    LeaseLost,
    NotFoundError,
    PlatformError,
    SpecError,
    TransientError,
)
from shared.domain.jobs import JobLook, JobRequest, JobState
from shared.domain.lease import Inventory, Lease, Machine, MachineState, Operation, OwnedResource
from shared.domain.offers import Headroom, Offer
from shared.platforms.base import Platform

logger = logging.getLogger(__name__)

# Gallery images of the DSVM stay for twelve months (data-science-virtual-machine/release-notes), so the pin moves once
# a year. The image has no Marketplace plan, needs a disk of 150 GiB, and is used without a security type: its GPU
# driver is not signed for Secure Boot.
IMAGE = {"publisher": "microsoft-dsvm", "offer": "ubuntu-2204", "sku": "2204-gen2", "version": "25.06.18"}
OS_DISK_GIB = 150
OS_DISK_TYPE = "StandardSSD_LRS"

# The schedule that shuts a machine down knows a time of day, not a date: for a deadline a day or more ahead it would
# strike on the first day. The half hour is for rounding and for a service that is not punctual to the minute.
MAX_TTL = timedelta(hours=23, minutes=30)

# Where ARM names no time of its own, and at least so long before the first look: a DSVM boots in one to three minutes
# and deallocates in about one, and a look that can only find it at work is a request for nothing.
FIRST_BOOT_LOOK_S = 75.0
BOOT_POLL_S = 30.0
FIRST_RELEASE_LOOK_S = 40.0
RELEASE_POLL_S = 20.0
JOB_POLL_S = 30.0

_STOPPING = (MachineState.DEALLOCATING, MachineState.DELETING)


class Dsvm:
    """Provisioner and JobRunner of the `dsvm` platform. Stateless: everything is read from Azure."""

    def check_headroom(self, offers: Sequence[Offer], nodes: int) -> tuple[Headroom, ...]:
        """Quota and restrictions, two requests per region."""
        return headroom.check(offers, nodes)

    def begin_provision(self, lease: Lease) -> Operation:
        """Create the machine and its shutdown schedule, unless they are there and ours.

        Look first, then PUT with If-None-Match: a repeated call finds what the first one made, also when its answer was
        lost, and never changes a machine. Raises SpecError for a lease longer than a day, LeaseLost for one that is over,
        ConflictError for a machine of that name without the lease's tags.
        """
        name = vm_name(lease)
        seen = compute.get_vm(name)
        if seen.is_missing:
            _check_deadline(lease, seen)
            seen = _create(lease)
        elif not _is_ours(seen, lease):
            raise _foreign(seen, lease)
        self._put_brake(lease)
        return Operation(poll_after_s=max(seen.poll_after_s(BOOT_POLL_S), FIRST_BOOT_LOOK_S))

    def observe_machine(self, lease: Lease) -> Machine:
        """One look, and a second at the shutdown schedule before READY is said: no work without a brake.

        A machine of that name that is not ours counts as absent: this lease has none.
        """
        seen = compute.get_vm(vm_name(lease))
        if seen.is_missing or not _is_ours(seen, lease):
            return Machine(state=MachineState.ABSENT, poll_after_s=seen.poll_after_s(BOOT_POLL_S))
        machine = machine_of(seen.body, seen.poll_after_s(BOOT_POLL_S))
        if machine.state is MachineState.READY and not is_braked(_read_schedule(lease).body, lease):
            return machine.model_copy(
                update={
                    "state": MachineState.STARTING,
                    "message": "its shutdown schedule is missing or wrong",
                }
            )
        return machine

    def begin_release(self, lease: Lease) -> Operation | None:
        """Deallocate. "PowerState/stopped" still bills: only "deallocated" counts as released.

        Returns None if it is already gone or deallocated. Safe to repeat. Raises ConflictError if the machine carries
        another lease's tags; we never touch those.
        """
        seen = compute.get_vm(vm_name(lease))
        if seen.is_missing:
            return None
        if not _is_ours(seen, lease):
            raise _foreign(seen, lease)
        state = machine_of(seen.body, RELEASE_POLL_S).state
        if state is MachineState.DEALLOCATED:
            return None
        if state not in _STOPPING:
            seen = compute.begin_deallocate_vm(vm_name(lease))
            logger.info("deallocation begun", extra=log_fields(lease, seen))
        return Operation(poll_after_s=max(seen.poll_after_s(RELEASE_POLL_S), FIRST_RELEASE_LOOK_S))

    def begin_delete(self, lease: Lease) -> Operation | None:
        """Delete the machine; once it is gone, what its deletion left behind. Returns None when nothing is left.

        Call it when the machine was read back as deallocated: the schedule, which could still stop it, goes with it.
        Raises ConflictError, having touched nothing, if a piece's name is taken by something without our tags.
        """
        found, _ = resources.list_group()
        pieces = pieces_of(found, lease, settings().app)
        if not any(piece.type == VM for piece in pieces):
            # The list may lag: that the machine is gone is only believed from the machine itself.
            seen = compute.get_vm(vm_name(lease))
            if not seen.is_missing:
                if not _is_ours(seen, lease):
                    raise _foreign(seen, lease)
                machine = OwnedResource(id=seen.body["id"], type=VM, tags=resources.tags_of(seen.body))
                pieces.insert(0, machine)
        return _delete(pieces, lease) if pieces else None

    def list_remains(self, lease: Lease) -> tuple[OwnedResource, ...]:
        found, _ = resources.list_group()
        try:
            return tuple(pieces_of(found, lease, settings().app))
        except ConflictError:
            return tuple(each for each in found if is_ours(each.tags, lease, settings().app))

    def list_owned(self) -> Inventory:
        """One request, all tags included, and ARM's own time of it. A NIC without tags has those of its machine."""
        found, now = resources.list_group()
        return Inventory(resources=tuple(owned_by(settings().app, found)), now=now)

    def begin_removal(self, resource: OwnedResource) -> None:
        """Deallocate a machine, delete one that no longer bills, or delete what is left of one that is gone.

        Everything is read again first. What still hangs on a machine is left alone: it goes with it, or on a later pass.
        """
        seen = compute.get_vm(resource.name) if resource.type == VM else resources.read(resource)
        if seen.is_missing:
            return
        _check_still_ours(resource, seen)
        if resource.type == VM:
            _remove_machine(resource, seen)
        elif not _is_held(resource, seen):
            resources.delete(resource)
            logger.info("removal begun", extra={"resource": resource.id})

    def submit_job(self, lease: Lease, job: JobRequest) -> Operation:
        """Start the agent by a managed run command named after the job. Raises LeaseLost if no machine runs."""
        name = vm_name(lease)
        value = package.bootstrap_parameter(
            settings().storage_account_url,
            agent.reference(job.agent),
            agent.reference(job.job),
            settings().vm_identity_client_id,
        )
        body = run_command_body(
            lease,
            settings(),
            script=package.bootstrap_script(),
            parameter=package.PARAMETER,
            value=value,
            timeout_s=job.timeout_s,
        )
        try:
            sent = compute.begin_run_command(name, job.id, body)
        except (ConflictError, NotFoundError) as error:
            raise LeaseLost(
                f"{lease.offer}: no running machine for job {job.id}: {error}", lease=lease.id
            ) from error
        except TransientError as error:
            if error.code == "ParentResourceNotFound" and compute.get_vm(name).is_missing:
                raise LeaseLost(f"{lease.offer} is gone before job {job.id} began", lease=lease.id) from error
            raise
        logger.info("job submitted", extra={**log_fields(lease, sent), "job": job.id})
        return Operation(poll_after_s=sent.poll_after_s(JOB_POLL_S))

    def observe_job(self, lease: Lease, job_id: str) -> JobLook:
        """One look; a second at the machine unless the agent itself ended the job.

        The last word of a dead machine stays "Running", and a machine that is shut down kills its scripts by signal,
        which looks like a failure (exit code -1).
        """
        name = vm_name(lease)
        command = compute.get_run_command(name, job_id)
        look = (
            JobLook(state=JobState.ABSENT, poll_after_s=JOB_POLL_S)
            if command.is_missing
            else job_of(command.body, command.poll_after_s(JOB_POLL_S))
        )
        if look.exit_code is not None and look.exit_code >= 0:
            return look
        seen = compute.get_vm(name)
        state = MachineState.ABSENT if seen.is_missing else machine_of(seen.body, JOB_POLL_S).state
        if state in (MachineState.ABSENT, MachineState.DEALLOCATED, MachineState.STOPPED, *_STOPPING):
            return look.model_copy(update={"machine_lost": True, "message": f"the machine is {state}"})
        return look

    def cancel_job(self, lease: Lease, job_id: str) -> None:
        """Delete the run command, which asks the machine's agent to end it. Only deleting the machine is sure to."""
        try:
            compute.begin_delete_run_command(vm_name(lease), job_id)
        except NotFoundError:
            return

    def _put_brake(self, lease: Lease) -> None:
        request(
            "PUT",
            _schedule_id(lease),
            api_version=SCHEDULES_API,
            target=f"put the shutdown schedule of VM {vm_name(lease)}",
            body=schedule_body(lease, settings(), resource_id(VM, vm_name(lease))),
        )


def _check_deadline(lease: Lease, seen: Answer) -> None:
    """By ARM's time: a machine is never made for a lease that is over, nor for one its schedule cannot brake."""
    left = lease.deadline - seen.date
    if left <= timedelta(0):
        raise LeaseLost(
            f"lease {lease.id} ended at {lease.deadline.isoformat()}; nothing was created", lease=lease.id
        )
    if left > MAX_TTL:
        raise SpecError(
            f"limits.ttl: a dsvm is leased for at most {MAX_TTL}, its shutdown schedule is daily; got {left}"
        )


def _create(lease: Lease) -> Answer:
    name = vm_name(lease)
    body = vm_body(lease, settings(), image=IMAGE, disk_gib=OS_DISK_GIB, disk_type=OS_DISK_TYPE)
    try:
        sent = compute.begin_create_vm(name, body)
    except PlatformError as error:
        if not isinstance(error, ConflictError) and error.code != "PropertyChangeNotAllowed":
            raise
        # Somebody was faster between look and PUT: a twin of this call, or a stranger.
        seen = compute.get_vm(name)
        if seen.is_missing or not _is_ours(seen, lease):
            raise _foreign(seen, lease) from error
        return seen
    logger.info("creation begun", extra={**log_fields(lease, sent), "offer": str(lease.offer)})
    return sent


def _delete(pieces: Sequence[OwnedResource], lease: Lease) -> Operation:
    """One round: a machine and its schedule, or all that no machine holds any more. Addresses wait for their NICs."""
    types = {piece.type for piece in pieces}
    if VM in types:
        round_ = [piece for piece in pieces if piece.type in (VM, SCHEDULE)]
    else:
        round_ = [piece for piece in pieces if piece.type != PUBLIC_IP or NIC not in types]
    waits = [FIRST_RELEASE_LOOK_S]
    for piece in round_:
        sent = compute.begin_delete_vm(piece.name) if piece.type == VM else resources.delete(piece)
        waits.append(sent.poll_after_s(RELEASE_POLL_S))
        logger.info("deletion begun", extra={**log_fields(lease, sent), "resource": piece.id})
    return Operation(poll_after_s=max(waits))


def _remove_machine(resource: OwnedResource, seen: Answer) -> None:
    state = machine_of(seen.body, RELEASE_POLL_S).state
    if state in _STOPPING:
        return
    if state in (MachineState.DEALLOCATED, MachineState.FAILED):
        compute.begin_delete_vm(resource.name)
        logger.info("removal begun", extra={"resource": resource.id, "state": state})
    else:
        compute.begin_deallocate_vm(resource.name)
        logger.info("deallocation begun", extra={"resource": resource.id, "state": state})


def _is_held(resource: OwnedResource, seen: Answer) -> bool:
    """Whether a machine still has this piece, or, for a schedule, still needs it as its brake."""
    properties = seen.body.get("properties", {})
    if resource.type == SCHEDULE:
        # From the list: the machine itself may not be asked again so soon after its deallocation began.
        target = str(properties.get("targetResourceId", "")).lower()
        return any(each.id.lower() == target for each in resources.list_group()[0])
    holders = {
        NIC: properties.get("virtualMachine"),
        DISK: seen.body.get("managedBy"),
        PUBLIC_IP: properties.get("ipConfiguration"),
    }
    return bool(holders[resource.type])


def _check_still_ours(resource: OwnedResource, seen: Answer) -> None:
    if not is_still_owned(resource, resources.tags_of(seen.body), settings().app):
        raise ConflictError(
            f"{resource.type} {resource.name} no longer carries the tags it was found by; it was left alone",
            code="NotOurs",
            target=resource.id,
        )


def _is_ours(seen: Answer, lease: Lease) -> bool:
    return is_ours(resources.tags_of(seen.body), lease, settings().app)


def _foreign(seen: Answer, lease: Lease) -> ConflictError:
    tags = resources.tags_of(seen.body)
    return ConflictError(
        f"VM {vm_name(lease)} exists without the tags of lease {lease.id}, epoch {lease.epoch} (it has {tags}); "
        "it was left alone",
        code="NotOurs",
        target=seen.body.get("id"),
    )


def _schedule_id(lease: Lease) -> str:
    return resource_id(SCHEDULE, schedule_name(lease))


def _read_schedule(lease: Lease) -> Answer:
    return resources.read(OwnedResource(id=_schedule_id(lease), type=SCHEDULE))


_DSVM = Dsvm()
PLATFORM = Platform(
    name="dsvm",
    summary="a Data Science VM per batch of work, created for it and deleted after it",
    machines=_DSVM,
    runner=_DSVM,
)
