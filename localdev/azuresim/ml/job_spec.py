"""What the body of a job may say: checked, defaults filled in, and shown again as the service shows it.

Members: mfe.json 2024-01-01-preview (CommandJob, SweepJob, PipelineJob), mutability included; texts are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localdev.azuresim import estate
from localdev.azuresim.errors import not_simulated
from localdev.azuresim.ml import job_paths
from localdev.azuresim.ml.cluster import AML_COMPUTE, Cluster, seconds
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

COMMAND, SWEEP, PIPELINE = "Command", "Sweep", "Pipeline"
FREE = ("tags", "description", "displayName", "isArchived", "properties")  # what may be changed later
_READ_ONLY = ("status", "services", "parameters")
_COMMON = {
    *FREE, *_READ_ONLY, "jobType", "experimentName", "computeId", "componentId", "identity", "notificationSetting",
    "secretsConfiguration", "inputs", "outputs",
}  # fmt: skip
_MEMBERS = {
    COMMAND: {"autologgerSettings", "codeId", "command", "distribution", "environmentId", "environmentVariables",
              "limits", "queueSettings", "resources"},
    SWEEP: {"componentConfiguration", "earlyTermination", "limits", "objective", "queueSettings", "resources",
            "samplingAlgorithm", "searchSpace", "trial"},
    PIPELINE: {"jobs", "settings", "sourceJobId"},
}  # fmt: skip
_NEEDED = {
    COMMAND: ("command", "environmentId"),
    SWEEP: ("objective", "samplingAlgorithm", "searchSpace", "trial"),
    PIPELINE: ("jobs",),
}


def read(world: World, workspace: Resource, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a new job. Raises the refusal of one that cannot be."""
    kind = str(asked.get("jobType"))
    if kind not in _MEMBERS:
        raise not_simulated(f"A job of type {kind}", "properties.jobType")
    for member in asked:
        if member not in _COMMON | _MEMBERS[kind]:
            raise user_error(400, f"Could not find member '{member}' on object of type '{kind}Job'.")
    for member in _NEEDED[kind]:
        if not asked.get(member):
            raise user_error(400, f"The request is invalid: '{member}' is required.")
    properties = {
        "description": None,
        "properties": {},
        "isArchived": False,
        **{key: value for key, value in asked.items() if key not in _READ_ONLY},
        "displayName": asked.get("displayName") or name,
        "experimentName": asked.get("experimentName") or "Default",
        "tags": texts(asked.get("tags")),
        "outputs": _outputs(name, asked.get("outputs") or {}),
    }
    if kind != PIPELINE:
        _check_compute(world, workspace, properties)
        _check_parts(world, workspace, properties if kind == COMMAND else properties["trial"])
    for given in (properties.get("inputs") or {}).values():
        job_paths.check_asset(world, workspace, str((given or {}).get("uri", "")))
    for limit in ("timeout", "trialTimeout"):
        if given := (properties.get("limits") or {}).get(limit):
            _check_duration(str(given))
    return properties


def compute_of(world: World, workspace: Resource, compute_id: Any) -> Resource:
    """The compute a job names, by id or by name. Raises the refusal of one that is not there."""
    id_ = str(compute_id or "")
    if not id_:
        raise not_simulated("A job without a compute (serverless)", "properties.computeId")
    found = world.store.get(id_ if "/" in id_ else f"{workspace.id}/computes/{id_}")
    if found is None:
        name = id_.rpartition("/")[2]
        raise user_error(
            400, f"The specified compute target '{name}' was not found.", ("ComputeNotFound", name)
        )
    return found


def nodes_of(properties: Mapping[str, Any]) -> int:
    return int((properties.get("resources") or {}).get("instanceCount") or 1)


def texts(values: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (values or {}).items()}


def services(workspace: Resource, job: str) -> dict[str, Any]:
    """Where a run is followed: by MLflow clients, and in a browser."""
    host = f"azureml://{workspace.location}.api.azureml.ms"
    studio = f"https://ml.azure.com/runs/{job}?wsid={workspace.id}&tid={estate.TENANT}"
    return {
        "Tracking": {"jobServiceType": "Tracking", "endpoint": f"{host}/mlflow/v1.0{workspace.id}?"},
        "Studio": {"jobServiceType": "Studio", "endpoint": studio},
    }


def _outputs(job: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that were asked for, and the one every job has."""
    found = {
        name: {"mode": "ReadWriteMount", **(given or {"jobOutputType": "uri_folder"})}
        for name, given in asked.items()
    }
    default = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": job_paths.artifact_uri(job)}
    return {**found, "default": default}


def _check_compute(world: World, workspace: Resource, properties: dict[str, Any]) -> None:
    compute = compute_of(world, workspace, properties.get("computeId"))
    properties["computeId"] = compute.id
    if compute.properties["computeType"] != AML_COMPUTE:
        raise not_simulated(
            f"A job on a compute of type {compute.properties['computeType']}", "properties.computeId"
        )
    if compute.provisioning_state in ("Failed", "Deleting"):
        raise user_error(
            400,
            f"The compute target '{compute.name}' is in the state {compute.provisioning_state} and takes no jobs.",
        )
    wanted, most = nodes_of(properties), Cluster(world, compute).max_nodes
    if properties["jobType"] == COMMAND and wanted > most:
        raise user_error(
            400, f"The requested node count {wanted} exceeds the cluster's maximum of {most} nodes."
        )


def _check_parts(world: World, workspace: Resource, parts: Mapping[str, Any]) -> None:
    for member in _NEEDED[COMMAND]:
        if not parts.get(member):
            raise user_error(400, f"The request is invalid: '{member}' is required.")
    job_paths.environment(world, workspace, str(parts["environmentId"]))
    if parts.get("codeId"):
        job_paths.blobs_of(world, workspace, str(parts["codeId"]))


def _check_duration(text: str) -> None:
    try:
        seconds(text)
    except ValueError as error:
        raise user_error(400, f"The request is invalid: {error}.") from error
