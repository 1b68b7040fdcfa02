"""A sweep job as values: what is submitted, and what one look at it and its children finds."""

from __future__ import annotations

from shared.domain.jobs import BlobRef
from shared.domain.lease import Lease
from shared.domain.wire import Wire


class SweepSpec(Wire):
    """A sweep job as it is submitted; the agent's job for its children is in `job`, the search in `body`.

    `body`: searchSpace, samplingAlgorithm, objective, limits and earlyTermination in Azure's own words, as a blob: a
    space may be larger than a history takes. `data_asset`: what its children train on, by its ARM id.
    """

    id: str
    agent: BlobRef
    job: BlobRef
    body: BlobRef
    trials: int
    data_asset: str = ""


class SweepStep(Wire):
    """Submit the sweep on the cluster of `lease`."""

    lease: Lease
    sweep: SweepSpec


class WrittenSweep(Wire):
    """None where every trial has its record already."""

    sweep: SweepSpec | None = None


class SweepQuery(Wire):
    """Look at a sweep of the lease, or close it."""

    lease: Lease
    sweep: str
    early_termination: bool = False


class SweepLook(Wire):
    """One look at a sweep and its children. `state` is Azure's word; `is_over` when it will never change again.

    `best`: the child Azure ML holds for the best so far. `machine_lost`: the cluster is gone or takes no jobs.
    """

    state: str
    is_over: bool = False
    succeeded: bool = False
    children: int = 0
    running: int = 0
    done: int = 0
    stopped: int = 0
    failed: int = 0
    best: str = ""
    message: str = ""
    machine_lost: bool = False
    cancel_requested: bool = False
    poll_after_s: float = 30.0


class SweepClosed(Wire):
    """The sweep is over and every child has a record: `recorded` of them were written for children that had none."""

    children: int = 0
    recorded: int = 0
