"""Confidence intervals of a difference between two models on the same rows, by paired bootstrap.

Each resample draws rows with replacement, the same rows for both models, so that what is hard or easy for both cancels
out. Percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). The same seed gives the
same draws everywhere: PCG64 is part of numpy's stability promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from node.metrics import Resampled

Array = Any
_LEAST_DEFINED = 0.9
"""Of the resamples of a small group, some may have only one class. With fewer than this an interval would flatter."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    resamples: int
    confidence: float
    seed: int

    def intervals(
        self, rows: int, pairs: Mapping[str, tuple[Resampled, Resampled]], stream: Sequence[int] = ()
    ) -> dict[str, Interval | None]:
        """The interval of `second - first` for each named pair, all from the same draws; None where undefined.

        `stream` tells independent draws of one seed apart.
        """
        chance = numpy.random.default_rng([self.seed, *stream])
        differences = {name: numpy.empty(self.resamples) for name in pairs}
        for n in range(self.resamples):
            counts = numpy.bincount(chance.integers(0, rows, rows), minlength=rows)
            for name, (first, second) in pairs.items():
                differences[name][n] = second(counts) - first(counts)
        return {name: self._interval(values) for name, values in differences.items()}

    def _interval(self, values: Array) -> Interval | None:
        defined = values[numpy.isfinite(values)]
        if len(defined) < _LEAST_DEFINED * len(values):
            return None
        tail = (1 - self.confidence) / 2
        low, high = numpy.quantile(defined, (tail, 1 - tail))
        return Interval(float(low), float(high))
