"""A sweep job as values: what is submitted, and what one look at it and its children finds."""

from __future__ import annotations

from shared.domain.jobs import BlobRef
from shared.domain.lease import Lease
from shared.domain.retrain import TrialsRequest
from shared.domain.retraining import Scalar
from shared.domain.wire import Wire


class SweepSpec(Wire):
    """A sweep job as it is submitted; the agent's job for its children is in `job`, the search in `search`.

    `search`: searchSpace, samplingAlgorithm, objective, limits and earlyTermination in Azure's own words, as a blob: a
    space may be larger than a history takes. `data_asset`: what its children train on, by its ARM id.
    """

    id: str
    agent: BlobRef
    job: BlobRef
    search: BlobRef
    trials: int
    data_asset: str = ""


class SweepRequest(Wire):
    """Write the sweep of a lane on its lease, to be over `within_s` after its submission."""

    trials: TrialsRequest
    lease: Lease
    within_s: int


class SweepStep(Wire):
    """Submit the sweep on the cluster of `lease`."""

    lease: Lease
    sweep: SweepSpec


class WrittenSweep(Wire):
    """None where every trial has its record already."""

    sweep: SweepSpec | None = None


class SweepQuery(Wire):
    """Look at a sweep of the lease."""

    lease: Lease
    sweep: str


class SweepChild(Wire):
    """A child that ended without doing its work. `stopped`: it was cancelled, and the sweep was not."""

    name: str
    number: int
    stopped: bool = False
    reason: str = ""
    parameters: dict[str, Scalar] = {}


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


class SweepClosing(Wire):
    """Put on record what became of the children that left none. `stops_early`: a policy was declared."""

    run: str
    lease: Lease
    sweep: SweepSpec
    stops_early: bool = False


class SweepClosed(Wire):
    """How many records were written."""

    recorded: int = 0
