"""What a workspace has to tell: the one place from which Event Grid takes the events of Azure Machine Learning.

Shapes: eventgrid data-plane Microsoft.MachineLearningServices 2018-01-01 and its examples. Data fields are camelCase
as in that specification; whoever delivers them may spell them otherwise.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from localdev.azuresim import estate
from localdev.azuresim.ml.common import NAMESPACE
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

ML_EVENT = "ml_event"
MODEL_REGISTERED = f"{NAMESPACE}.ModelRegistered"
MODEL_DEPLOYED = f"{NAMESPACE}.ModelDeployed"
RUN_COMPLETED = f"{NAMESPACE}.RunCompleted"
RUN_STATUS_CHANGED = f"{NAMESPACE}.RunStatusChanged"
_EXPERIMENTS = uuid.UUID("55555555-0000-0000-0000-000000000000")


def emit(
    world: World, event_type: str, subject: str, data: Mapping[str, Any], at: float, *, topic: str = ""
) -> None:
    """Append one event of kind "ml_event": {event_type, topic, subject, data}; `topic` is the workspace's id.

    Event Grid takes it up at once, by its step "event_grid.service_event".
    """
    told = {
        "event_type": event_type, "topic": topic or estate.workspace_id(), "subject": subject, "data": dict(data),
    }  # fmt: skip
    world.events.add(ML_EVENT, at, **told)
    world.scheduler.at(at, "event_grid.service_event", **told)


def run_changed(world: World, job: Resource, status: str, at: float) -> None:
    """RunStatusChanged for every state of a run, and RunCompleted when it has Completed."""
    name = str(job.properties.get("experimentName") or "Default")
    experiment = experiment_id(name)
    data = {
        "experimentId": experiment,
        "experimentName": name,
        "runId": job.name,
        "runType": run_type(job),
        "runTags": dict(job.properties.get("tags") or {}),
        "runProperties": dict(job.properties.get("properties") or {}),
    }
    subject = f"experiments/{experiment}/runs/{job.name}"
    workspace = job.id.rpartition("/jobs/")[0]
    emit(world, RUN_STATUS_CHANGED, subject, {**data, "runStatus": status}, at, topic=workspace)
    if status == "Completed":
        emit(world, RUN_COMPLETED, subject, data, at, topic=workspace)


def experiment_id(name: str) -> str:
    """The same experiment has the same id in every process."""
    return str(uuid.uuid5(_EXPERIMENTS, name))


def run_type(job: Resource) -> str:
    kinds = {"Sweep": "azureml.sweep", "Pipeline": "azureml.PipelineRun"}
    return kinds.get(str(job.properties.get("jobType")), "azureml.commandrun")
