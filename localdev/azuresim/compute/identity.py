"""The managed identities of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localdev.azuresim.errors import ArmError, invalid_parameter, not_simulated
from localdev.azuresim.world import World


def profile(world: World, vm_id: str, asked: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The `identity` member with what Azure adds to it. Raises Azure's refusal of an identity that is not there."""
    if not asked or asked.get("type") in (None, "None"):
        return None
    if asked["type"] != "UserAssigned":
        raise not_simulated(f"identity type {asked['type']}", "identity.type")
    wanted = asked.get("userAssignedIdentities")
    if not wanted:
        raise invalid_parameter("The identity ids of a UserAssigned identity are missing.", "identity")
    return {
        "type": "UserAssigned",
        "userAssignedIdentities": {id_: _one(world, vm_id, id_) for id_ in wanted},
    }


def _one(world: World, vm_id: str, id_: str) -> dict[str, str]:
    found = world.store.get(id_)
    if found is None:
        raise ArmError(
            400,
            "FailedIdentityOperation",
            f"Identity operation for resource '{vm_id}' failed with error 'Failed to perform resource identity "
            'operation. Status: \'BadRequest\'. Response: \'{"error":{"code":"BadRequest","message":"Resource '
            f"'{id_}' was not found.\"}}}}'.",
        )
    return {"principalId": found.properties["principalId"], "clientId": found.properties["clientId"]}
