"""Kubernetes clusters attached to the simulated workspace: attaching them, what fits on them, and their troubles."""

from __future__ import annotations

from typing import Any

import pytest

from localdev.azuresim.estate import AKS_NAMESPACE, cluster_id
from tests.azuresim.azure_client import Azure, code
from tests.azuresim.endpoint_requests import (
    DEPLOYMENTS_API,
    details,
    endpoint_id,
    live_endpoint,
    operation,
    put_deployment,
    put_endpoint,
    register_assets,
    state,
)
from tests.azuresim.ml_requests import COMPUTES_API, compute, compute_id


def attach(azure: Azure, name: str = "second", cluster: str = "aks-prod", namespace: str = "other") -> Any:
    body = {
        "location": "westeurope",
        "properties": {
            "computeType": "Kubernetes",
            "resourceId": cluster_id(cluster),
            "properties": {"namespace": namespace},
        },
    }
    return azure.send("PUT", compute_id(name), body, version=COMPUTES_API)


def test_the_estate_has_an_attached_cluster_with_instance_types(azure: Azure) -> None:
    shown = compute(azure, "aks-prod")["properties"]
    assert (shown["computeType"], shown["isAttachedCompute"], shown["resourceId"]) == (
        "Kubernetes",
        True,
        cluster_id(),
    )
    assert set(shown["properties"]["instanceTypes"]) == {"defaultinstancetype", "gpu"}
    assert shown["properties"]["namespace"] == AKS_NAMESPACE


def test_a_cluster_is_attached_listed_and_detached(azure: Azure) -> None:
    assert attach(azure).status_code == 201
    azure.control.advance(15)
    assert compute(azure, "second")["properties"]["provisioningState"] == "Succeeded"
    assert attach(azure).status_code == 200  # the same again is no change
    azure.control.advance(15)
    assert code(attach(azure, namespace="third")) == (400, "BadRequest")
    listed = azure.get(compute_id("x").rpartition("/")[0], version=COMPUTES_API)["value"]
    assert [each["name"] for each in listed] == ["aks-prod", "second"]
    url = f"{compute_id('second')}?underlyingResourceAction="
    assert azure.send("DELETE", f"{url}Delete&api-version={COMPUTES_API}").status_code == 400
    assert azure.send("DELETE", f"{url}Detach&api-version={COMPUTES_API}").status_code == 202
    azure.control.advance(60)
    assert azure.send("GET", compute_id("second"), version=COMPUTES_API).status_code == 404
    assert azure.control.bill()["lines"] == []


def test_a_cluster_that_is_not_there_is_not_attached(azure: Azure) -> None:
    refused = attach(azure, cluster="nowhere")
    assert (code(refused), details(refused)) == ((400, "BadRequest"), ["ClusterNotFound"])


@pytest.mark.parametrize(
    ("trouble", "wanted"),
    [({"reachable": False}, "ClusterNotReachable"), ({"extension": False}, "ClusterServiceNotFound")],
)
def test_a_cluster_in_trouble_is_not_attached_and_takes_no_deployment(
    azure: Azure, trouble: dict[str, Any], wanted: str
) -> None:
    live_endpoint(azure)
    azure.control.change_cluster(**trouble)
    attach(azure)
    deployed = put_deployment(azure, "blue")
    made = put_endpoint(azure, "other")
    azure.control.advance(60)
    shown = compute(azure, "second")["properties"]
    assert shown["provisioningState"] == "Failed"
    assert shown["provisioningErrors"][0]["error"]["code"] == wanted
    assert operation(azure, deployed)["error"]["code"] == wanted
    assert operation(azure, made)["error"]["code"] == wanted
    azure.control.change_cluster(reachable=True, extension=True)
    assert put_deployment(azure, "blue").status_code == 201
    azure.control.advance(60)
    assert state(azure, "blue") == "Succeeded"


def test_an_endpoint_needs_a_compute_that_is_attached(azure: Azure) -> None:
    register_assets(azure)
    assert details(put_endpoint(azure, "lost", compute=compute_id("nowhere"))) == ["ComputeNotFound"]
    assert put_endpoint(azure).status_code == 201
    azure.control.advance(30)
    azure.send(
        "DELETE", f"{compute_id('aks-prod')}?underlyingResourceAction=Detach&api-version={COMPUTES_API}"
    )
    azure.control.advance(60)
    assert details(put_deployment(azure, "blue")) == ["ComputeNotFound"]


def test_pods_wait_for_a_node_and_are_given_up_in_the_end(azure: Azure) -> None:
    azure.control.change_cluster(nodes=[{"name": "only", "cpu": 2.0, "memory_gib": 8.0, "gpu": 0}])
    live_endpoint(azure)
    needs = {"containerResourceRequests": {"cpu": "1500m"}, "containerResourceLimits": {"cpu": "2"}}
    put_deployment(azure, "first", containerResourceRequirements=needs)
    azure.control.advance(60)
    waits = put_deployment(azure, "waits", containerResourceRequirements=needs)
    never = put_deployment(azure, "never", instanceType="gpu")
    azure.control.advance(120)
    assert (state(azure, "first"), state(azure, "waits")) == ("Succeeded", "Creating")
    azure.send("DELETE", f"{endpoint_id()}/deployments/first", version=DEPLOYMENTS_API)
    azure.control.advance(300)
    assert operation(azure, waits)["status"] == "Succeeded"
    error = operation(azure, never)["error"]
    assert error["code"] == "OutOfQuota"
    assert "0/1 nodes are available: 1 Insufficient nvidia.com/gpu" in error["message"]
