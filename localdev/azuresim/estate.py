"""The simulated estate: what is there before anybody asks for anything, and the settings that point a program at it.

Machines live in `muster-burn`, which is empty at first; networks and identities are in `muster`.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

from localdev.azuresim import catalog
from localdev.azuresim.store import Resource, Store

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
TENANT = "22222222-2222-2222-2222-222222222222"
HOME_GROUP, MACHINE_GROUP = "muster", "muster-burn"
LOCATION = "westeurope"
STORAGE_ACCOUNT = "musterdev"
NETWORK_REGIONS = ("westeurope", "northeurope")
ML_WORKSPACE = "muster-ml"
ML_WORKSPACE_GUID = "44444444-0000-0000-0000-00000000d001"
# Datastores of the workspace and their containers; the first is the default one.
ML_DATASTORES = {
    "workspaceblobstore": "azureml-blobstore",
    "workspaceartifactstore": "azureml",
    "models": "models",
}
ML_OWN_CONTAINERS = ("azureml-blobstore", "azureml")  # those that come with a workspace
AKS_CLUSTER, AKS_NAMESPACE = "aks-prod", "muster"
# What a cluster with the Azure ML extension calls its instance types; the first is every extension's own (learn:
# how-to-manage-kubernetes-instance-types). Requests and limits are per pod.
INSTANCE_TYPES = {
    "defaultinstancetype": {
        "requests": {"cpu": "100m", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    },
    "gpu": {
        "requests": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"},
        "limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"},
    },
}
_AKS_NODES = (
    *({"name": f"aks-cpu-{number}", "cpu": 4.0, "memory_gib": 16.0, "gpu": 0} for number in range(3)),
    {"name": "aks-gpu-0", "cpu": 4.0, "memory_gib": 28.0, "gpu": 1},
)
EVENT_TOPIC = "muster-events"  # a custom topic of Event Grid, for CloudEvents
# A key pair nobody has: simulated machines take no logins.
SSH_PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmDZ2Zr9Vq0kC1m0n2b8x7y6w5v4u3t2s1r0q9p8o7n muster@localdev"
)

_HOME = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{HOME_GROUP}"


@dataclass(frozen=True)
class Identity:
    """Who a token speaks for. `manages` says whether it has a role on the subscription's resources."""

    name: str
    object_id: str
    client_id: str
    manages: bool
    id: str = ""


APP = Identity(
    "muster-app",
    "33333333-0000-0000-0000-00000000a001",
    "33333333-0000-0000-0000-00000000a002",
    manages=True,
    id=f"{_HOME}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/muster-app",
)
VM = Identity(
    "muster-vm",
    "33333333-0000-0000-0000-00000000b001",
    "33333333-0000-0000-0000-00000000b002",
    manages=False,
    id=f"{_HOME}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/muster-vm",
)
# The host's system-assigned identity: what a program gets that names none.
HOST = Identity(
    "host", "33333333-0000-0000-0000-00000000c001", "33333333-0000-0000-0000-00000000c002", manages=True
)
IDENTITIES = (APP, VM, HOST)


def workspace_id() -> str:
    return f"{_HOME}/providers/Microsoft.MachineLearningServices/workspaces/{ML_WORKSPACE}"


def storage_account_id() -> str:
    return f"{_HOME}/providers/Microsoft.Storage/storageAccounts/{STORAGE_ACCOUNT}"


def event_topic_id() -> str:
    return f"{_HOME}/providers/Microsoft.EventGrid/topics/{EVENT_TOPIC}"


def event_topic_endpoint() -> str:
    return f"https://{EVENT_TOPIC}.{LOCATION}-1.eventgrid.azure.net/api/events"


def cluster_id(name: str = AKS_CLUSTER) -> str:
    return f"{_HOME}/providers/Microsoft.ContainerService/managedClusters/{name}"


def subnet_id(region: str) -> str:
    return f"{_HOME}/providers/Microsoft.Network/virtualNetworks/muster-{region}/subnets/machines"


def furnish(store: Store, at: float) -> None:
    """Put the estate in an empty store."""
    subscription = f"/subscriptions/{SUBSCRIPTION}"
    for group in (HOME_GROUP, MACHINE_GROUP):
        _add(
            store,
            at,
            f"{subscription}/resourceGroups/{group}",
            "Microsoft.Resources/resourceGroups",
            LOCATION,
        )
    for identity in (APP, VM):
        _add(
            store,
            at,
            identity.id,
            "Microsoft.ManagedIdentity/userAssignedIdentities",
            LOCATION,
            principalId=identity.object_id,
            clientId=identity.client_id,
            tenantId=TENANT,
        )
    for number, region in enumerate(NETWORK_REGIONS):
        _add_network(store, at, region, number)
    _add_workspace(store, at)
    _add_event_topic(store, at)
    _add_kubernetes(store, at)


def _add_kubernetes(store: Store, at: float) -> None:
    """A user's cluster with the Azure ML extension, attached to the workspace. What it costs is not on our bill.

    `state` of a cluster: reachable, extension (is it installed?), nodes with what pods may use of each.
    """
    cluster = _add(store, at, cluster_id(), "Microsoft.ContainerService/managedClusters", LOCATION)
    cluster.state = {"reachable": True, "extension": True, "nodes": [dict(node) for node in _AKS_NODES]}
    compute = _add(
        store,
        at,
        f"{workspace_id()}/computes/{AKS_CLUSTER}",
        "Microsoft.MachineLearningServices/workspaces/computes",
        LOCATION,
        computeType="Kubernetes",
        computeLocation=LOCATION,
        resourceId=cluster.id,
        isAttachedCompute=True,
        disableLocalAuth=False,
    )
    compute.properties["properties"] = {
        "namespace": AKS_NAMESPACE,
        "defaultInstanceType": next(iter(INSTANCE_TYPES)),
        "instanceTypes": {
            name: {"nodeSelector": None, "resources": each} for name, each in INSTANCE_TYPES.items()
        },
    }


def _add_network(store: Store, at: float, region: str, number: int) -> None:
    network = subnet_id(region).partition("/subnets/")[0]
    gateway = f"{_HOME}/providers/Microsoft.Network/natGateways/muster-{region}"
    _add(store, at, gateway, "Microsoft.Network/natGateways", region, idleTimeoutInMinutes=4)
    _add(
        store,
        at,
        network,
        "Microsoft.Network/virtualNetworks",
        region,
        addressSpace={"addressPrefixes": [f"10.{number}.0.0/16"]},
    )
    _add(
        store,
        at,
        subnet_id(region),
        "Microsoft.Network/virtualNetworks/subnets",
        region,
        addressPrefix=f"10.{number}.0.0/20",
        natGateway={"id": gateway},
        privateEndpointNetworkPolicies="Disabled",
        privateLinkServiceNetworkPolicies="Enabled",
    )


def _add_workspace(store: Store, at: float) -> None:
    """A workspace as the portal makes one, its identity that of the machines; members: workspaceRP.json."""
    api = f"https://{LOCATION}.api.azureml.ms"
    workspace = _add(
        store,
        at,
        workspace_id(),
        "Microsoft.MachineLearningServices/workspaces",
        LOCATION,
        friendlyName=ML_WORKSPACE,
        description="",
        storageAccount=storage_account_id(),
        keyVault=f"{_HOME}/providers/Microsoft.KeyVault/vaults/{ML_WORKSPACE}",
        applicationInsights=f"{_HOME}/providers/Microsoft.Insights/components/{ML_WORKSPACE}",
        hbiWorkspace=False,
        workspaceId=ML_WORKSPACE_GUID,
        tenantId=TENANT,
        discoveryUrl=f"{api}/discovery",
        mlFlowTrackingUri=f"azureml://{LOCATION}.api.azureml.ms/mlflow/v1.0{workspace_id()}",
        primaryUserAssignedIdentity=VM.id,
        publicNetworkAccess="Enabled",
        privateLinkCount=0,
        storageHnsEnabled=False,
    )
    workspace.extra = {
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {VM.id: {"principalId": VM.object_id, "clientId": VM.client_id}},
        },
    }
    for number, (name, container) in enumerate(ML_DATASTORES.items()):
        _add_datastore(store, at, name, container, is_default=number == 0)


def _add_datastore(store: Store, at: float, name: str, container: str, *, is_default: bool) -> None:
    store.put(
        Resource(
            f"{workspace_id()}/datastores/{name}",
            "Microsoft.MachineLearningServices/workspaces/datastores",
            LOCATION,
            at,
            at,
            properties={
                "description": "",
                "tags": {},
                "properties": {},
                "isDefault": is_default,
                "credentials": {"credentialsType": "AccountKey"},
                "datastoreType": "AzureBlob",
                "accountName": STORAGE_ACCOUNT,
                "containerName": container,
                "endpoint": "core.windows.net",
                "protocol": "https",
            },
        )
    )


def _add_event_topic(store: Store, at: float) -> None:
    """Members: EventGrid.json 2022-06-15. It takes tokens only: its keys are known to nobody."""
    topic = _add(
        store,
        at,
        event_topic_id(),
        "Microsoft.EventGrid/topics",
        LOCATION,
        endpoint=event_topic_endpoint(),
        inputSchema="CloudEventSchemaV1_0",
        metricResourceId=f"{SUBSCRIPTION}-{EVENT_TOPIC}",
        publicNetworkAccess="Enabled",
        disableLocalAuth=True,
    )
    topic.state = {name: base64.b64encode(secrets.token_bytes(32)).decode() for name in ("key1", "key2")}


def _add(store: Store, at: float, id_: str, type_: str, location: str, **properties: object) -> Resource:
    return store.put(
        Resource(id_, type_, location, at, at, properties={**properties, "provisioningState": "Succeeded"})
    )


def settings() -> dict[str, str]:
    """The MUSTER_* settings of an app that works in this estate."""
    return {
        "AZURE_CLIENT_ID": APP.client_id,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "MUSTER_SUBSCRIPTION_ID": SUBSCRIPTION,
        "MUSTER_RESOURCE_GROUP": MACHINE_GROUP,
        "MUSTER_LOCATION": LOCATION,
        "MUSTER_STORAGE_ACCOUNT_URL": f"https://{STORAGE_ACCOUNT}.blob.core.windows.net",
        "MUSTER_STATE_CONTAINER": "muster",
        "MUSTER_SUBNET_ID": ",".join(f"{region}={subnet_id(region)}" for region in NETWORK_REGIONS),
        "MUSTER_VM_IDENTITY_ID": VM.id,
        "MUSTER_VM_IDENTITY_CLIENT_ID": VM.client_id,
        "MUSTER_ML_WORKSPACE": workspace_id(),
        "MUSTER_EVENT_TOPIC_ENDPOINT": event_topic_endpoint(),
        "MUSTER_SSH_PUBLIC_KEY": SSH_PUBLIC_KEY,
        "MUSTER_APP": "muster",
    }


def location_name(text: str) -> str | None:
    """location_name("West Europe") -> "westeurope"; None for a region that is not simulated."""
    name = text.replace(" ", "").casefold()
    return name if name in catalog.REGIONS else None
