"""Sweep jobs: a command tried with the points of a search space, the best by a metric the command writes.

A trial's metrics are the numbers of its `outputs/metrics.json` ({"auc": 0.7}) and the lines `metric: auc=0.7` of its
log: a convention of this simulator, where Azure ML has MLflow. Source of the rest: mfe.json 2024-01-01-preview
(SweepJob, SamplingAlgorithm), learn.microsoft.com machine-learning/how-to-tune-hyperparameters.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import Any

from localdev.azuresim.errors import ArmError, not_simulated
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.ml.job_life import OVER, JobLife
from localdev.azuresim.ml.job_runner import filled
from localdev.azuresim.ml.parents import children, submit
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_MOST_TRIALS = 1000  # how-to-tune-hyperparameters: max_total_trials is between 1 and 1000


class Sweeps:
    def __init__(self, world: World, life: JobLife) -> None:
        self._world, self._life = world, life

    def prepare(self, job: Resource) -> None:
        if job.properties.get("earlyTermination"):
            raise not_simulated("Early termination of a sweep", "properties.earlyTermination")
        objective = job.properties["objective"]
        objective["goal"] = str(objective.get("goal")).capitalize()
        if objective["goal"] not in ("Maximize", "Minimize"):
            raise user_error(400, f"The goal '{objective['goal']}' is not Maximize or Minimize.")
        limits = job.properties.get("limits") or {}
        most = int(limits.get("maxTotalTrials") or _MOST_TRIALS)
        job.state["plan"] = points(
            job.properties["searchSpace"], job.properties["samplingAlgorithm"], most, job.name
        )
        job.state["concurrent"] = int(limits.get("maxConcurrentTrials") or most)

    def advance(self, job: Resource, at: float) -> tuple[str, str] | None:
        trials = children(self._world, job)
        under_way = [trial for trial in trials if trial.properties["status"] not in OVER]
        plan = job.state["plan"]
        free = job.state["concurrent"] - len(under_way)
        for number in range(len(trials), min(len(plan), len(trials) + free)):
            try:
                self._submit(job, number, plan[number], at)
            except ArmError as error:
                return "Failed", error.message
        if under_way or len(trials) < len(plan):
            return None
        return self._choose(job, trials)

    def _submit(self, job: Resource, number: int, point: dict[str, Any], at: float) -> None:
        trial, limits = job.properties["trial"], job.properties.get("limits") or {}
        texts = {name: _text(value) for name, value in point.items()}
        command = filled(
            str(trial["command"]), {f"search_space.{name}": text for name, text in texts.items()}
        )
        asked = {
            "command": command,
            "environmentId": trial["environmentId"],
            "codeId": trial.get("codeId"),
            "environmentVariables": trial.get("environmentVariables"),
            "resources": trial.get("resources") or job.properties.get("resources"),
            "computeId": job.properties["computeId"],
            "identity": job.properties.get("identity"),
            "inputs": job.properties.get("inputs"),
            "outputs": {
                name: {key: value for key, value in given.items() if key != "uri"}
                for name, given in job.properties["outputs"].items()
                if name != "default"
            },
            "tags": {**job.properties["tags"], "hyperparameters": json.dumps(point), **texts},
        }
        if limit := limits.get("trialTimeout"):
            asked["limits"] = {"jobLimitsType": "Command", "timeout": limit}
        asked = {name: value for name, value in asked.items() if value is not None}
        submit(self._world, self._life, job, f"{job.name}_{number}", asked, at)

    def _choose(self, job: Resource, trials: list[Resource]) -> tuple[str, str]:
        """The best trial, if any completed; a sweep none of whose trials completed has failed."""
        objective = job.properties["objective"]
        scores = {}
        for trial in trials:
            score = trial.state.get("metrics", {}).get(objective["primaryMetric"])
            if trial.properties["status"] == "Completed" and score is not None and math.isfinite(score):
                trial.properties["properties"]["score"] = str(score)
                scores[trial.name] = (score, trial)
        if scores:
            sign = 1 if objective["goal"] == "Maximize" else -1
            name, (score, best) = max(scores.items(), key=lambda each: sign * each[1][0])
            job.properties["properties"] |= {"best_child_run_id": name, "score": str(score)}
            for output, given in best.properties["outputs"].items():
                if output != "default":
                    job.properties["outputs"][output] = dict(given)
        if any(trial.properties["status"] == "Completed" for trial in trials):
            return "Completed", ""
        return "Failed", "All child runs of the sweep failed or were canceled."


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
    if kind != "Random":
        raise not_simulated(f"Sampling of type {kind}", "properties.samplingAlgorithm")
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
