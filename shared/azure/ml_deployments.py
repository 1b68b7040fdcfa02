"""Azure ML online deployments: their requests, the bodies we send, and what a look at one says.

Field names and enums: Microsoft.MachineLearningServices 2024-10-01, mfe.json (KubernetesOnlineDeployment,
ManagedOnlineDeployment). A deployment's GET says that it failed, and only the operation that made it says why: its
address is in the deployment's own properties (Azure/azureml-examples, cli/deploy-rest.sh).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.azure import ml_client, ml_endpoints
from shared.azure.arm import Answer, pages, request
from shared.azure.classify import told_code
from shared.azure.resources import tags_of
from shared.config import Settings
from shared.domain.deployment import DEFAULT_INSTANCE_TYPE
from shared.domain.errors import NotFoundError, PlatformError, TransientError
from shared.domain.lease import TAG_APP, TAG_EPOCH, TAG_OWNER
from shared.domain.price_book import find_size
from shared.domain.redaction import redact
from shared.domain.serving import MAX_LOG, DeploymentLook, DeploymentPlan, DeploymentState

INSTANCE_CLIENT_ID = "AZURE_CLIENT_ID"

_STATES = {
    "Creating": DeploymentState.CREATING,
    "Updating": DeploymentState.CREATING,
    "Scaling": DeploymentState.CREATING,
    "Succeeded": DeploymentState.READY,
    "Failed": DeploymentState.FAILED,
    "Canceled": DeploymentState.FAILED,
    "Deleting": DeploymentState.DELETING,
}
_OPERATION = re.compile(
    r"https://management\.azure\.com/subscriptions/[0-9a-f-]{36}/providers/Microsoft\.MachineLearningServices"
    r"/locations/[a-z0-9]+/mfeOperationsStatus/[A-Za-z0-9:_-]+\?api-version=[0-9a-z-]+",
    re.IGNORECASE,
)
_MAX_MESSAGE = 1_000
# The SDK's own: a container is asked every 10 s, and given up after 5 minutes.
_PROBE = {
    "initialDelay": "PT10S",
    "period": "PT10S",
    "timeout": "PT2S",
    "successThreshold": 1,
    "failureThreshold": 30,
}


def deployment_id(endpoint: str, name: str) -> str:
    return f"{ml_endpoints.endpoint_id(endpoint)}/deployments/{name}"


def get_deployment(endpoint: str, name: str) -> Answer:
    """The deployment; `is_missing` if ARM says that it, or its endpoint, is not there."""
    operation = ml_client.client().online_deployments.get
    return ml_client.looked(operation, f"read deployment {endpoint}/{name}", endpoint, name)


def list_deployments(endpoint: str) -> list[dict[str, Any]]:
    """Every deployment of the endpoint; none where the endpoint is gone."""
    path = f"{ml_endpoints.endpoint_id(endpoint)}/deployments"
    target = f"list deployments of endpoint {endpoint}"
    try:
        return [
            each
            for page in pages(path, api_version=ml_client.ML_API, target=target)
            for each in page.body["value"]
        ]
    except NotFoundError:
        return []


def begin_create(endpoint: str, name: str, body: Mapping[str, Any]) -> Answer:
    """Create it. The API overwrites what is there: look before."""
    operation = ml_client.client().online_deployments.begin_create_or_update
    return ml_client.begun(operation, f"create deployment {endpoint}/{name}", endpoint, name, body)


def begin_delete(endpoint: str, name: str) -> Answer:
    operation = ml_client.client().online_deployments.begin_delete
    return ml_client.begun(operation, f"delete deployment {endpoint}/{name}", endpoint, name)


def deployment_body(
    plan: DeploymentPlan, settings: Settings, *, code_id: str, script: str, environment_id: str, model_id: str
) -> dict[str, Any]:
    """A whole deployment. It has no traffic: that is the endpoint's, and given later."""
    resources = plan.resources
    patience = f"PT{resources.request_timeout.total_seconds():g}S"
    properties: dict[str, Any] = {
        "model": model_id,
        "codeConfiguration": {"codeId": code_id, "scoringScript": script},
        "environmentId": environment_id,
        "environmentVariables": environment_variables(plan, settings),
        "requestSettings": {
            "maxConcurrentRequestsPerInstance": resources.max_concurrent,
            "requestTimeout": patience,
        },
        "scaleSettings": {"scaleType": "Default"},
        "livenessProbe": _PROBE,
        "readinessProbe": _PROBE,
        "appInsightsEnabled": False,
    }
    if plan.target.platform == "aks":
        # Azure's half second refuses requests in every short burst. A managed endpoint knows no such setting any more.
        properties["requestSettings"]["maxQueueWait"] = patience
        needs = {"cpu": resources.cpu, "memory": resources.memory}
        if resources.gpu:
            needs["gpu"] = str(resources.gpu)
        properties |= {
            "endpointComputeType": "Kubernetes",
            "instanceType": resources.instance_type or DEFAULT_INSTANCE_TYPE,
            # As much as it asks for and no more: another pod's work on the node must not show in its latency.
            "containerResourceRequirements": {
                "containerResourceRequests": needs,
                "containerResourceLimits": dict(needs),
            },
        }
    else:
        properties |= {"endpointComputeType": "Managed", "instanceType": resources.instance_type}
    return {
        "location": ml_endpoints.location(),
        "tags": plan.tags(settings.app),
        "sku": {"name": "Default", "capacity": resources.instances},
        "properties": properties,
    }


def environment_variables(plan: DeploymentPlan, settings: Settings) -> dict[str, str]:
    """What the scoring script reads (node/serving). No secret is among them: it has an identity."""
    told = {
        "MUSTER_MODEL_SHA256": plan.model.sha256,
        "MUSTER_WORKSPACE": ml_client.workspace().id,
        "MUSTER_SERVICE": plan.endpoint,
        "MUSTER_DEPLOYMENT": plan.name,
        "MUSTER_MODEL": plan.model.name,
        "MUSTER_VERSION": plan.model.version,
        INSTANCE_CLIENT_ID: settings.vm_identity_client_id,
        # Azure ML's server has one process unless it is told otherwise, however large the instance is.
        "WORKER_COUNT": str(plan.resources.workers(_vcpus(plan))),
    }
    if plan.collect:
        told |= {"MUSTER_COLLECT": plan.collect, "MUSTER_COLLECT_CLIENT_ID": settings.vm_identity_client_id}
    return told


def _vcpus(plan: DeploymentPlan) -> int:
    """Of a managed instance's size; 0 on a cluster, where a pod has the cores that it asks for."""
    size = plan.resources.instance_type
    return find_size(size).vcpus if plan.target.platform == "managed_endpoint" and size else 0


def is_of_run(deployment: Mapping[str, Any], run: str, epoch: int, settings: Settings) -> bool:
    """Whether this app's run made it under this epoch."""
    tags = tags_of(deployment)
    wanted = (settings.app, run, str(epoch))
    return (tags.get(TAG_APP), tags.get(TAG_OWNER), tags.get(TAG_EPOCH)) == wanted


def state_of(deployment: Mapping[str, Any]) -> DeploymentState:
    """CREATING for a state that Azure adds one day: a stage's deadline puts that right."""
    return _STATES.get(str(deployment["properties"].get("provisioningState")), DeploymentState.CREATING)


def look_of(deployment: Mapping[str, Any], traffic: Mapping[str, int], poll_after_s: float) -> DeploymentLook:
    """The deployment as its GET shows it; why it failed, only its operation knows (`failure_of`)."""
    return DeploymentLook(
        name=deployment["name"],
        state=state_of(deployment),
        instances=int((deployment.get("sku") or {}).get("capacity") or 0),
        tags=tags_of(deployment),
        weight=traffic.get(deployment["name"], 0),
        poll_after_s=poll_after_s,
    )


def failure_of(deployment: Mapping[str, Any]) -> tuple[str, str]:
    """Azure's code and text of the last operation on the deployment. Empty where it left none to be read."""
    uri = str((deployment["properties"].get("properties") or {}).get("AzureAsyncOperationUri") or "")
    if not _OPERATION.fullmatch(uri):  # the token goes nowhere else
        return "", ""
    target = f"read why deployment {deployment['name']} failed"
    answer = request("GET", uri, api_version=ml_client.ML_API, target=target, may_be_missing=True)
    error = answer.body.get("error") or {}
    return told_code(error), redact(str(error.get("message") or ""))[:_MAX_MESSAGE]


def read_logs(endpoint: str, name: str, tail: int) -> str:
    """The last `tail` lines of what its server wrote, else of what fetched model and code for it; redacted, bounded."""
    said: list[str] = []
    for container in ("InferenceServer", "StorageInitializer"):
        body = {"containerType": container, "tail": tail}
        operation = ml_client.client().online_deployments.get_logs
        try:
            answer = ml_client.sent(operation, f"read logs of {endpoint}/{name}", endpoint, name, body)
        except TransientError:
            raise
        except PlatformError as error:
            said.append(f"{container}: {error.code or 'no log'}: {error.message}")
            continue
        if text := str(answer.body.get("content") or "").strip():
            return _end_of(text, tail)
    return _end_of("\n".join(said), tail)


def _end_of(text: str, tail: int) -> str:
    return redact("\n".join(text.splitlines()[-tail:]))[-MAX_LOG:]
