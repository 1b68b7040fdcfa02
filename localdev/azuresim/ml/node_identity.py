"""Who a program on a node of a cluster is: the cluster's user-assigned identities.

Source: azure-identity, _credentials/azure_ml.py (MSI_ENDPOINT, MSI_SECRET, parameter clientid, api-version
2017-09-01); learn.microsoft.com machine-learning/how-to-identity-based-service-authentication, which names
DEFAULT_IDENTITY_CLIENT_ID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localdev.azuresim.estate import IDENTITIES, Identity
from localdev.azuresim.ml.cluster import AML_COMPUTE, COMPUTES
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

PATH, VERSION = "/msi/auth", "2017-09-01"


def cluster_of(world: World, vm_id: str) -> Resource | None:
    if not vm_id:
        return None
    for compute in world.store.of_type(COMPUTES):
        if compute.properties["computeType"] != AML_COMPUTE:
            continue
        if any(node["vm"] == vm_id for node in compute.state.get("nodes", ())):
            return compute
    return None


def client_ids(cluster: Resource) -> list[str]:
    assigned = cluster.extra.get("identity", {}).get("userAssignedIdentities", {})
    return [str(each["clientId"]) for each in assigned.values()]


def variables(cluster: Resource, asked: Mapping[str, Any]) -> dict[str, str]:
    """`asked` is the `identity` of a job: the one it names, else the first of the cluster."""
    mine = client_ids(cluster)
    chosen = str(asked.get("clientId") or next(iter(mine), ""))
    return {"DEFAULT_IDENTITY_CLIENT_ID": chosen} if chosen else {}


def assigned(mine: Sequence[str], client_id: str) -> Identity | None:
    """The identity of `mine` that a token is asked for; without a client id, the only one there is."""
    wanted = client_id.casefold() or (mine[0].casefold() if len(mine) == 1 else "")
    if wanted not in (each.casefold() for each in mine):
        return None
    return next((each for each in IDENTITIES if each.client_id.casefold() == wanted), None)
