"""What the body of an online deployment may say: checked, defaults filled in, what it names found.

Members and defaults: mfe.json 2023-04-01-preview (ManagedOnlineDeployment, KubernetesOnlineDeployment, ProbeSettings,
OnlineRequestSettings); limits: learn.microsoft.com machine-learning/how-to-manage-quotas and
reference-yaml-deployment-kubernetes-online. Texts of refusals are ours where no source is named in
behaviours_endpoints.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError, not_simulated
from localdev.azuresim.ml import job_paths
from localdev.azuresim.ml.assets import find_version
from localdev.azuresim.ml.cluster import seconds, size_of
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.ml.endpoint_spec import DEPLOYMENTS, K8S, MANAGED, check_name, kind_of
from localdev.azuresim.routing import Call
from localdev.azuresim.serving import BlobFolder
from localdev.azuresim.shapes import ANY, READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

PROBE = {
    "failureThreshold": 30,
    "initialDelay": "PT10S",
    "period": "PT10S",
    "successThreshold": 1,
    "timeout": "PT2S",
}
_REQUESTS = {"maxConcurrentRequestsPerInstance": 1, "maxQueueWait": "PT0.5S", "requestTimeout": "PT5S"}
_LONGEST_REQUEST = {MANAGED: 180.0, K8S: 300.0}  # seconds
_MOST_INSTANCES = 50
_DEFAULT_TYPE = {MANAGED: "Standard_F4s_v2", K8S: "defaultinstancetype"}  # mfe.json: "Compute instance type"
_OWN = {K8S: ("containerResourceRequirements",), MANAGED: ()}
_SHAPE = {
    **members("location", "tags", "identity", "kind", "sku", *READ_ONLY),
    "properties": {
        **members("appInsightsEnabled", "dataCollector", "description", "egressPublicNetworkAccess"),
        **members("endpointComputeType", "environmentId", "environmentVariables", "instanceType", "livenessProbe"),
        **members("model", "modelMountPath", "properties", "provisioningState", "readinessProbe", "requestSettings"),
        **members("scaleSettings", "containerResourceRequirements", "privateNetworkConnection"),
        "codeConfiguration": members("codeId", "scoringScript"),
    },
    "": ANY,
}  # fmt: skip
_MODEL = re.compile(r"(?:azureml:)?/.*/models/([^/]+)/versions/([^/]+)", re.IGNORECASE)


def read(world: World, call: Call, workspace: Resource, endpoint: Resource) -> dict[str, Any]:
    """The properties of a deployment, complete. Raises the refusal of one that cannot be."""
    body = call.document()
    check(body, _SHAPE, "OnlineDeployment")
    check_name(call.params["deployment"], "deployment")
    check_tags(body.get("tags"))
    if required_location(body, DEPLOYMENTS) != endpoint.location:
        raise user_error(400, f"A deployment must be in the region of its endpoint, {endpoint.location}.")
    asked = {name: value for name, value in (body.get("properties") or {}).items() if value is not None}
    asked.pop("provisioningState", None)
    kind = kind_of(endpoint)
    if asked.get("endpointComputeType") != kind:
        raise _bad(
            f"The endpointComputeType '{asked.get('endpointComputeType')}' does not fit the endpoint '{endpoint.name}', "
            f"which is {kind}."
        )
    if "containerResourceRequirements" in asked and kind == MANAGED:
        raise _bad("A managed online deployment has no containerResourceRequirements.")
    properties = {
        "description": None,
        "properties": {},
        "appInsightsEnabled": False,
        "egressPublicNetworkAccess": "Enabled",
        "environmentVariables": {},
        **asked,
        "instanceType": asked.get("instanceType") or _DEFAULT_TYPE[kind],
        # azure-ai-ml cannot list deployments of which one has none.
        "scaleSettings": asked.get("scaleSettings") or {"scaleType": "Default"},
        "requestSettings": {**_REQUESTS, **_given(asked.get("requestSettings"))},
        "livenessProbe": {**PROBE, **_given(asked.get("livenessProbe"))},
        "readinessProbe": {**PROBE, **_given(asked.get("readinessProbe"))},
    }
    _check_settings(properties, kind)
    _check_assets(world, workspace, properties)
    return properties


def instances_of(body: Mapping[str, Any]) -> int:
    """How many instances a body asks for. Raises a 400."""
    capacity = (body.get("sku") or {}).get("capacity")
    wanted = 1 if capacity is None else capacity
    if not isinstance(wanted, int) or not 1 <= wanted <= _MOST_INSTANCES:
        raise _bad(f"The instance count {wanted} is not between 1 and {_MOST_INSTANCES}.")
    return wanted


def size_name(instance_type: str, location: str) -> str:
    """The size of a managed instance. Raises the refusal of one that is not sold."""
    size = size_of(instance_type)
    if size is None or not catalog.is_sold(size.name, location):
        raise _bad(f"The instance type '{instance_type}' is not supported in the region {location}.")
    return size.name


def model_of(world: World, workspace: Resource, properties: Mapping[str, Any]) -> tuple[str, str, BlobFolder]:
    """Name, version and files of the model. Raises the refusal of one that is not there."""
    uri = str(properties.get("model"))
    match = _MODEL.fullmatch(uri)
    version = find_version(world, workspace.id, "models", match[1], match[2]) if match else None
    if match is None or version is None:
        raise _bad(f"The model '{uri}' was not found in the workspace.", "ResourceNotFound")
    container, path = job_paths.blobs_of(world, workspace, str(version.properties["modelUri"]))
    return match[1], version.name, BlobFolder(container, path)


def code_of(
    world: World, workspace: Resource, properties: Mapping[str, Any]
) -> tuple[BlobFolder | None, str]:
    """Files and entry script of the code; (None, "") for a model that brings its own."""
    given = properties.get("codeConfiguration") or {}
    if not given.get("codeId"):
        return None, str(given.get("scoringScript") or "")
    container, path = job_paths.blobs_of(world, workspace, str(given["codeId"]))
    return BlobFolder(container, path), str(given["scoringScript"])


def environment_of(world: World, workspace: Resource, properties: Mapping[str, Any]) -> Resource | None:
    """The environment of the workspace it names; None for one of a registry, or none at all."""
    match = re.fullmatch(
        r"(?:azureml:)?/.*/environments/([^/]+)/versions/([^/]+)", str(properties.get("environmentId"))
    )
    return find_version(world, workspace.id, "environments", match[1], match[2]) if match else None


def _check_settings(properties: dict[str, Any], kind: str) -> None:
    scale, requests = properties["scaleSettings"], properties["requestSettings"]
    if scale.get("scaleType") not in ("Default", "TargetUtilization"):
        raise _bad(f"The scaleType '{scale.get('scaleType')}' is not Default or TargetUtilization.")
    if scale["scaleType"] == "TargetUtilization":
        raise not_simulated("Scaling by utilization", "properties.scaleSettings.scaleType")
    for owner in ("requestSettings", "livenessProbe", "readinessProbe"):
        for name, value in properties[owner].items():
            if isinstance(value, str):
                _check_duration(f"{owner}.{name}", value)
    if seconds(requests["requestTimeout"]) > _LONGEST_REQUEST[kind]:
        raise _bad(
            f"The requestTimeout {requests['requestTimeout']} exceeds {_LONGEST_REQUEST[kind]:g} seconds."
        )
    if int(requests["maxConcurrentRequestsPerInstance"]) < 1:
        raise _bad("maxConcurrentRequestsPerInstance must be at least 1.")
    for name, value in properties["environmentVariables"].items():
        if not isinstance(value, str):
            raise _bad(f"The environment variable '{name}' is no text.")


def _check_assets(world: World, workspace: Resource, properties: dict[str, Any]) -> None:
    model_of(world, workspace, properties)
    code, script = code_of(world, workspace, properties)
    if code is None or not script:
        raise not_simulated("A deployment without code and scoring script", "properties.codeConfiguration")
    if not properties.get("environmentId"):
        raise _bad("The environmentId is required for a model that is not of the type mlflow_model.")
    job_paths.environment(world, workspace, str(properties["environmentId"]))


def _check_duration(name: str, text: str) -> None:
    try:
        seconds(text)
    except ValueError as error:
        raise _bad(f"{name}: {error}.") from error


def _given(asked: Any) -> dict[str, Any]:
    return {name: value for name, value in (asked or {}).items() if value is not None}


def _bad(message: str, code: str = "BadArgument") -> ArmError:
    return user_error(400, "The request is invalid.", (code, message))
