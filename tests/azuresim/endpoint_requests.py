"""Requests to online endpoints of the simulated workspace, as any client might send them."""

from __future__ import annotations

from typing import Any

from tests.azuresim.azure_client import Azure
from tests.azuresim.ml_requests import WORKSPACE

ENDPOINTS_API, DEPLOYMENTS_API, ASSETS_API = "2022-02-01-preview", "2023-04-01-preview", "2023-04-01-preview"
COMPUTE = f"{WORKSPACE}/computes/aks-prod"
CONDA = "dependencies: [python=3.13, pip]"
WRITE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write"


def endpoint_id(name: str = "live") -> str:
    return f"{WORKSPACE}/onlineEndpoints/{name}"


def endpoint_body(
    traffic: dict[str, int] | None = None,
    *,
    managed: bool = False,
    tags: dict[str, str] | None = None,
    **members: Any,
) -> dict[str, Any]:
    place = {} if managed else {"compute": COMPUTE}
    properties = {"authMode": "Key", "traffic": traffic or {}, **place, **members}
    return {
        "location": "westeurope",
        "tags": tags or {},
        "identity": {"type": "SystemAssigned"},
        "properties": properties,
    }


def deployment_body(
    *, managed: bool = False, instances: int = 1, model: str = "flights/versions/1", **members: Any
) -> Any:
    kind = {"endpointComputeType": "Managed", "instanceType": "Standard_D2s_v5"} if managed else {
        "endpointComputeType": "Kubernetes", "instanceType": "defaultinstancetype",
    }  # fmt: skip
    return {
        "location": "westeurope",
        "tags": {"muster-model": "flights:1"},
        "sku": {"name": "Default", "capacity": instances},
        "properties": {
            **kind,
            "model": f"{WORKSPACE}/models/{model}",
            "environmentId": f"{WORKSPACE}/environments/serve/versions/1",
            "codeConfiguration": {
                "codeId": f"{WORKSPACE}/codes/score/versions/1",
                "scoringScript": "score.py",
            },
            **members,
        },
    }


def register_assets(azure: Azure, *, conda: str | None = None) -> None:
    """What a deployment names: a model, code, and an environment that is built only if it has `conda`."""
    environment = {"image": "mcr.microsoft.com/azureml/minimal", "osType": "Linux"}
    bodies = {
        "models/flights/versions/1": {"modelUri": "azureml://datastores/models/paths/flights/1/"},
        "codes/score/versions/1": {"codeUri": "https://musterdev.blob.core.windows.net:443/code/score"},
        "environments/serve/versions/1": {**environment, **({"condaFile": conda} if conda else {})},
    }
    for path, properties in bodies.items():
        answer = azure.send("PUT", f"{WORKSPACE}/{path}", {"properties": properties}, version=ASSETS_API)
        assert answer.status_code == 201, answer.text


def put_endpoint(
    azure: Azure, name: str = "live", traffic: dict[str, int] | None = None, **options: Any
) -> Any:
    return azure.send("PUT", endpoint_id(name), endpoint_body(traffic, **options), version=ENDPOINTS_API)


def put_deployment(azure: Azure, name: str, endpoint: str = "live", **options: Any) -> Any:
    path = f"{endpoint_id(endpoint)}/deployments/{name}"
    return azure.send("PUT", path, deployment_body(**options), version=DEPLOYMENTS_API)


def endpoint(azure: Azure, name: str = "live") -> dict[str, Any]:
    return dict(azure.get(endpoint_id(name), version=ENDPOINTS_API))


def deployment(azure: Azure, name: str, endpoint: str = "live") -> dict[str, Any]:
    return dict(azure.get(f"{endpoint_id(endpoint)}/deployments/{name}", version=DEPLOYMENTS_API))


def state(azure: Azure, name: str, endpoint: str = "live") -> str:
    return str(deployment(azure, name, endpoint)["properties"]["provisioningState"])


def operation(azure: Azure, answer: Any) -> dict[str, Any]:
    """The operation that an answer began, as it is now."""
    return dict(azure.get(answer.headers["Azure-AsyncOperation"]))


def logs(azure: Azure, name: str, endpoint: str = "live", **body: Any) -> str:
    path = f"{endpoint_id(endpoint)}/deployments/{name}/getLogs"
    answer = azure.send("POST", path, body, version=DEPLOYMENTS_API)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"])


def details(answer: Any) -> list[str]:
    """The codes in the details of a refusal."""
    return [each["code"] for each in answer.json()["error"].get("details", [])]


def live_endpoint(azure: Azure, *names: str, managed: bool = False) -> None:
    """An endpoint with these deployments, all ready, no traffic on any."""
    register_assets(azure)
    made = put_endpoint(azure, managed=managed)
    assert made.status_code == 201, made.text
    azure.control.advance(100)
    for name in names:
        answer = put_deployment(azure, name, managed=managed)
        assert answer.status_code == 201, answer.text
        azure.control.advance(200)
        assert state(azure, name) == "Succeeded"


def set_traffic(azure: Azure, traffic: dict[str, int], *, managed: bool = False) -> Any:
    """The map in force, and the endpoint free for the next."""
    answer = put_endpoint(azure, traffic=traffic, managed=managed)
    assert answer.status_code == 200, answer.text
    azure.control.advance(20)
    assert endpoint(azure)["properties"]["traffic"] == traffic
    return answer
