"""The trials of a run: points of a space, or one for each unit. The same declaration gives the same on every machine.

Chance is a digest of seed, trial and parameter: no trial changes because there are more of them, or because a parameter
was added beside its own.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator

from shared.domain import names
from shared.domain.retraining import Distribution, Scalar, Trials, grid_size
from shared.domain.wire import Wire

UNITS_PER_JOB = 25  # a job's start costs as much as training many a unit; a job that is lost is trained again
_REDRAWS = 100  # of a point that was drawn before
_DIGITS = 12  # significant ones: what libm's exp may differ in is behind them


class Trial(Wire):
    """One challenger to train: with these parameters, on all rows or on those of one `unit`."""

    id: str
    parameters: dict[str, Scalar] = {}
    unit: str | None = None


def plan_trials(trials: Trials) -> Iterator[Trial]:
    """The points of the declared space: all of a grid in its order, or `count` drawn by the seed, none of them twice.

    A space with fewer points than `count` gives each of them once. Where Azure ML draws the points, trials have none.
    """
    if trials.engine == "sweep" and trials.sampling != "grid":
        for number in range(trials.count or 0):
            yield Trial(id=names.trial_id(number, trials.count or 0))
        return
    points = _grid(trials.space) if trials.sampling == "grid" else _random(trials)
    total = grid_size(trials.space) if trials.sampling == "grid" else trials.count or 0
    for number, point in enumerate(points):
        yield Trial(id=names.trial_id(number, total), parameters=point)


def plan_units(units: Iterable[str]) -> Iterator[Trial]:
    """A trial for each unit, in the order of their names, each once."""
    ordered = sorted(set(units))
    for number, unit in enumerate(ordered):
        yield Trial(id=names.trial_id(number, len(ordered)), unit=unit)


def units_per_job(units: int, machines: int) -> int:
    """How many units a job trains: few enough that every machine has work. units_per_job(40, 4) -> 10."""
    return max(1, min(UNITS_PER_JOB, -(-units // max(machines, 1))))


def _grid(space: dict[str, Distribution]) -> Iterator[dict[str, Scalar]]:
    for values in itertools.product(*(each.choice or () for each in space.values())):
        yield dict(zip(space, values, strict=True))


def _random(trials: Trials) -> Iterator[dict[str, Scalar]]:
    drawn: set[tuple[str, ...]] = set()
    for number in range(trials.count or 0):
        for redraw in range(_REDRAWS):
            point = {
                name: _draw(each, _chance(trials.seed, number, redraw, name))
                for name, each in trials.space.items()
            }
            seen = tuple(repr(value) for value in point.values())
            if seen not in drawn:
                drawn.add(seen)
                yield point
                break


def _draw(distribution: Distribution, chance: float) -> Scalar:
    """The value at `chance`, from 0 up to but not 1."""
    if distribution.choice is not None:
        return distribution.choice[int(chance * len(distribution.choice))]
    if distribution.uniform is not None:
        low, high = distribution.uniform
        return _rounded(low + chance * (high - low))
    if distribution.log_uniform is not None:
        low, high = distribution.log_uniform
        return _rounded(math.exp(math.log(low) + chance * (math.log(high) - math.log(low))))
    if distribution.quniform is not None:
        return _step(*distribution.quniform, chance=chance)
    raise ValueError("a distribution without values")


def _step(low: float, high: float, step: float, *, chance: float) -> Scalar:
    """A step from low, high included. Whole where low and step are: a program that asks for an int gets one."""
    steps = math.floor((high - low) / step + 1e-9)
    value = low + int(chance * (steps + 1)) * step
    return int(value) if float(low).is_integer() and float(step).is_integer() else _rounded(value)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _chance(seed: int, number: int, redraw: int, name: str) -> float:
    """From 0 up to but not 1, in as many steps as a float has there."""
    digest = hashlib.sha256(f"{seed}|{number}|{redraw}|{name}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53
