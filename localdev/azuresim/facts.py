"""Questions about a request that several parts ask: what it names, where that is, and whether its scope exists."""

from __future__ import annotations

from localdev.azuresim import catalog
from localdev.azuresim.errors import ArmError
from localdev.azuresim.estate import SUBSCRIPTION, location_name
from localdev.azuresim.routing import Call
from localdev.azuresim.world import World


def check_scope(world: World, call: Call) -> None:
    """Raises ARM's 404 for an unknown subscription or resource group."""
    subscription, group = call.params.get("subscription"), call.params.get("group")
    if subscription is not None and subscription.casefold() != SUBSCRIPTION:
        raise ArmError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
    is_group_itself = call.resource_id.count("/") == 4
    if group is None or is_group_itself:
        return
    found = world.store.get(f"/subscriptions/{subscription}/resourceGroups/{group}")
    if found is None:
        raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
    if found.provisioning_state == "Deleting" and call.method == "PUT":
        raise ArmError(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{group}' is in deprovisioning state and cannot perform this operation.",
        )


def of_call(world: World, call: Call) -> dict[str, str]:
    """What the text of a fault may mention."""
    known = {"client": call.principal.identity.object_id, "location": location_of(world, call)}
    properties = call.body.get("properties") if isinstance(call.body, dict) else None
    profile = properties.get("hardwareProfile") if isinstance(properties, dict) else None
    size = catalog.SIZES.get(str(profile.get("vmSize"))) if isinstance(profile, dict) else None
    if size:
        needed = {"required": str(size.vcpus), "new_limit": str(8 + size.vcpus)}
        known |= {"size": size.name, "family": size.family, **needed}
    return known


def location_of(world: World, call: Call) -> str:
    """The region a request is about: of its path, its body, what exists, or the first one."""
    asked = call.params.get("location") or (
        call.body.get("location") if isinstance(call.body, dict) else None
    )
    if isinstance(asked, str) and (name := location_name(asked)):
        return name
    found = world.store.get(call.resource_id)
    return found.location if found else catalog.REGIONS[0]


def machine_id(call: Call) -> str:
    """The id of the virtual machine a request of Microsoft.Compute is about."""
    head, _, tail = call.resource_id.partition("/virtualMachines/")
    return f"{head}/virtualMachines/{tail.partition('/')[0]}"
