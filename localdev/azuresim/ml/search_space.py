"""The search space of a sweep: what a distribution may be, and its points in the order they are tried.

Shapes as azure-ai-ml 1.35.2 writes them (entities/_job/sweep/search_space.py); which go with which sampling:
learn.microsoft.com machine-learning/how-to-tune-hyperparameters and azureml.train.hyperdrive.BayesianParameterSampling.
Bayesian sampling is Azure's own and not public. What stands here for it is no Gaussian process: random points first, and
then every other one near the best that is known.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

from localdev.azuresim.errors import not_simulated
from localdev.azuresim.ml.common import user_error

BAYESIAN = "Bayesian"
_SAMPLINGS = ("Grid", "Random", BAYESIAN)
_FOR_BAYESIAN = ("choice", "uniform", "quniform")
_NUMBERS = {
    "randint": 1, "uniform": 2, "loguniform": 2, "normal": 2, "lognormal": 2,
    "quniform": 3, "qloguniform": 3, "qnormal": 3, "qlognormal": 3,
}  # fmt: skip
_EXPLORED = 3  # points before anything is taken from the best
_NEAR = 0.1  # of the range


def check_space(space: dict[str, Any], sampling: dict[str, Any]) -> None:
    """Raises the refusal of a space that cannot be searched, or not in this way."""
    kind = str(sampling.get("samplingAlgorithmType"))
    if kind not in _SAMPLINGS:
        raise user_error(400, f"The sampling algorithm '{kind}' is not one of {', '.join(_SAMPLINGS)}.")
    if sampling.get("rule") not in (None, "Random"):
        raise not_simulated(f"Sampling by the rule {sampling['rule']}", "properties.samplingAlgorithm.rule")
    if not space:
        raise user_error(400, "The search space has no parameters.")
    for name, given in space.items():
        if not isinstance(given, list) or len(given) != 2 or not isinstance(given[1], list):
            raise user_error(400, f"The distribution of '{name}' is not a type and a list of its arguments.")
        _check_distribution(name, str(given[0]), given[1])
        if kind == BAYESIAN and given[0] not in _FOR_BAYESIAN:
            raise user_error(
                400, f"Bayesian sampling supports {', '.join(_FOR_BAYESIAN)}; '{name}' is {given[0]}."
            )


def _check_distribution(name: str, kind: str, given: list[Any]) -> None:
    if kind == "choice":
        if len(given) != 1 or not isinstance(given[0], list) or not given[0]:
            raise user_error(400, f"The choice of '{name}' has no values.")
        return
    if kind not in _NUMBERS:
        raise user_error(400, f"The distribution '{kind}' is not supported.")
    numbers = [each for each in given if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) != len(given) or len(given) != _NUMBERS[kind]:
        raise user_error(400, f"The distribution {kind} of '{name}' takes {_NUMBERS[kind]} numbers.")
    if "uniform" in kind and not numbers[0] < numbers[1]:
        raise user_error(400, f"The minimum of '{name}' is not below its maximum.")
    if kind.startswith("q") and numbers[2] <= 0:
        raise user_error(400, f"The step of '{name}' is not above 0.")


def points(space: dict[str, Any], sampling: dict[str, Any], most: int, seed: str) -> list[dict[str, Any]]:
    """The points of a search space in the order they are tried: a grid whole, or `most` random ones."""
    kind = str(sampling.get("samplingAlgorithmType"))
    if kind == "Grid":
        names = list(space)
        choices = []
        for name in names:
            if space[name][0] != "choice":
                raise user_error(400, f"Grid sampling supports choice only, '{name}' is {space[name][0]}.")
            choices.append(space[name][1][0])
        grid = (dict(zip(names, values, strict=True)) for values in itertools.product(*choices))
        return list(itertools.islice(grid, most))
    dice = random.Random(sampling.get("seed") if sampling.get("seed") is not None else seed)
    return [{name: draw(dice, *space[name]) for name in space} for _ in range(most)]


def draw(dice: random.Random, distribution: str, given: list[Any]) -> Any:
    """One value of a distribution as azure-ai-ml writes them: draw(dice, "quniform", [1, 10, 2]) -> 4."""
    name = distribution
    match name:
        case "choice":
            return dice.choice(given[0])
        case "randint":
            return dice.randrange(int(given[0]))
    step = float(given[2]) if name.startswith("q") else 0.0
    name = name.removeprefix("q")
    low, high = float(given[0]), float(given[1])
    drawn = {
        "uniform": lambda: dice.uniform(low, high),
        "loguniform": lambda: math.exp(dice.uniform(low, high)),
        "normal": lambda: dice.gauss(low, high),
        "lognormal": lambda: math.exp(dice.gauss(low, high)),
    }.get(name)
    if drawn is None:
        raise user_error(400, f"The distribution '{distribution}' is not supported.")
    return round(drawn() / step) * step if step else drawn()


def next_point(space: dict[str, Any], known: list[tuple[dict[str, Any], float]], seed: str) -> dict[str, Any]:
    """The next point, where `known` are points with their scores, the more the better."""
    dice = random.Random(seed)
    drawn = {name: draw(dice, *space[name]) for name in space}
    if len(known) < _EXPLORED or dice.random() < 0.5:
        return drawn
    best, _ = max(known, key=lambda each: each[1])
    return {name: _near(dice, best[name], *space[name]) for name in space}


def _near(dice: random.Random, value: Any, kind: str, given: list[Any]) -> Any:
    if kind == "choice":
        return value
    low, high = float(given[0]), float(given[1])
    moved = min(high, max(low, float(value) + dice.gauss(0, _NEAR * (high - low))))
    return round(moved / given[2]) * given[2] if kind.startswith("q") else moved
