"""What the body of a compute may say, and what is said to one that is wrong.

Members: machineLearningServices.json 2023-08-01-preview. Rules of names: learn.microsoft.com machine-learning/
how-to-create-attach-compute-cluster and how-to-create-compute-instance; texts are ours.
"""

from __future__ import annotations

import re
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.compute.spec import check_tags
from localdev.azuresim.errors import ArmError, not_simulated
from localdev.azuresim.ml.cluster import AML_COMPUTE, INSTANCE, KUBERNETES, seconds, size_of
from localdev.azuresim.shapes import ANY, NOT_SIMULATED, READ_ONLY, REFERENCE, check, members

_NAME = re.compile(r"(?!.*-[0-9-]*$)[A-Za-z][A-Za-z0-9-]{1,23}")
_CLUSTER = {
    **members("osType", "vmSize", "vmPriority", "isolatedNetwork", "remoteLoginPortPublicAccess"),
    **members("enableNodePublicIp", "propertyBag", "userAccountCredentials"),
    **members("allocationState", "allocationStateTransitionTime", "errors", "currentNodeCount"),
    **members("targetNodeCount", "nodeStateCounts"),
    "subnet": REFERENCE,
    "scaleSettings": members("maxNodeCount", "minNodeCount", "nodeIdleTimeBeforeScaleDown"),
    "virtualMachineImage": NOT_SIMULATED,
}
_SHAPE = {
    **members("location", "tags", "identity", "sku", *READ_ONLY),
    "properties": {
        **members("computeType", "computeLocation", "description", "resourceId", "disableLocalAuth"),
        **members("provisioningState", "provisioningErrors", "createdOn", "modifiedOn", "isAttachedCompute"),
        "properties": ANY,
    },
}
_INNER = ("allocationState", "allocationStateTransitionTime", "errors", "currentNodeCount", "targetNodeCount")
_DEFAULTS: dict[str, dict[str, Any]] = {
    AML_COMPUTE: {
        "osType": "Linux",
        "vmPriority": "Dedicated",
        "isolatedNetwork": False,
        "remoteLoginPortPublicAccess": "NotSpecified",
        "enableNodePublicIp": True,
    },
    INSTANCE: {"applicationSharingPolicy": "Shared", "computeInstanceAuthorizationType": "personal"},
    KUBERNETES: {"namespace": "default"},
}


def read(name: str, body: dict[str, Any], location: str) -> tuple[str, dict[str, Any]]:
    """Type and inner properties of the compute that is asked for, defaults filled in. Raises a 400."""
    check(body, _SHAPE, "ComputeResource")
    check_tags(body.get("tags"))
    outer = body.get("properties") or {}
    kind = str(outer.get("computeType"))
    if kind not in _DEFAULTS:
        raise not_simulated(f"A compute of type {kind}", "properties.computeType")
    if not _NAME.fullmatch(name):
        raise bad(
            f"Compute name '{name}' is invalid. It must start with a letter, be between 2 and 24 characters long, and "
            "have only letters, digits and '-'; a '-' needs to be followed by at least one letter later in the name."
        )
    asked = {key: value for key, value in (outer.get("properties") or {}).items() if value is not None}
    if kind == AML_COMPUTE:
        check(asked, _CLUSTER, "AmlComputeProperties", "properties.properties")
        asked = {key: value for key, value in asked.items() if key not in (*_INNER, "nodeStateCounts")}
        asked["scaleSettings"] = scale_settings(asked.get("scaleSettings"))
    inner = {**_DEFAULTS[kind], **asked}
    if kind == AML_COMPUTE:
        inner["vmPriority"] = _priority(str(inner["vmPriority"]))
    if kind != KUBERNETES:
        inner["vmSize"] = _size(inner, location)
    return kind, inner


def scale_settings(asked: Any) -> dict[str, Any]:
    """Scale settings, complete. Raises the 400 of settings that contradict themselves."""
    if not isinstance(asked, dict) or not isinstance(asked.get("maxNodeCount"), int):
        raise bad("The scale settings of an AmlCompute need a maxNodeCount.")
    low, high = int(asked.get("minNodeCount") or 0), int(asked["maxNodeCount"])
    if low < 0 or high < low:
        raise bad(f"MinNodeCount {low} must be between 0 and MaxNodeCount {high}.")
    idle = asked.get("nodeIdleTimeBeforeScaleDown") or "PT120S"
    try:
        seconds(str(idle))
    except ValueError as error:
        raise bad(f"nodeIdleTimeBeforeScaleDown: {error}.") from error
    return {"minNodeCount": low, "maxNodeCount": high, "nodeIdleTimeBeforeScaleDown": str(idle)}


def bad(message: str) -> ArmError:
    return ArmError(400, "BadRequest", message)


def _priority(asked: str) -> str:
    found = next((each for each in ("Dedicated", "LowPriority") if each.casefold() == asked.casefold()), None)
    if found is None:
        raise bad(f"The vmPriority '{asked}' is not Dedicated or LowPriority.")
    return found


def _size(inner: dict[str, Any], location: str) -> str:
    asked = str(inner.get("vmSize"))
    size = size_of(asked)
    if size is None or not catalog.is_sold(size.name, location):
        raise bad(
            f"Requested VM size {asked} is not supported in region {location}. Please choose a different VM size."
        )
    if inner.get("vmPriority") == "LowPriority" and not (
        size.spot_capable and catalog.is_sold(size.name, location, "Spot")
    ):
        raise bad(f"Requested VM size {asked} does not support low priority in region {location}.")
    return size.name.upper()
