"""How far two models' predictions lie apart: Kolmogorov-Smirnov's distance, which asks for no bins and no shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from shared.domain.wire import Wire

# Of the two-sample test: c(alpha) = sqrt(-ln(alpha / 2) / 2). By chance alone two samples of one distribution lie
# further apart once in a hundred times.
_C_OF_ONE_PERCENT = math.sqrt(-math.log(0.01 / 2) / 2)

type Value = tuple[int, float | str]


class PredictionDrift(Wire):
    """Blue's against green's collected predictions. `distance` is None if either has none that are usable.

    `*_unusable` of the rows are no number, or none that is finite, and no text.
    """

    distance: float | None = None
    blue_rows: int = 0
    green_rows: int = 0
    blue_unusable: int = 0
    green_unusable: int = 0

    @property
    def margin(self) -> float:
        """What chance alone makes of the distance, of as many rows. 1 where nothing can be said."""
        blue, green = self.blue_rows - self.blue_unusable, self.green_rows - self.green_unusable
        return chance_distance(blue, green)


def compare(blue: Iterable[object], green: Iterable[object]) -> PredictionDrift:
    """Numbers are compared as numbers, true and false as 1 and 0, labels in the order of their letters."""
    of_blue, of_green = [_value(each) for each in blue], [_value(each) for each in green]
    usable_blue = [each for each in of_blue if each is not None]
    usable_green = [each for each in of_green if each is not None]
    return PredictionDrift(
        distance=_distance(usable_blue, usable_green),
        blue_rows=len(of_blue),
        green_rows=len(of_green),
        blue_unusable=len(of_blue) - len(usable_blue),
        green_unusable=len(of_green) - len(usable_green),
    )


def ks_distance(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The largest difference between the two empirical distribution functions; None if either is empty.

    ks_distance([1, 2], [1, 2]) -> 0.0; ks_distance([1, 2], [3, 4]) -> 1.0
    """
    return compare(first, second).distance


def chance_distance(first: int, second: int) -> float:
    """The distance that two samples of these sizes keep within in 99 of 100 cases if they are of one distribution."""
    if first < 1 or second < 1:
        return 1.0
    return min(1.0, _C_OF_ONE_PERCENT * math.sqrt((first + second) / (first * second)))


def _distance(first: Sequence[Value], second: Sequence[Value]) -> float | None:
    if not first or not second:
        return None
    steps = sorted([*((each, 0) for each in first), *((each, 1) for each in second)])
    seen, most = [0, 0], 0.0
    for _, equal in groupby(steps, key=lambda step: step[0]):
        for _, side in equal:  # ties move both before they are compared
            seen[side] += 1
        most = max(most, abs(seen[0] / len(first) - seen[1] / len(second)))
    return most


def _value(prediction: object) -> Value | None:
    if isinstance(prediction, bool | int | float):
        number = float(prediction) if abs(prediction) < 1e308 else math.inf
        return (0, number) if math.isfinite(number) else None
    return (1, prediction) if isinstance(prediction, str) else None
