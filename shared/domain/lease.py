"""A lease: the right to one machine (or cluster) for one run, until a deadline.

It is planned before anything is created, from values that replay the same: a half-made machine is released too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from shared.domain.offers import Offer
from shared.domain.wire import Wire

TAG_APP = "muster-app"
TAG_LEASE = "muster-lease"
TAG_OWNER = "muster-owner"
TAG_DEADLINE = "muster-deadline"
TAG_EPOCH = "muster-epoch"
TAG_MANAGED_BY = "muster-managed-by"
MANAGED_BY = "muster"


class Lease(Wire):
    """What may be created, for whom, and until when. `epoch` counts the machines tried for the same `id`."""

    id: str
    owner: str
    epoch: int
    platform: str
    offer: Offer
    deadline: datetime
    nodes: int = 1

    def tags(self, app: str) -> dict[str, str]:
        """The tags that go into the creating request of everything that bills."""
        return {
            TAG_APP: app,
            TAG_LEASE: self.id,
            TAG_OWNER: self.owner,
            TAG_DEADLINE: self.deadline.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            TAG_EPOCH: str(self.epoch),
            TAG_MANAGED_BY: MANAGED_BY,
        }


class MachineState(StrEnum):
    """What one look at a machine can find. Only ABSENT and DEALLOCATED do not bill for compute."""

    ABSENT = "absent"
    CREATING = "creating"
    STARTING = "starting"  # exists and runs, its agent does not answer yet
    READY = "ready"
    FAILED = "failed"  # provisioning failed: the carcass may still hold disk and NIC
    STOPPED = "stopped"  # off, and still billed
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"
    DELETING = "deleting"


class Machine(Wire):
    """One look at a lease's machine. `code` and `message` are Azure's own when it FAILED."""

    state: MachineState
    code: str = ""
    message: str = ""
    poll_after_s: float = 15.0


class Operation(Wire):
    """A long operation that was begun: look again after `poll_after_s` seconds."""

    poll_after_s: float = 15.0


class OwnedResource(Wire):
    """Something in Azure that carries a lease's tags."""

    id: str
    type: str
    region: str = ""
    tags: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self.id.rsplit("/", 1)[-1]


class Inventory(Wire):
    """Everything found under an app's tags, and Azure's own time of the look (never the host's clock)."""

    resources: tuple[OwnedResource, ...] = ()
    now: datetime


class Remains(Wire):
    """What is left of a lease after its release was begun. `resources` is only looked at once the machine is gone."""

    resources: tuple[OwnedResource, ...] = ()
    machine: MachineState = MachineState.ABSENT
    poll_after_s: float = 15.0

    @property
    def bills_compute(self) -> bool:
        return self.machine not in (MachineState.ABSENT, MachineState.DEALLOCATED)

    def names(self, lease: Lease) -> tuple[str, ...]:
        """What is left, by id; a machine that was last seen in some state, by that."""
        if self.machine is MachineState.ABSENT:
            return tuple(resource.id for resource in self.resources)
        return (f"machine of lease {lease.id} epoch {lease.epoch}: {self.machine}",)

    @property
    def is_gone(self) -> bool:
        return self.machine is MachineState.ABSENT and not self.resources


class LeaseOpening(Wire):
    """The intent to create a machine, on record before anything is created."""

    lease: Lease
    at: datetime


class LeaseClosing(Wire):
    """The end of a lease. After it nothing may be created under its epoch."""

    lease: Lease
    at: datetime
    remains: tuple[str, ...] = ()  # ids of what could not be taken away: the reaper's work


class TagFault(ValueError):
    """Tags that say a resource is ours but do not parse: treated as expired, and named in the log."""


def deadline_of(tags: Mapping[str, str]) -> datetime:
    """The deadline a resource carries. Raises TagFault if it has none or it does not parse."""
    text = tags.get(TAG_DEADLINE, "")
    try:
        deadline = datetime.fromisoformat(text)
    except ValueError as error:
        raise TagFault(f"{TAG_DEADLINE}={text!r} is not a time") from error
    return deadline if deadline.tzinfo else deadline.replace(tzinfo=UTC)
