"""What a platform must offer. Each file beside this one exports `PLATFORM`; the package finds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.domain.errors import SpecError
from shared.domain.jobs import JobLook, JobRequest
from shared.domain.lease import Inventory, Lease, Machine, Operation, OwnedResource
from shared.domain.offers import Headroom, Offer
from shared.domain.serving import (
    DeploymentLook,
    DeploymentPlan,
    EndpointLook,
    EndpointPlan,
    MetricsQuery,
    Resources,
    ScoringAccess,
    ServingMetrics,
    Target,
    TargetLook,
    TrafficChange,
    at_any_time,
)
from shared.domain.sweep import SweepChild, SweepLook, SweepSpec


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


class SweepRunner(Protocol):
    """Has the platform itself search: one job whose trials run the agent. The same sweep submitted twice is one."""

    def submit_sweep(self, lease: Lease, sweep: SweepSpec) -> Operation: ...

    def observe_sweep(self, lease: Lease, sweep: str) -> SweepLook:
        """Look once, at the sweep and its children. A cluster that is gone gives `machine_lost`, and no error."""

    def list_unfinished(self, lease: Lease, sweep: str) -> tuple[SweepChild, ...]:
        """The children that ended without doing their work, and why. For a sweep that is over."""


class Server(Protocol):
    """Serves models at endpoints. A method sends one request or looks once, never waits, and may be repeated.

    Every method but the looks refuses what lacks this app's tags: ConflictError, code NotOurs. Whatever writes under an
    epoch is refused where the endpoint's tag shows a higher one: ConflictError, code Fenced. An endpoint that is at work
    on another change is a TransientError to be asked again.
    """

    def check_target(self, target: Target, resources: Resources) -> TargetLook:
        """Whether a deployment of these resources can be sent there now. Begins to attach a cluster that is to be."""

    def read_endpoint(self, endpoint: str) -> EndpointLook:
        """One look, with its deployments. `traffic` names only those that have some."""

    def begin_endpoint(self, plan: EndpointPlan) -> Operation:
        """Create the endpoint unless it is there and ours; raise its epoch to the plan's. Its traffic stays."""

    def begin_deployment(self, plan: DeploymentPlan) -> Operation:
        """Create the deployment, without traffic, unless it is there and of this plan's run."""

    def observe_deployment(self, plan: DeploymentPlan) -> DeploymentLook:
        """One look. What is there under the name and is not of this plan's run counts as ABSENT."""

    def set_traffic(self, change: TrafficChange, *, confirm: Callable[[], None] = at_any_time) -> Operation:
        """Write the whole map. A name that has weight must be READY; what has none is left out of what is written.

        Nothing is sent where the endpoint shows the map and the epoch already. `confirm` is called right before the
        write, and raises if it must not be made any more.
        """

    def read_logs(self, endpoint: str, deployment: str, tail: int = 200) -> str:
        """The last lines of its container, redacted, at most MAX_LOG characters; where there are none, why."""

    def begin_deletion(self, endpoint: str, deployment: str, run: str = "") -> Operation | None:
        """Delete the deployment; None if it is gone. `run`: the owner its tags must name; empty: any of ours.

        Raises ConflictError, code HasTraffic, while any traffic goes to it.
        """

    def scoring_access(self, endpoint: str) -> ScoringAccess:
        """Where to send requests and the headers that open it. Holds a key: it stays within the activity."""

    def read_metrics(self, query: MetricsQuery) -> dict[str, ServingMetrics]:
        """What each deployment that is named answered. One that nobody counted is there, without `newest`."""


@dataclass(frozen=True)
class Platform:
    """`machines` and `runner`, or `server`, or all three: what it offers. The properties raise where it does not.

    `bills` is False where a machine costs nothing (the user's own).
    `shares_machine`: one lease serves several jobs at once, a node for each, and its machine is the cluster.
    """

    name: str
    summary: str
    machines: Provisioner | None = None
    runner: JobRunner | None = None
    server: Server | None = None
    searcher: SweepRunner | None = None
    bills: bool = True
    shares_machine: bool = False

    @property
    def provisioner(self) -> Provisioner:
        """Raises SpecError if there are no machines to be had here."""
        if self.machines is None:
            raise SpecError(f"platform {self.name} has no machines: it only serves models")
        return self.machines

    @property
    def jobs(self) -> JobRunner:
        """Raises SpecError if no job runs here."""
        if self.runner is None:
            raise SpecError(f"platform {self.name} runs no jobs: it only serves models")
        return self.runner

    @property
    def sweeps(self) -> SweepRunner:
        """Raises SpecError if nothing searches here."""
        if self.searcher is None:
            raise SpecError(f"platform {self.name} runs no sweep jobs")
        return self.searcher

    @property
    def serving(self) -> Server:
        """Raises SpecError if no model is served here."""
        if self.server is None:
            raise SpecError(f"platform {self.name} serves no models")
        return self.server
