"""Azure ML sweep jobs: the search in Azure's words, the body we send, and what a look at one and its children says.

Field names and enums: Microsoft.MachineLearningServices 2024-10-01, mfe.json (SweepJob, SamplingAlgorithm,
EarlyTerminationPolicy); distributions as azure-ai-ml 1.35.2 writes them (entities/_job/sweep/search_space.py); children:
data-plane 2019-09-30, runHistory.json. A sweep's children are runs of their own, called `{sweep}_{number}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.azure import ml_clusters, ml_data, ml_environments, ml_jobs
from shared.config import Settings
from shared.domain.jobs import JobState
from shared.domain.lease import Lease
from shared.domain.retraining import Distribution, Scalar, Trials
from shared.domain.search import EarlyTermination
from shared.domain.sweep import SweepLook

_DRAWN, _END = "MUSTER_DRAWN", "MUSTER_DRAWN_END"
_POLICIES = {
    "bandit": "Bandit",
    "median_stopping": "MedianStopping",
    "truncation_selection": "TruncationSelection",
}
_MAX_SEED = 2**31 - 1
STOPPED_EARLY = "stopped early"


@dataclass(frozen=True)
class Child:
    """A run of the sweep. `reason`: what its error says, if it has one."""

    name: str
    number: int
    state: JobState
    reason: str
    parameters: dict[str, Scalar]


def search(trials: Trials, *, total: int, epoch: int, trial_timeout_s: int, timeout_s: int) -> dict[str, Any]:
    """The part of a sweep's body that says what is tried: space, sampling, objective, limits, early termination.

    Another machine's sweep draws other points: those of the first are on record.
    """
    body: dict[str, Any] = {
        "searchSpace": {name: distribution(each) for name, each in trials.space.items()},
        "samplingAlgorithm": {"samplingAlgorithmType": trials.sampling.capitalize()},
        "objective": {"primaryMetric": trials.metric, "goal": trials.goal.capitalize()},
        "limits": {
            "jobLimitsType": "Sweep",
            "maxTotalTrials": total,
            "maxConcurrentTrials": min(trials.concurrency, total),
            "trialTimeout": f"PT{trial_timeout_s}S",
            "timeout": f"PT{timeout_s}S",
        },
    }
    if trials.sampling == "random":
        body["samplingAlgorithm"] |= {"rule": "Random", "seed": min(trials.seed + epoch - 1, _MAX_SEED)}
    if trials.early_termination:
        body["earlyTermination"] = _policy(trials.early_termination)
    return body


def distribution(declared: Distribution) -> list[Any]:
    """A distribution as Azure ML takes it: of a logarithmic one the bounds are exponents of e."""
    match declared.kind:
        case "choice":
            return [
                "choice",
                [[word(each) if isinstance(each, bool) else each for each in declared.choice or ()]],
            ]
        case "logUniform":
            return ["loguniform", [math.log(bound) for bound in declared.log_uniform or ()]]
        case kind:
            return [kind, list(declared.uniform or declared.quniform or ())]


def values(declared: Distribution) -> str | list[Scalar]:
    """How the agent is told to read what was drawn: see node/sweep.py."""
    if declared.choice is not None:
        return list(declared.choice)
    if declared.quniform is not None:
        low, _, step = declared.quniform
        return "whole" if low.is_integer() and step.is_integer() else "number"
    return "number"


def word(value: Scalar) -> str:
    """As a command line has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def command(bootstrap: str, space: Mapping[str, Any]) -> str:
    """The bootstrap, told what was drawn. A quoted here-document: the shell never reads what is filled in there."""
    lines = [f"{name}=${{{{search_space.{name}}}}}" for name in space]
    told = "\n".join([f"export {_DRAWN}=\"$(cat <<'{_END}'", *lines, _END, ')"'])
    return f"{told}\n{bootstrap}"


def sweep_body(
    lease: Lease,
    settings: Settings,
    *,
    sweep: str,
    search: Mapping[str, Any],
    command: str,
    environment: Mapping[str, str],
    data_asset: str,
) -> dict[str, Any]:
    """One search on the lease's cluster, each trial on one node, as the cluster's identity, cut by Azure's limits."""
    return {
        "properties": {
            "jobType": "Sweep",
            "displayName": f"{lease.owner} {sweep}",
            "experimentName": ml_jobs.EXPERIMENT,
            "tags": {**lease.tags(settings.app), "muster-job": sweep},
            "computeId": ml_clusters.cluster_id(lease),
            "identity": {"identityType": "Managed", "clientId": settings.vm_identity_client_id},
            "inputs": ml_data.as_input(data_asset) if data_asset else {},
            "trial": {
                "command": command,
                "environmentId": ml_environments.ensure_environment(),
                "environmentVariables": dict(environment),
                "resources": {"instanceCount": 1},
            },
            **search,
        }
    }


def read_children(job: Mapping[str, Any]) -> list[Child]:
    """Every child that the sweep has begun, in their order."""
    prefix = f"{job['name']}_"
    found = []
    for run in ml_jobs.read_children(job):
        number = str(run.get("runId", "")).removeprefix(prefix)
        if number.isdigit():
            error = (run.get("error") or {}).get("error") or {}
            state = ml_jobs.state_of({"properties": {"status": run.get("status")}})
            reason = str(error.get("message") or "")[:300]
            found.append(Child(prefix + number, int(number), state, reason, _drawn(run.get("tags") or {})))
    return sorted(found, key=lambda child: child.number)


def look_of(job: Mapping[str, Any], children: list[Child], poll_after_s: float) -> SweepLook:
    """A sweep and its children as one look shows them."""
    state = ml_jobs.state_of(job)
    count = {each: sum(child.state is each for child in children) for each in JobState}
    best = (job["properties"].get("properties") or {}).get("best_child_run_id")
    return SweepLook(
        state=str(job["properties"].get("status")),
        is_over=state.is_over,
        succeeded=state is JobState.SUCCEEDED,
        children=len(children),
        running=count[JobState.RUNNING],
        done=count[JobState.SUCCEEDED],
        stopped=count[JobState.CANCELED],
        failed=count[JobState.FAILED],
        best=str(best or ""),
        poll_after_s=poll_after_s,
    )


def _drawn(tags: Mapping[str, str]) -> dict[str, Scalar]:
    """What a child was given, as Azure ML notes it in its tags; nothing where it does not."""
    try:
        told = json.loads(tags.get("hyperparameters", "{}"))
    except ValueError:
        return {}
    return (
        {str(name): value for name, value in told.items() if isinstance(value, Scalar)}
        if isinstance(told, dict)
        else {}
    )


def _policy(declared: EarlyTermination) -> dict[str, Any]:
    own = {
        "slackFactor": declared.slack_factor,
        "slackAmount": declared.slack_amount,
        "truncationPercentage": declared.truncation_percentage,
    }
    return {
        "policyType": _POLICIES[declared.type],
        "evaluationInterval": declared.evaluation_interval,
        "delayEvaluation": declared.delay_evaluation,
        **{name: value for name, value in own.items() if value is not None},
    }
