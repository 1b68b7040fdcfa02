"""What writes to endpoints and deployments have in common: who must wait, what comes too early, and how they end.

Sources: learn.microsoft.com machine-learning/how-to-troubleshoot-online-endpoints#error-operationcanceled ("the
operation you submitted is the same as another operation ... waiting for lock confirmation", "after waiting up to a
minute"); azure-cli issue 17075 and azure-sdk-for-net issue 36961 (texts of conflicts).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from localdev.azuresim.errors import ArmError, error_object
from localdev.azuresim.faults import Fault
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

CANCELED_S, LOCK_S = 5.0, 60.0
POLL_S = 5.0  # how soon the service asks to be looked at again
_GUIDE = "Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-"
BUSY = ("Creating", "Updating", "Deleting", "Scaling")


def guide(code: str) -> str:
    return f"{_GUIDE}{code.casefold()}"


def is_busy(resource: Resource) -> bool:
    """Also for the moments in which a write is over and not everywhere known."""
    return resource.provisioning_state in BUSY or "unsettled" in resource.state


def conflict(resource: Resource) -> ArmError:
    workspace = resource.id.split("/")[8]
    text = f"Conflict of operation, another operation on same entity is already running in workspace {workspace}."
    return user_error(409, text, ("Conflict", f"{resource.name} is in Updating provisioning state."))


def repeated(world: World, call: Call, resource: Resource) -> Operation | None:
    """The operation of a request that is the same as the one under way: accepted, and soon canceled."""
    last = resource.state.get("last_write") or {}
    if not is_busy(resource) or last.get("digest") != _digest(call) or call.at - last["at"] > LOCK_S:
        return None
    operation = begin(world, call, resource, is_told=False)
    error = error_object(
        "OperationCanceled",
        "Operation was canceled due to a previous operation waiting for lock confirmation. "
        f"{guide('OperationCanceled')}",
    )
    world.scheduler.at(
        call.at + CANCELED_S, "operation.fail", operation=operation.id, error=error, status="Canceled"
    )
    return operation


def note(call: Call, resource: Resource) -> None:
    resource.state["last_write"] = {"digest": _digest(call), "at": call.at}


def begin(world: World, call: Call, resource: Resource, *, is_told: bool = True) -> Operation:
    """Its URL, in Azure ML's own form, is left on the resource if `is_told`: only there does a failure say why."""
    operation = world.operations.begin_for(call, resource, poll_after_s=POLL_S)
    operation.kinds = ["mfeOperationsStatus", "mfeOperationResults"]
    if is_told:
        url = f"https://management.azure.com{operation.path()}?api-version={call.api_version}"
        resource.properties["properties"]["AzureAsyncOperationUri"] = url
    return operation


def saved(fault: Fault | None) -> dict[str, Any]:
    """What a fault will do later, as plain data; {} for none."""
    if fault is None or fault.kind in ("status", "lost_response"):
        return {}
    return {
        "kind": fault.kind,
        "error": fault.error(),
        "status": fault.async_status,
        "late_s": fault.seconds if fault.kind == "delay" else 0.0,
        "after_s": fault.after_s,
        "log": fault.log,
    }


def _digest(call: Call) -> str:
    text = json.dumps([call.method, call.path.casefold(), call.body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
