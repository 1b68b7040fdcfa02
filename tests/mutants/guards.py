"""Every guard that is removed, one at a time. A guard that is added to the product is added here, with its test."""

from __future__ import annotations

from tests.mutants import (
    clusters,
    conversions,
    data,
    drift,
    edge,
    events,
    hub,
    machines,
    profiles,
    rollouts,
    runs,
    scoring,
    serving,
    sweeps,
    units,
)
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *machines.MUTANTS,
    *clusters.MUTANTS,
    *data.MUTANTS,
    *runs.MUTANTS,
    *events.MUTANTS,
    *drift.MUTANTS,
    *serving.MUTANTS,
    *rollouts.MUTANTS,
    *profiles.MUTANTS,
    *conversions.MUTANTS,
    *scoring.MUTANTS,
    *edge.MUTANTS,
    *hub.MUTANTS,
    *sweeps.MUTANTS,
    *units.MUTANTS,
)
