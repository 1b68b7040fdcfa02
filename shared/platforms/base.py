"""What a platform must offer. Each file beside this one exports `PLATFORM`; the package finds them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.domain.jobs import JobLook, JobRequest
from shared.domain.lease import Inventory, Lease, Machine, Operation, OwnedResource
from shared.domain.offers import Headroom, Offer


class Provisioner(Protocol):
    """Makes a lease's machine and takes it away. A method sends one request or looks once, and may be repeated."""

    def check_headroom(self, offers: Sequence[Offer], nodes: int) -> tuple[Headroom, ...]:
        """Quota and stock for each offer, in the order given. Changes nothing and costs nothing."""

    def begin_provision(self, lease: Lease) -> Operation:
        """Create the machine under the lease's names, tags, identity and brakes, unless it is there and ours.

        Raises ConflictError if the name is taken by something without this lease's tags, CapacityError (no stock or
        quota), DeniedError, TransientError.
        """

    def observe_machine(self, lease: Lease) -> Machine:
        """Look once. A machine that is not there is ABSENT, never an error."""

    def begin_release(self, lease: Lease) -> Operation | None:
        """Deallocate, so that compute stops billing; the disk stays. None if already deallocated or gone."""

    def begin_delete(self, lease: Lease) -> Operation | None:
        """Delete the machine and what came with it; None if nothing is left. Never touches what lacks our tags."""

    def list_remains(self, lease: Lease) -> tuple[OwnedResource, ...]:
        """What still exists under this lease and epoch: machine, NIC, disks, addresses, schedules."""

    def list_owned(self) -> Inventory:
        """Everything of this platform under this app's tags, in few requests. For the reaper."""

    def begin_removal(self, resource: OwnedResource) -> None:
        """Take away one resource that `list_owned` found: a machine is deallocated first, deleted on a later call.

        Reads the resource's tags again right before, and raises ConflictError if they are not ours any more.
        """


class JobRunner(Protocol):
    """Runs the agent on a lease's machine. Submitting the same job id twice is one job."""

    def submit_job(self, lease: Lease, job: JobRequest) -> Operation: ...

    def observe_job(self, lease: Lease, job_id: str) -> JobLook:
        """Look once. A machine that is gone gives `machine_lost`, a node of a shared one `preempted`, and no error."""

    def cancel_job(self, lease: Lease, job_id: str) -> None: ...


@dataclass(frozen=True)
class Platform:
    """`bills` is False where a machine costs nothing (the user's own).

    `shares_machine`: one lease serves several jobs at once, a node for each, and its machine is the cluster.
    """

    name: str
    summary: str
    provisioner: Provisioner
    jobs: JobRunner
    bills: bool = True
    shares_machine: bool = False
