"""What the body of an online endpoint may say, and what is said to one that is wrong.

Members: mfe.json 2022-02-01-preview (OnlineEndpoint). Names: learn.microsoft.com machine-learning/
reference-yaml-endpoint-online and azure-ai-ml (validate_endpoint_or_deployment_name). Traffic: concept-endpoints-online
("sum to 0 or 100"). The texts of refusals are ours where no source is named in behaviours_endpoints.py.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from localdev.azuresim import estate
from localdev.azuresim.compute import identity
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError
from localdev.azuresim.ml.common import ASSET_VERSIONS, WORKSPACES, missing, user_error, workspace_of
from localdev.azuresim.routing import Call
from localdev.azuresim.shapes import NOT_SIMULATED, READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

ENDPOINTS = f"{WORKSPACES}/onlineEndpoints"
DEPLOYMENTS = f"{ENDPOINTS}/deployments"
# What the versions between say of an endpoint is less than is shown here.
VERSIONS = ("2022-02-01-preview", *ASSET_VERSIONS)
MANAGED, K8S = "Managed", "Kubernetes"
AUTH_MODES = ("Key", "AMLToken", "AADToken")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_SHAPE = {
    **members("location", "tags", "identity", "kind", "sku", *READ_ONLY),
    "properties": {
        **members(
            "authMode", "compute", "description", "keys", "properties", "publicNetworkAccess", "traffic"
        ),
        # `endpoint` is no member of the specification; azure-ai-ml sends it with every change of traffic.
        **members("provisioningState", "scoringUri", "swaggerUri", "endpoint"),
        "mirrorTraffic": NOT_SIMULATED,
    },
}


def kind_of(endpoint: Resource) -> str:
    return K8S if endpoint.properties.get("compute") else MANAGED


def endpoint_of(world: World, call: Call) -> Resource:
    """The endpoint a request is about or below. Raises the 404."""
    workspace = workspace_of(world, call)
    found = world.store.get(f"{workspace.id}/onlineEndpoints/{call.params['endpoint']}")
    if found is None:
        raise missing(f"Online endpoint with name: {call.params['endpoint']} not found.")
    return found


def check_name(name: str, what: str) -> None:
    """`what`: "endpoint" or "deployment"."""
    if not _NAME.fullmatch(name):
        raise user_error(
            400,
            f"The {what} name '{name}' is invalid. It must be 3 to 32 characters long, start with a letter, end with a "
            "letter or digit, and have only letters, digits and '-'.",
        )


def read(call: Call, workspace: Resource) -> dict[str, Any]:
    """The properties of the endpoint that is asked for, but for `compute` and `traffic` as they came."""
    body = call.document()
    check(body, _SHAPE, "OnlineEndpoint")
    check_name(call.params["endpoint"], "endpoint")
    check_tags(body.get("tags"))
    if required_location(body, ENDPOINTS) != workspace.location:
        raise user_error(400, f"An endpoint must be in the region of its workspace, {workspace.location}.")
    asked = {name: value for name, value in (body.get("properties") or {}).items() if value is not None}
    mode = next(
        (each for each in AUTH_MODES if each.casefold() == str(asked.get("authMode")).casefold()), None
    )
    if mode is None:
        raise user_error(
            400, f"The authMode '{asked.get('authMode')}' is not one of {', '.join(AUTH_MODES)}."
        )
    return {
        "description": asked.get("description"),
        "properties": {key: str(value) for key, value in (asked.get("properties") or {}).items()},
        "authMode": mode,
        "publicNetworkAccess": asked.get("publicNetworkAccess") or "Enabled",
        "mirrorTraffic": {},
        **({"compute": asked["compute"]} if asked.get("compute") else {}),
    }


def traffic(asked: Any, deployments: Mapping[str, Resource]) -> dict[str, int]:
    """A whole traffic map, names spelt as those of the deployments. Raises the refusal of a map that cannot be.

    `deployments`: those of the endpoint by their name in lower case, in which azure-ai-ml writes them.
    """
    wanted: dict[str, int] = {}
    for name, weight in (asked or {}).items():
        if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= 100:
            raise _bad_traffic(
                f"The traffic '{weight}' of the deployment '{name}' is not a whole number from 0 to 100."
            )
        found = deployments.get(name.casefold())
        if found is None:
            raise _bad_traffic(
                f"The deployment '{name}' in the traffic rules does not exist in the endpoint."
            )
        if weight and found.provisioning_state != "Succeeded":
            raise _bad_traffic(
                f"The deployment '{found.name}' is in the provisioning state {found.provisioning_state} and cannot take "
                "traffic."
            )
        wanted[found.name] = weight
    if sum(wanted.values()) not in (0, 100):
        raise _bad_traffic(f"The traffic values sum to {sum(wanted.values())}; they must sum to 0 or 100.")
    return wanted


def identity_of(world: World, endpoint_id: str, asked: Any) -> dict[str, Any]:
    """An endpoint has an identity of its own unless it is given one."""
    kind = str((asked or {}).get("type") or "SystemAssigned").replace("_", "").casefold()
    if kind == "userassigned":
        given = identity.profile(world, endpoint_id, {**asked, "type": "UserAssigned"})
        return given or {}
    if kind != "systemassigned":
        raise user_error(
            400, f"The identity type '{asked.get('type')}' is not SystemAssigned or UserAssigned."
        )
    own = uuid.uuid5(uuid.NAMESPACE_URL, endpoint_id.casefold())
    return {"type": "SystemAssigned", "principalId": str(own), "tenantId": estate.TENANT}


def client_id(endpoint: Resource) -> str:
    """Which of the simulated identities its programs speak for; "" for one of its own, which has no role anywhere."""
    assigned: dict[str, Any] = (endpoint.extra.get("identity") or {}).get("userAssignedIdentities") or {}
    return next((str(each["clientId"]) for each in assigned.values()), "")


def _bad_traffic(message: str) -> ArmError:
    return user_error(400, message, ("BadArgument", message))
