"""Sweep jobs: a command tried with the points of a search space, the best by a metric that its runs report.

A trial reports by MLflow's REST API (mlflow.py), as in Azure ML. Beside that, numbers of its `outputs/metrics.json`
({"auc": 0.7}) and lines `metric: auc=0.7` of its log count as reported at its end: a convention of this simulator.
Source: mfe.json 2024-10-01 (SweepJob, SamplingAlgorithm), azure-ai-ml 1.35.2 entities/_job/sweep/sweep_job.py
(AZUREML_SWEEP_ variables), learn.microsoft.com machine-learning/how-to-tune-hyperparameters.
"""

from __future__ import annotations

import json
import math
from typing import Any

from localdev.azuresim.errors import ArmError
from localdev.azuresim.ml import early_termination, mlflow
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.ml.job_life import OVER, JobLife
from localdev.azuresim.ml.job_runner import filled
from localdev.azuresim.ml.parents import children, submit
from localdev.azuresim.ml.search_space import BAYESIAN, check_space, next_point, points
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_MOST_TRIALS = 1000  # how-to-tune-hyperparameters: max_total_trials is between 1 and 1000


class Sweeps:
    def __init__(self, world: World, life: JobLife) -> None:
        self._world, self._life = world, life
        world.scheduler.register(mlflow.REPORTED, self._reported)

    def prepare(self, job: Resource) -> None:
        objective, sampling = job.properties["objective"], job.properties["samplingAlgorithm"]
        objective["goal"] = str(objective.get("goal")).capitalize()
        if objective["goal"] not in ("Maximize", "Minimize"):
            raise user_error(400, f"The goal '{objective['goal']}' is not Maximize or Minimize.")
        if not objective.get("primaryMetric"):
            raise user_error(400, "The request is invalid: 'primaryMetric' is required.")
        check_space(job.properties["searchSpace"], sampling)
        if policy := job.properties.get("earlyTermination"):
            early_termination.check(policy)
            if sampling["samplingAlgorithmType"] == BAYESIAN:
                raise user_error(400, "Bayesian sampling does not support early termination policies.")
        most, at_once = _limits(job.properties.get("limits") or {})
        if sampling["samplingAlgorithmType"] == BAYESIAN:
            job.state["plan"] = [None] * most  # drawn when their turn comes, by what is known then
        else:
            job.state["plan"] = points(job.properties["searchSpace"], sampling, most, job.name)
        job.state["concurrent"] = at_once

    def advance(self, job: Resource, at: float) -> tuple[str, str] | None:
        trials = children(self._world, job)
        under_way = [trial for trial in trials if trial.properties["status"] not in OVER]
        plan = job.state["plan"]
        free = job.state["concurrent"] - len(under_way)
        for number in range(len(trials), min(len(plan), len(trials) + free)):
            try:
                self._submit(job, number, plan[number] or self._drawn(job, number, trials), at)
            except ArmError as error:
                return "Failed", error.message
        if under_way or len(trials) < len(plan):
            return None
        return self._choose(job, trials)

    def _drawn(self, job: Resource, number: int, trials: list[Resource]) -> dict[str, Any]:
        """The next point of Bayesian sampling, from what the trials before it came to."""
        metric, goal = job.properties["objective"]["primaryMetric"], job.properties["objective"]["goal"]
        known = [
            (trial.state["point"], float(score) if goal == "Maximize" else -float(score))
            for trial in trials
            if (score := trial.state.get("metrics", {}).get(metric)) is not None
        ]
        return next_point(job.properties["searchSpace"], known, f"{job.name}:{number}")

    def _reported(self, at: float, job: str) -> None:
        """A run wrote a metric: its sweep's policy is applied to it."""
        trial = self._world.store.get(job)
        if trial is None or not trial.state.get("parent") or trial.properties["status"] in OVER:
            return
        sweep = self._world.store.get(f"{job.rpartition('/')[0]}/{trial.state['parent']}")
        policy = sweep.properties.get("earlyTermination") if sweep else None
        if sweep is None or not policy or sweep.properties["status"] != "Running":
            return
        metric = sweep.properties["objective"]["primaryMetric"]
        others = [_reports(each, metric) for each in children(self._world, sweep) if each.id != trial.id]
        goal = sweep.properties["objective"]["goal"]
        if early_termination.is_to_stop(policy, goal, _reports(trial, metric), others):
            self._life.cancel(trial, at)

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
        kept = {"drawn": texts, "point": point}
        submit(self._world, self._life, job, f"{job.name}_{number}", asked, at, state=kept)

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


def _limits(limits: dict[str, Any]) -> tuple[int, int]:
    """At most how many trials, and how many of them at once. Raises the refusal of limits that cannot be."""
    if limits and limits.get("jobLimitsType") != "Sweep":
        raise user_error(
            400, f"The limits of a sweep are of type Sweep, not '{limits.get('jobLimitsType')}'."
        )
    most = _MOST_TRIALS if (given := limits.get("maxTotalTrials")) is None else given
    at_once = most if (given := limits.get("maxConcurrentTrials")) is None else given
    for name, value in (("maxTotalTrials", most), ("maxConcurrentTrials", at_once)):
        if not isinstance(value, int) or not 1 <= value <= _MOST_TRIALS:
            raise user_error(400, f"{name} must be an integer between 1 and {_MOST_TRIALS}.")
    return most, at_once


def _reports(trial: Resource, metric: str) -> list[float]:
    """In the order they were made; a trial that began anew on another node reports on."""
    return [
        value for key, value, *_ in trial.state.get("reported", ()) if key == metric and math.isfinite(value)
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
