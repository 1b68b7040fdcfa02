"""How far two distributions are apart, from counts of the same cells.

PSI: population stability index, sum of (q - p) ln(q / p); below 0.1 is usually called stable, above 0.25 a shift.
JS: Jensen-Shannon distance to base 2, 0 to 1, as Azure ML's data drift monitor has it. KS: largest distance of the
cumulated shares, 0 to 1, of numbers alone.
"""

from __future__ import annotations

from typing import Any

import numpy
from scipy.spatial import distance

Array = Any
GROUPS = 10
_HALF = 0.5  # a row for each empty group, halved: PSI stays finite, and 1 in 20,000 rows moves nothing


def psi(reference: Array, target: Array) -> float:
    p = (reference + _HALF) / (reference.sum() + _HALF * len(reference))
    q = (target + _HALF) / (target.sum() + _HALF * len(target))
    return float(numpy.sum((q - p) * numpy.log(q / p)))


def jensen_shannon(reference: Array, target: Array) -> float:
    return float(distance.jensenshannon(reference, target, base=2))


def kolmogorov_smirnov(reference: Array, target: Array) -> float:
    """Of cells in ascending order. Exact where a cell boundary lies at every value of the reference."""
    apart = numpy.cumsum(reference) / reference.sum() - numpy.cumsum(target) / target.sum()
    return float(numpy.max(numpy.abs(apart)))


def in_groups(reference: Array, target: Array, groups: int = GROUPS) -> tuple[Array, Array]:
    """Ascending cells put together into at most `groups` groups, each about the same share of the reference."""
    before = numpy.concatenate(([0.0], numpy.cumsum(reference)[:-1])) / max(1, reference.sum())
    group = numpy.minimum((before * groups + 1e-9).astype(int), groups - 1)
    _, place = numpy.unique(group, return_inverse=True)
    return numpy.bincount(place, reference), numpy.bincount(place, target)
